"""The numbers of a report: what its tables, charts and figures show, as plain data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from iid_cl.evaluate.metrics import mean_by_class, mean_row, seen_accuracy
from iid_cl.records.recording import Features, Recording
from iid_cl.records.result import Result
from iid_cl.report.collect import Collected, Place
from iid_cl.report.comparison import TOLERANCE, Measured, Row, place, summarise
from iid_cl.report.statistics import paired_difference, percent_interval

REFERENCES = ("herding", "random")  # memories that the headline compares with


@dataclass(frozen=True)
class Series:
    """A method at one place. Accuracies and forgetting are in percent, means over seeds.

    Attributes:
        number: of its colour and mark, the same at every place.
        seen: after each experience, accuracy over the classes seen: mean, least and greatest of the seeds; None where a
            bound has no figure.
        matrix: accuracy on each experience (columns) after each one (rows).
        drops: forgetting of each experience but the last.
        classes: final accuracy of each class index.
        seconds: of condensing, of training, and of the rest, evaluation for the most part.
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
        """For a table's cells, by column."""
        row = self.row
        bytes_ = row.bytes
        return {
            "seeds": str(len(row.seeds)),
            "final, %": percent_interval(row.final),
            "average, %": percent_interval(row.average),
            "forgetting, points": percent_interval(row.forgetting),
            "memory": "-" if row.budget is None else in_bytes(*bytes_),
            "condensing": in_seconds(self.seconds[0]),
            "training": in_seconds(self.seconds[1]),
        }


@dataclass(frozen=True)
class Gain:
    """Of the report's method over another one, in points."""

    over: str
    points: str
    note: str
    positive: bool


