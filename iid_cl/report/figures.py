"""A report's figures for papers, each as PNG and SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iid_cl.report.collect import Collected
from iid_cl.report.comparison import summarise
from iid_cl.report.comparison_figure import MARKS, save_comparison_figure
from iid_cl.report.content import Series, Setting, losses_of
from iid_cl.report.plots import COLOURS, blank_figure, legend_name, save_figure


def save_figures(folder: Path, collected: Collected, found: Sequence[Setting], plane: Mapping[str, Any] | None) -> None:
    """Writes ``accuracy``, ``matrix``, ``forgetting``, ``classes``, ``losses``, ``features``, ``budget`` into a folder.

    They show the setting of the memory that the page pictures. What was not recorded has no figure.

    Raises:
        UserError: a file cannot be written.
    """
    places = collected.places
    setting = found[places.index(collected.pictured[0].place) if collected.pictured and places else 0]
    _accuracy(folder, setting)
    if any(one.drops for one in setting.series):
        _forgetting(folder, setting)
    _matrix(folder, setting.main)
    if any(one.classes for one in setting.series):
        _classes(folder, collected, setting)
    recording = collected.pictured[0].recording if collected.pictured else None
    losses = losses_of(collected, recording)
    if losses:
        _losses(folder, losses)
    if plane is not None:
        _plane(folder, plane)
    if len(places) > 1:
        rows = summarise(collected.measured, None)
        for suffix in (".png", ".svg"):
            save_comparison_figure(folder / f"budget{suffix}", rows, collected.name)


def _save(figure: Any, folder: Path, name: str) -> None:
    for suffix in (".png", ".svg"):
        save_figure(figure, folder / f"{name}{suffix}")


def _style(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)]}


def _accuracy(folder: Path, setting: Setting) -> None:
    figure, (axes,) = blank_figure(5, 3.4)
    for one in setting.series:
        points = [(x, *each) for x, each in enumerate(one.seen, start=1) if each is not None]
        xs, middle, low, high = zip(*points, strict=True)
        axes.plot(xs, middle, label=legend_name(one.label), markersize=5, **_style(one.number))
        if low != high:
            axes.fill_between(xs, low, high, color=COLOURS[one.number % len(COLOURS)], alpha=0.15, linewidth=0)
    axes.set_xticks(range(1, len(setting.experiences) + 1))
    axes.set_xlabel("after experience")
    axes.set_ylabel("accuracy over classes seen, %")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, folder, "accuracy")


def _forgetting(folder: Path, setting: Setting) -> None:
    figure, (axes,) = blank_figure(5, 3.4)
    shown = [one for one in setting.series if one.drops]
    width = 0.8 / len(shown)
    for i, one in enumerate(shown):
        xs = [x + (i - (len(shown) - 1) / 2) * width for x in range(1, len(one.drops) + 1)]
        axes.bar(xs, one.drops, width, label=legend_name(one.label), color=COLOURS[one.number % len(COLOURS)])
    axes.set_xticks(range(1, max(len(one.drops) for one in shown) + 1))
    axes.set_xlabel("experience")
    axes.set_ylabel("forgetting, points")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, folder, "forgetting")


def _matrix(folder: Path, one: Series) -> None:
    down, across = len(one.matrix), len(one.matrix[-1])
    figure, (axes,) = blank_figure(1.4 + 0.55 * across, 1.2 + 0.45 * down)
    values = [[*row, *[float("nan")] * (across - len(row))] for row in one.matrix]
    axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for t, row in enumerate(one.matrix):
        for j, value in enumerate(row):
            axes.text(j, t, f"{value:.1f}", ha="center", va="center", fontsize=8, color="0" if value > 50 else "1")
    axes.set_xticks(range(across), range(1, across + 1))
    axes.set_yticks(range(down), range(1, down + 1) if down > 1 or across == 1 else ["all"])
    axes.set_xlabel("accuracy on experience, %")
    axes.set_ylabel("after experience")
    axes.grid(visible=False)
    _save(figure, folder, "matrix")


def _classes(folder: Path, collected: Collected, setting: Setting) -> None:
    order = [c for group in collected.measured[0].result.class_order for c in group]
    classes = [c for c in order if any(c in one.classes for one in setting.series)]
    figure, (axes,) = blank_figure(5, 1.2 + 0.22 * len(classes))
    for one in setting.series:
        places = [i for i, c in enumerate(classes) if c in one.classes]
        values = [one.classes[classes[i]] for i in places]
        axes.plot(values, places, linestyle="", label=legend_name(one.label), **_style(one.number))
    axes.set_yticks(range(len(classes)), [collected.class_name(c) for c in classes], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("final accuracy, %")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, folder, "classes")


def _losses(folder: Path, losses: Sequence[Mapping[str, Any]]) -> None:
    """The mean over distillations of equal length, a line per term."""
    first = losses[0]
    same = [one for one in losses if one["x"] == first["x"] and one["terms"].keys() == first["terms"].keys()]
    figure, (axes,) = blank_figure(5, 3.4)
    positive = True
    for number, term in enumerate(first["terms"]):
        columns = zip(*(one["terms"][term] for one in same), strict=True)
        means = [None if None in column else sum(column) / len(column) for column in columns]
        positive &= all(value is not None and value > 0 for value in means)
        axes.plot(
            first["x"],
            [float("nan") if v is None else v for v in means],
            label=legend_name(term),
            color=COLOURS[number % len(COLOURS)],
        )
    if positive:
        axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.set_ylabel("loss, mean per class")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, folder, "losses")


def _plane(folder: Path, plane: Mapping[str, Any]) -> None:
    figure, (axes,) = blank_figure(5, 4.2)
    colours = [*COLOURS, "#8c2d2d", "#5b3fb5"]
    for number, one in enumerate(plane["classes"]):
        colour = colours[number % len(colours)]
        for points, style in (
            (one["real"], {"s": 8, "alpha": 0.45, "linewidths": 0}),
            (
                one["stored"],
                {"s": 60, "marker": "D", "edgecolors": "black", "zorder": 3, "label": legend_name(one["name"])},
            ),
        ):
            axes.scatter([x for x, _ in points], [y for _, y in points], color=colour, **style)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, folder, "features")
