"""The numbers in a report's tables, charts and figures, as plain data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any

from iid_cl.evaluate.metrics import mean_by_class, mean_row, seen_accuracy
from iid_cl.records.recording import Features, Recording
from iid_cl.records.result import Result
from iid_cl.report.collect import Collected, Place
from iid_cl.report.comparison import TOLERANCE, Measured, Row, place, summarise
from iid_cl.report.statistics import paired_difference, percent_interval
from iid_cl.terminal.screen import in_seconds

MOST_POINTS = 2000  # of a plane, five times as many as are recorded; a t-SNE of more takes minutes
REFERENCES = ("herding", "random")  # memories that the headline compares with


@dataclass(frozen=True)
class Series:
    """A method at one mode and budget. Accuracies and forgetting are in percent, means over seeds.

    Attributes:
        number: number of its colour and mark, the same in every setting.
        seen: accuracy over the classes seen, after each experience: mean, minimum and maximum over seeds; None if a
            bound has no value there.
        matrix: accuracy on each experience (columns) after each experience (rows).
        drops: forgetting of each experience except the last.
        classes: final accuracy of each class index.
        seconds: seconds of condensing, of training, and of the rest, which is mostly evaluation.
    """

    label: str
    number: int
    row: Row
    seen: list[tuple[float, float, float] | None]
    matrix: list[list[float]]
    drops: list[float]
    classes: dict[int, float]
    seconds: tuple[float, float, float]

    @property
    def figures(self) -> dict[str, str]:
        """Cells of the results table, by column."""
        row = self.row
        return {
            "seeds": str(len(row.seeds)),
            "final, %": percent_interval(row.final),
            "average, %": percent_interval(row.average),
            "forgetting, points": percent_interval(row.forgetting),
            "memory": "-" if row.budget is None else in_bytes(*row.bytes),
            "condensing": in_seconds(self.seconds[0]),
            "training": in_seconds(self.seconds[1]),
        }


@dataclass(frozen=True)
class Gain:
    """The lead of the report's method over another method, in points."""

    over: str
    points: str
    note: str
    positive: bool