@dataclass(frozen=True)
class Setting:
    """All methods at one mode and budget; the bounds stand in each."""

    title: str
    series: list[Series]
    main: Series
    gains: list[Gain]
    missing: list[str]
    experiences: list[str]

    @property
    def floor(self) -> int:
        """Where the colours of the matrices begin: the tens below the least accuracy, 90 at most."""
        return min(90, *(int(value // 10) * 10 for one in self.series for row in one.matrix for value in row))

    def shade(self, value: float) -> int:
        """Which of eleven colours an accuracy has."""
        return round(10 * (value - self.floor) / (100 - self.floor))


def settings(collected: Collected) -> list[Setting]:
    """One for each place of the memories, or one of the bounds where there is no memory."""
    labels = list(dict.fromkeys([collected.main, *(m.label for m in collected.measured)]))
    rows = summarise(collected.measured, None)
    places: list[Place | None] = [*collected.places] or [None]
    return [_setting(collected, rows, labels, at) for at in places]


def _setting(collected: Collected, rows: Sequence[Row], labels: list[str], at: Place | None) -> Setting:
    here = [row for row in rows if row.budget is None or (row.mode, row.budget) == at]
    here.sort(key=lambda row: (row.budget is None, labels.index(row.label)))
    found = [_series(row, collected.measured, labels.index(row.label)) for row in here]
    main = next((one for one in found if one.label == collected.main), found[0])
    prefix = main.label.rpartition(": ")[0]
    gains, missing = [], []
    for name in REFERENCES:
        label = f"{prefix}: {name}" if prefix else name
        other = next((one for one in found if one.label == label), None)
        if other is None:
            missing.append(name)
        elif other is not main:
            gains.append(_gain(main, other, collected.measured))
    longest = max(len(one.seen) for one in found)
    return Setting(
        "without a memory" if at is None else place(*at),
        found,
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
    each = [
        [100 * (max(r.matrix[t][j] for t in range(j, last)) - r.matrix[last][j]) for j in range(last)] for r in same
    ]
    of_classes = [r.class_accuracies[-1] for r in same if r.class_accuracies]
    shared = [one for one in of_classes if one.keys() == of_classes[0].keys()]
    return Series(
        row.label,
        number,
        row,
        seen,
        matrix,
        mean_row(each) if sequence and last else [],
        {label: 100 * value for label, value in mean_by_class(shared).items()} if shared else {},
        (
            row.condense_seconds,
            row.train_seconds,
            max(0.0, mean(r.total_seconds - r.condense_seconds - r.train_seconds for r in results)),
        ),
    )


def _gain(main: Series, other: Series, measured: Sequence[Measured]) -> Gain:
    finals, others = ({r.seed: r.final_accuracy for r in _results(one.row, measured)} for one in (main, other))
    found = paired_difference(finals, others)
    mine, theirs = main.row.bytes[1], other.row.bytes[1]
    equal = abs(mine - theirs) <= TOLERANCE * max(mine, theirs)
    note = "at equal bytes" if equal else f"not at equal bytes: {mine:,} against {theirs:,}"
    if found is None:
        return Gain(other.label, "-", "no common seed", False)
    if found[1] is None:
        note += "; one seed, so no interval"
    return Gain(other.label, percent_interval(found, signed=True), note, found[0] > 0)


def losses_of(collected: Collected, recording: Recording | None) -> list[dict[str, Any]]:
    """Loss terms over iterations of each distillation, by experience; values that are no numbers are None."""
    if recording is None:
        return []
    return [
        {
            "title": f"experience {one.experience + 1}: " + listed([collected.class_name(c) for c in one.classes]),
            "x": [iteration for iteration, _ in one.losses],
            "terms": {
                term: [finite(terms.get(term)) for _, terms in one.losses]
                for term in dict.fromkeys(name for _, terms in one.losses for name in terms)
            },
        }
        for one in recording.kept
        if one.losses
    ]


def plane_of(features: Features) -> list[tuple[float, float]]:
    """t-SNE of the features, a point (x, y) each; the same features give the same points."""
    from sklearn.manifold import TSNE

    count = len(features.points)
    if count < 5:
        return []
    tsne = TSNE(
        perplexity=min(30.0, (count - 1) / 3), init="pca" if features.points.shape[1] > 1 else "random", random_state=0
    )
    return [(round(float(x), 2), round(float(y), 2)) for x, y in tsne.fit_transform(features.points.numpy())]


def budget_curves(collected: Collected) -> list[dict[str, Any]]:
    """For each mode with several budgets of one kind: each method's final accuracy over the budget."""
    curves = []
    rows = summarise(collected.measured, None)
    labels = list(dict.fromkeys([collected.main, *(m.label for m in collected.measured)]))
    for mode, kind in dict.fromkeys((mode, budget.key) for mode, budget in collected.places):
        budgets = [budget.amount for m, budget in collected.places if (m, budget.key) == (mode, kind)]
        if len(budgets) < 2:
            continue
        methods = []
        for number, label in enumerate(labels):
            mine = {
                row.budget.amount: row.final
                for row in rows
                if row.budget and (row.label, row.mode, row.budget.key) == (label, mode, kind)
            }
            if mine:
                points = [None if b not in mine else (100 * mine[b][0], 100 * (mine[b][1] or 0.0)) for b in budgets]
                methods.append({"label": label, "number": number, "points": points})
        bounds = [{"label": row.label, "final": 100 * row.final[0]} for row in rows if row.budget is None]
        title = mode.replace("_", " ")
        curves.append({"title": title, "kind": kind, "budgets": budgets, "methods": methods, "bounds": bounds})
    return curves


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names in a row, the later ones counted only."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def finite(value: float | None) -> float | None:
    """JSON has no infinities."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def in_bytes(least: int, most: int) -> str:
    """``12.3 kB``; a range where they differ."""
    return _bytes(least) if least == most else f"{_bytes(least)} to {_bytes(most)}"


def _bytes(count: int) -> str:
    for unit, size in (("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{count:,} bytes"


def in_seconds(value: float) -> str:
    """``1.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
