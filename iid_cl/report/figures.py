"""A report's figures for papers, each as PNG and SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iid_cl.data.streams import first_arrivals
from iid_cl.report.collect import Collected
from iid_cl.report.comparison import summarise
from iid_cl.report.comparison_figure import MARKS, save_comparison_figure
from iid_cl.report.content import Series, Setting, losses_of
from iid_cl.report.plots import COLOURS, blank_figure, legend_name, save_figure

MOST_TICKS = 20  # experiences along an axis
MOST_CLASSES = 1000  # along an axis; a figure ends at 65,536 pixels


def save_figures(folder: Path, collected: Collected, setting: Setting, plane: Mapping[str, Any] | None) -> None:
    """Writes ``accuracy``, ``matrix``, ``forgetting``, ``classes``, ``losses``, ``features``, ``budget`` into a folder.

    A figure whose data were not recorded is left out.

    Raises:
        UserError: a file cannot be written.
    """
    _accuracy(folder, setting)
    if any(method.drops for method in setting.series):
        _forgetting(folder, setting)
    _matrix(folder, setting.main)
    if any(method.classes for method in setting.series):
        _classes(folder, collected, setting)
    recording = collected.pictured[0].recording if collected.pictured else None
    if losses := losses_of(collected, recording):
        _losses(folder, losses)
    if plane is not None:
        _plane(folder, plane)
    if len(collected.places) > 1:
        rows = summarise(collected.measured, None)
        for suffix in (".png", ".svg"):
            save_comparison_figure(folder / f"budget{suffix}", rows, collected.name)


def _save(figure: Any, folder: Path, name: str, *, legend: str | None = "best", **labels: str) -> None:
    """Adds labels of the axes and a legend, and writes the figure in both formats."""
    axes = figure.axes[0]
    axes.set(**labels)
    if legend is not None:
        aside = {"bbox_to_anchor": (1.0, 0.5)} if legend == "center left" else {}
        axes.legend(frameon=False, fontsize=8, loc=legend, **aside)
    for suffix in (".png", ".svg"):
        save_figure(figure, folder / f"{name}{suffix}")


def _some(ticks: range, most: int = MOST_TICKS) -> range:
    """Every tick, or every second or further one, so that there are at most ``most``."""
    return ticks[:: max(1, -(-len(ticks) // most))]


def _style(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)]}


def _accuracy(folder: Path, setting: Setting) -> None:
    figure, (axes,) = blank_figure(5, 3.4)
    for method in setting.series:
        points = [(x, *accuracy) for x, accuracy in enumerate(method.seen, start=1) if accuracy is not None]
        xs, middle, low, high = zip(*points, strict=True)
        axes.plot(xs, middle, label=legend_name(method.label), markersize=5, **_style(method.number))
        if low != high:
            axes.fill_between(xs, low, high, color=COLOURS[method.number % len(COLOURS)], alpha=0.15, linewidth=0)
    axes.set_xticks(_some(range(1, len(setting.experiences) + 1)))
    _save(figure, folder, "accuracy", xlabel="after experience", ylabel="accuracy over classes seen, %")


def _forgetting(folder: Path, setting: Setting) -> None:
    figure, (axes,) = blank_figure(5, 3.4)
    methods = [method for method in setting.series if method.drops]
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        xs = [x + (i - (len(methods) - 1) / 2) * width for x in range(1, len(method.drops) + 1)]
        axes.bar(xs, method.drops, width, label=legend_name(method.label), color=COLOURS[method.number % len(COLOURS)])
    axes.set_xticks(_some(range(1, max(len(method.drops) for method in methods) + 1)))
    _save(figure, folder, "forgetting", xlabel="experience", ylabel="forgetting, points")


def _matrix(folder: Path, method: Series) -> None:
    down, across = len(method.matrix), len(method.matrix[-1])
    numbers = max(down, across) <= MOST_TICKS  # of more, the colours alone: a number takes as long as a figure's frame
    figure, (axes,) = blank_figure(1.4 + 0.55 * min(across, MOST_TICKS), 1.2 + 0.45 * min(down, MOST_TICKS))
    values = [[*row, *[float("nan")] * (across - len(row))] for row in method.matrix]
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for t, row in enumerate(method.matrix if numbers else []):
        for j, value in enumerate(row):
            axes.text(j, t, f"{value:.1f}", ha="center", va="center", fontsize=8, color="0" if value > 50 else "1")
    if not numbers:
        figure.colorbar(image, ax=axes)
    axes.set_xticks(_some(range(across)), _some(range(1, across + 1)))
    axes.set_yticks(_some(range(down)), _some(range(1, down + 1)) if down > 1 or across == 1 else ["all"])
    axes.grid(visible=False)
    _save(figure, folder, "matrix", legend=None, xlabel="accuracy on experience, %", ylabel="after experience")


def _classes(folder: Path, collected: Collected, setting: Setting) -> None:
    order = first_arrivals(collected.measured[0].result.class_order)
    classes = [c for c in order if any(c in method.classes for method in setting.series)]
    figure, (axes,) = blank_figure(5, 1.2 + 0.3 * min(len(classes), MOST_CLASSES))
    rows = [{method.number: method.classes[c] for method in setting.series if c in method.classes} for c in classes]
    least = min(90.0, *(value for row in rows for value in row.values()))
    heights = [lanes(row, (100 - least) / 25) for row in rows]
    ends = [(min(row.values()), max(row.values())) for row in rows]
    axes.hlines(range(len(rows)), [low for low, _ in ends], [high for _, high in ends], color="0.8", zorder=0)
    for method in setting.series:
        lines = [i for i, row in enumerate(rows) if method.number in row]
        places = [i + heights[i][method.number] for i in lines]
        values = [rows[i][method.number] for i in lines]
        axes.plot(values, places, linestyle="", markersize=5, label=legend_name(method.label), **_style(method.number))
    ticks = _some(range(len(classes)), MOST_CLASSES)
    axes.set_yticks(ticks, [collected.class_name(classes[i]) for i in ticks], fontsize=8)
    axes.invert_yaxis()
    _save(figure, folder, "classes", legend="center left", xlabel="final accuracy, %")


def lanes(values: Mapping[int, float], room: float) -> dict[int, float]:
    """How far down each mark is moved, in rows, so that values closer than ``room`` do not hide each other.

    >>> lanes({0: 99.0, 1: 50.0, 2: 99.5}, 4.0)
    {1: -0.2, 0: -0.2, 2: 0.2}
    """
    ends: list[float] = []
    lane: dict[int, int] = {}
    for number, value in sorted(values.items(), key=lambda item: item[1]):
        free = next((i for i, end in enumerate(ends) if value - end >= room), len(ends))
        ends[free : free + 1] = [value]
        lane[number] = free
    height = min(0.4, 0.8 / len(ends))
    return {number: round(height * (free - (len(ends) - 1) / 2), 4) for number, free in lane.items()}


def _losses(folder: Path, losses: Sequence[Mapping[str, Any]]) -> None:
    """The mean over distillations of equal length, a line per term."""
    xs, terms = losses[0]["x"], losses[0]["terms"]
    same = [part["terms"] for part in losses if part["x"] == xs and part["terms"].keys() == terms.keys()]
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, (axes,) = blank_figure(5, 3.4)
    positive = True
    for number, term in enumerate(terms):
        columns = zip(*(part[term] for part in same), strict=True)
        means = [float("nan") if None in column else sum(column) / len(column) for column in columns]
        positive &= all(value > 0 for value in means)  # False for NaN
        axes.plot(xs, means, label=legend_name(term), color=COLOURS[number % len(COLOURS)])
    if positive:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _save(figure, folder, "losses", xlabel="iteration", ylabel="loss, mean per class")


def _plane(folder: Path, plane: Mapping[str, Any]) -> None:
    figure, (axes,) = blank_figure(5, 4.2)
    colours = [*COLOURS, "#8c2d2d", "#5b3fb5"]
    for number, part in enumerate(plane["classes"]):
        name = legend_name(part["name"])
        for points, style in (
            (part["real"], {"s": 8, "alpha": 0.45, "linewidths": 0}),
            (part["stored"], {"s": 60, "marker": "D", "edgecolors": "black", "zorder": 3, "label": name}),
        ):
            xs, ys = [x for x, _ in points], [y for _, y in points]
            axes.scatter(xs, ys, color=colours[number % len(colours)], **style)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    _save(figure, folder, "features", legend="center left")
