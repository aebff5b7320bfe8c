"""Figures of studies: accuracy per variant or along an axis, and features as a scatter."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from iid_cl.report.plots import COLOURS, blank_figure, legend_name, save_figure
from iid_cl.studies.rows import Point, Row


def save_accuracy_figure(path: Path, rows: Sequence[Row], title: str, axis: str | None) -> None:
    """Draws mean accuracy and its standard deviation over seeds and networks: along ``axis``, or a mark per variant.

    Raises:
        UserError: the file cannot be written.
    """
    variants = list(dict.fromkeys(row.variant for row in rows))
    architectures = list(dict.fromkeys(row.architecture for row in rows))
    figure, (axes,) = blank_figure(7.0, 4.2)
    if axis is not None:
        _lines(axes, [row for row in rows if row.architecture == architectures[0]], variants)
        axes.set_xlabel(axis)
    else:
        _marks(axes, rows, variants, architectures)
    axes.set_ylabel("accuracy, %")
    axes.set_title(textwrap.fill(title, 80), loc="left", fontsize=10)
    if axis is not None or len(architectures) > 1:
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _lines(axes: Any, rows: Sequence[Row], variants: Sequence[str]) -> None:
    """A line per variant over the swept values."""
    places = sorted({row.x for row in rows if row.x is not None})
    for number, variant in enumerate(variants):
        xs = [x for x in places if any((row.variant, row.x) == (variant, x) for row in rows)]
        points = [_spread([row for row in rows if (row.variant, row.x) == (variant, x)]) for x in xs]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(xs, [m for m, _ in points], marker="o", color=colour, label=legend_name(variant))
        low, high = ([m + sign * s for m, s in points] for sign in (-1, 1))
        if any(s for _, s in points):
            axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    positive = [x for x in places if x > 0]
    if positive and positive[-1] >= 20 * positive[0]:
        axes.set_xscale("symlog", linthresh=positive[0])
    axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.minorticks_off()


def _marks(axes: Any, rows: Sequence[Row], variants: Sequence[str], architectures: Sequence[str]) -> None:
    """A mark per variant and architecture; architectures stand side by side."""
    width = 0.6 / len(architectures)
    for number, architecture in enumerate(architectures):
        group = [row for row in rows if row.architecture == architecture]
        points = [_spread([row for row in group if row.variant == variant]) for variant in variants]
        places = [i + (number - (len(architectures) - 1) / 2) * width for i in range(len(variants))]
        axes.errorbar(
            places,
            [m for m, _ in points],
            yerr=[s for _, s in points],
            fmt="o",
            capsize=4,
            color=COLOURS[number % len(COLOURS)],
            label=legend_name(architecture),
        )
        for place, (middle, _) in zip(places, points, strict=True):
            axes.annotate(f"{middle:.1f}", (place, middle), (7, 0), textcoords="offset points", va="center", fontsize=8)
    slanted = sum(len(variant) for variant in variants) > 60
    axes.set_xticks(range(len(variants)), variants, rotation=20 if slanted else 0, ha="right" if slanted else "center")
    axes.set_xlim(-0.5, len(variants) - 0.3)


def save_scatter_figure(path: Path, points: Sequence[Point], class_names: Sequence[str], title: str) -> None:
    """Draws a panel per variant: real images as small dots, stored images as outlined stars, a colour per class.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib import colormaps

    variants = list(dict.fromkeys(point.variant for point in points))
    figure, _ = blank_figure(4.2 * len(variants), 4.6)
    figure.clear()
    colours = colormaps["tab10" if len(class_names) <= 10 else "tab20"]
    for number, variant in enumerate(variants, start=1):
        axes = figure.add_subplot(1, len(variants), number)
        for label in sorted({point.label for point in points}):
            for stored in (False, True):
                group = [p for p in points if (p.variant, p.label, p.stored) == (variant, label, stored)]
                style: dict[str, Any] = {"s": 42, "marker": "*", "edgecolors": "black", "linewidths": 0.6}
                axes.scatter(
                    [p.x for p in group],
                    [p.y for p in group],
                    color=colours(label % colours.N),
                    label=legend_name(class_names[label]) if stored else None,
                    **(style if stored else {"s": 5, "alpha": 0.45, "linewidths": 0}),
                )
        axes.set_title(variant, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=min(10, len(labels)), frameon=False, fontsize=7)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.1, top=0.88, wspace=0.03)
    save_figure(figure, path, tight=False)


def _spread(rows: Sequence[Row]) -> tuple[float, float]:
    """Mean and standard deviation in percent."""
    values = [100 * row.accuracy for row in rows]
    return mean(values), stdev(values) if len(values) > 1 else 0.0