@dataclass(frozen=True)
class Setting:
    """All methods at one mode and budget, and the bounds."""

    title: str
    series: list[Series]
    main: Series
    gains: list[Gain]
    missing: list[str]
    experiences: list[str]

    @cached_property
    def floor(self) -> int:
        """The accuracy at which the matrices' colours begin: the lowest accuracy rounded down to tens, at most 90."""
        values = (value for method in self.series for row in method.matrix for value in row)
        return min(90, int(min(values) // 10) * 10)

    def shade(self, value: float) -> int:
        """Number of an accuracy's colour, from 0 to 10."""
        return round(10 * (value - self.floor) / (100 - self.floor))


def settings(collected: Collected) -> list[Setting]:
    """A setting for each mode and budget, or one with the bounds if there is no memory."""
    labels = list(dict.fromkeys([collected.main, *(m.label for m in collected.measured)]))
    rows = summarise(collected.measured, None)
    places: list[Place | None] = [*collected.places] or [None]
    return [_setting(collected, rows, labels, at) for at in places]


def _setting(collected: Collected, rows: Sequence[Row], labels: list[str], at: Place | None) -> Setting:
    rows = [row for row in rows if row.budget is None or (row.mode, row.budget) == at]
    rows = sorted(rows, key=lambda row: (row.budget is None, labels.index(row.label)))
    series = [_series(row, collected.measured, labels.index(row.label)) for row in rows]
    by_label = {method.label: method for method in reversed(series)}  # the first method of a label
    main = by_label.get(collected.main, series[0])
    prefix = main.label.rpartition(": ")[0]
    gains, missing = [], []
    for name in REFERENCES:
        other = by_label.get(f"{prefix}: {name}" if prefix else name)
        if other is None:
            missing.append(name)
        elif other is not main:
            gains.append(_gain(main, other, collected.measured))
    longest = max(len(method.seen) for method in series)
    return Setting(
        "without a memory" if at is None else place(*at),
        series,
        main,
        gains,
        missing if main.row.budget is not None else [],
        [str(number) for number in range(1, longest + 1)],
    )


def _results(row: Row, measured: Sequence[Measured]) -> list[Result]:
    return [m.result for m in measured if (m.label, m.mode, m.budget) == (row.label, row.mode, row.budget)]


def _series(row: Row, measured: Sequence[Measured], number: int) -> Series:
    results = _results(row, measured)
    same = [r for r in results if [len(x) for x in r.matrix] == [len(x) for x in results[0].matrix]]
    matrix = [mean_row([[100 * a for a in r.matrix[t]] for r in same]) for t in range(len(same[0].matrix))]
    length = len(matrix[-1])
    seen: list[tuple[float, float, float] | None] = [None] * (length - len(matrix))  # joint training has one row
    for t in range(len(matrix)):
        values = [100 * seen_accuracy(r.matrix[t], r.test_sizes or [1] * length) for r in same]
        seen.append((mean(values), min(values), max(values)))
    last = len(matrix) - 1
    sequence = len(matrix[0]) == 1
    drops = [
        [100 * (max(r.matrix[t][j] for t in range(j, last)) - r.matrix[last][j]) for j in range(last)] for r in same
    ]
    classes = [r.class_accuracies[-1] for r in same if r.class_accuracies]
    shared = [accuracies for accuracies in classes if accuracies.keys() == classes[0].keys()]
    rest = mean(r.total_seconds - r.condense_seconds - r.train_seconds for r in results)
    return Series(
        row.label,
        number,
        row,
        seen,
        matrix,
        mean_row(drops) if sequence and last else [],
        {label: 100 * value for label, value in mean_by_class(shared).items()} if shared else {},
        (row.condense_seconds, row.train_seconds, max(0.0, rest)),
    )


def _gain(main: Series, other: Series, measured: Sequence[Measured]) -> Gain:
    finals, others = ({r.seed: r.final_accuracy for r in _results(method.row, measured)} for method in (main, other))
    difference = paired_difference(finals, others)
    mine, theirs = main.row.bytes[1], other.row.bytes[1]
    equal = abs(mine - theirs) <= TOLERANCE * max(mine, theirs)
    note = "at equal bytes" if equal else f"not at equal bytes: {mine:,} against {theirs:,}"
    if difference is None:
        return Gain(other.label, "-", "no common seed", False)
    if difference[1] is None:
        note += "; one seed, so no interval"
    return Gain(other.label, percent_interval(difference, signed=True), note, difference[0] > 0)


def losses_of(collected: Collected, recording: Recording | None) -> list[dict[str, Any]]:
    """Loss terms over iterations of each distillation; NaN and infinite values are None."""
    if recording is None:
        return []
    return [
        {
            "title": f"experience {part.experience + 1}: " + listed([collected.class_name(c) for c in part.classes]),
            "x": [iteration for iteration, _ in part.losses],
            "terms": {
                term: [finite(terms.get(term)) for _, terms in part.losses]
                for term in dict.fromkeys(name for _, terms in part.losses for name in terms)
            },
        }
        for part in recording.kept
        if part.losses
    ]


def plane_of(features: Features) -> list[tuple[float, float]]:
    """Points (x, y) of a t-SNE of the features, reproducible; none of more than are ever recorded."""
    from sklearn.manifold import TSNE

    count = len(features.points)
    if not 5 <= count <= MOST_POINTS:
        return []
    init = "pca" if features.points.shape[1] > 1 else "random"
    tsne = TSNE(perplexity=min(30.0, (count - 1) / 3), init=init, random_state=0)
    return [(round(float(x), 2), round(float(y), 2)) for x, y in tsne.fit_transform(features.points.numpy())]


def budget_curves(collected: Collected) -> list[dict[str, Any]]:
    """Each method's final accuracy over the budget, for each mode with several budgets of one kind."""
    curves = []
    rows = summarise(collected.measured, None)
    labels = list(dict.fromkeys([collected.main, *(m.label for m in collected.measured)]))
    for mode, kind in dict.fromkeys((mode, budget.key) for mode, budget in collected.places):
        budgets = [budget.amount for m, budget in collected.places if (m, budget.key) == (mode, kind)]
        if len(budgets) < 2:
            continue
        methods = []
        for number, label in enumerate(labels):
            finals = {
                row.budget.amount: row.final
                for row in rows
                if row.budget and (row.label, row.mode, row.budget.key) == (label, mode, kind)
            }
            if finals:
                points = [(100 * finals[b][0], 100 * (finals[b][1] or 0.0)) if b in finals else None for b in budgets]
                methods.append({"label": label, "number": number, "points": points})
        bounds = [{"label": row.label, "final": 100 * row.final[0]} for row in rows if row.budget is None]
        title = mode.replace("_", " ")
        curves.append({"title": title, "kind": kind, "budgets": budgets, "methods": methods, "bounds": bounds})
    return curves


def listed(names: Sequence[str], most: int = 6) -> str:
    """The first ``most`` names, and the number of further names."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def finite(value: float | None) -> float | None:
    """A number with six digits for JSON; None for NaN and infinity, which JSON lacks."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def in_bytes(least: int, most: int) -> str:
    """``12.3 kB``, or a range if the two numbers differ."""
    return _bytes(least) if least == most else f"{_bytes(least)} to {_bytes(most)}"


def _bytes(count: int) -> str:
    for unit, size in (("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{count:,} bytes"
