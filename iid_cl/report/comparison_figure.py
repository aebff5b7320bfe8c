"""The figure of a comparison: accuracy over budget, one panel per mode."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iid_cl.report.comparison import Row
from iid_cl.report.plots import COLOURS, blank_figure, legend_name, save_figure

MARKS = "osD^vP*X"
BUDGET_NAMES = {
    "ipc": "images per class",
    "mem_size": "images in memory",
    "mem_bytes": "bytes of memory",
    "class_bytes": "bytes per class",
}


def save_comparison_figure(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draws mean final accuracy with its 95 % interval: lines over budgets, or a mark per method for one budget.

    The bounds are dashed lines across all panels.

    Raises:
        UserError: the file cannot be written.
    """
    memories = [row for row in rows if row.budget is not None]
    modes = list(dict.fromkeys(row.mode for row in memories)) or [None]
    labels = list(dict.fromkeys(row.label for row in memories))
    draw = _lines if len({row.budget for row in memories}) > 1 else _marks
    figure, panels = blank_figure(2.2 + 4.4 * len(modes), 4.2, len(modes))
    for axes, mode in zip(panels, modes, strict=True):
        draw(axes, [row for row in memories if row.mode == mode], labels)
        axes.set_title("" if mode is None else mode.replace("_", " "), fontsize=10)
        bounds = (row for row in rows if row.budget is None)
        for row, grey in zip(bounds, ("0.2", "0.45", "0.6"), strict=False):
            axes.axhline(100 * row.final[0], color=grey, linestyle="--", linewidth=1, label=legend_name(row.label))
    panels[0].set_ylabel("final accuracy, %")
    low, high = panels[0].get_ylim()  # of all panels
    panels[0].set_ylim(max(low, -2.0), min(high, 102.0))  # intervals of two seeds can reach far outside 0 to 100 %
    handles, names = panels[0].get_legend_handles_labels()
    if names:
        panels[-1].legend(handles, names, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    save_figure(figure, path)


def _lines(axes: Any, rows: Sequence[Row], labels: Sequence[str]) -> None:
    budgets = sorted({row.budget for row in rows if row.budget is not None})
    for number, label in enumerate(labels):
        points = sorted((row.budget, row.final) for row in rows if row.label == label and row.budget is not None)
        xs = [budget.amount for budget, _ in points]
        middle, half = [100 * final[0] for _, final in points], [100 * (final[1] or 0.0) for _, final in points]
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)]}
        axes.plot(xs, middle, label=legend_name(label), markersize=5, **style)
        if any(half):
            low, high = ([m + sign * h for m, h in zip(middle, half, strict=True)] for sign in (-1, 1))
            axes.fill_between(xs, low, high, color=style["color"], alpha=0.15, linewidth=0)
    amounts = [budget.amount for budget in budgets]
    if amounts[-1] >= 4 * amounts[0]:
        axes.set_xscale("log")
    axes.set_xticks(amounts, [f"{amount:,}" for amount in amounts])
    axes.minorticks_off()
    axes.set_xlabel(BUDGET_NAMES[budgets[0].key])


def _marks(axes: Any, rows: Sequence[Row], labels: Sequence[str]) -> None:
    for number, label in enumerate(labels):
        for row in (row for row in rows if row.label == label):
            middle, half = 100 * row.final[0], row.final[1]
            axes.errorbar(
                [number],
                [middle],
                yerr=None if half is None else [100 * half],
                fmt=MARKS[number % len(MARKS)],
                capsize=4,
                color=COLOURS[number % len(COLOURS)],
            )
            axes.annotate(
                f"{middle:.1f}", (number, middle), (7, 0), textcoords="offset points", va="center", fontsize=8
            )
    slanted = sum(len(label) for label in labels) > 40
    axes.set_xticks(range(len(labels)), labels, rotation=25 if slanted else 0, ha="right" if slanted else "center")
    axes.set_xlim(-0.5, len(labels) - 0.2)
