"""The figure of a search: accuracy trial by trial, and over the values of each key."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iid_cl.report.plots import COLOURS, blank_figure, legend_name, save_figure
from iid_cl.studies.rows import Tried, text

MOST = 8  # keys that get a panel
FEW = 5  # values of a key that stand at equal distances


def save_search_figure(path: Path, tried: Sequence[Tried], title: str, importances: Mapping[str, float]) -> None:
    """Draws a panel of the history, and one for each key, the most important keys first.

    Raises:
        UserError: the file cannot be written.
    """
    keys = sorted(tried[0].values, key=lambda key: -importances.get(key, 0))[:MOST]
    judged = [one for one in tried if one.accuracy is not None]
    columns = 2 if len(keys) in (1, 3) else 3
    lines = -(-(1 + len(keys)) // columns)
    figure, _ = blank_figure(3.4 * columns, 2.9 * lines)
    figure.clear()
    history, *panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    _history(history, judged)
    for key, axes in zip(keys, panels, strict=False):
        _panel(axes, key, judged)
        share = f", importance {100 * importances[key]:.0f} %" if key in importances else ""
        axes.set_title(f"{legend_name(key)}{share}", loc="left", fontsize=9)
    for axes in (history, *panels[: len(keys)]):
        axes.tick_params(labelsize=8, labelleft=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    figure.suptitle(textwrap.fill(title, 40 * columns), fontsize=10, x=0.01, ha="left")
    save_figure(figure, path)


def _history(axes: Any, judged: Sequence[Tried]) -> None:
    """A dot per trial, and the best so far as a line."""
    numbers, accuracies = [one.number for one in judged], [100 * (one.accuracy or 0) for one in judged]
    best = [max(accuracies[: end + 1]) for end in range(len(accuracies))]
    axes.step(numbers, best, where="post", color=COLOURS[1])
    axes.plot(numbers, accuracies, "o", color=COLOURS[0], markersize=4)
    axes.set_title("accuracy by trial, %; line: best so far", loc="left", fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _panel(axes: Any, key: str, judged: Sequence[Tried]) -> None:
    """Accuracy over the values of a key; the best trial is marked."""
    from matplotlib.ticker import LogLocator

    best = max(judged, key=lambda one: (one.accuracy or 0, -one.number))
    values = [one.values[key] for one in judged]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    few = [] if numbers and len(set(values)) > FEW else sorted(set(values), key=(lambda x: x) if numbers else text)
    for one in judged:
        x = few.index(one.values[key]) if few else one.values[key]
        mark = (
            {"marker": "*", "markersize": 11, "color": COLOURS[1]} if one is best else {"marker": "o", "markersize": 4}
        )
        axes.plot([x], [100 * (one.accuracy or 0)], **{"color": COLOURS[0], **mark})
    if few:
        axes.set_xticks(range(len(few)), [legend_name(text(value)) for value in few])
        axes.set_xlim(-0.5, len(few) - 0.5)
    elif min(values) > 0 and max(values) >= 20 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
