"""What a comparison found: a row per method, mode and budget, whether it was fair, and a table of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from iid_cl.budget import Budget
from iid_cl.records.result import Result
from iid_cl.report.statistics import interval, paired_difference, percent_interval

FULL, MIDDLING = 110, 76  # columns that the tables of all figures, and of fewer, need
TOLERANCE = 0.05  # of bytes below the others'

Spread = tuple[float, float | None]


@dataclass(frozen=True)
class Measured:
    """A finished cell. ``mode`` and ``budget`` are None for the bounds, which have no memory."""

    label: str
    mode: str | None
    budget: Budget | None
    result: Result


@dataclass(frozen=True)
class Row:
    """A method at one mode and budget, over its seeds.

    Accuracies, forgetting and differences are means of fractions with the half width of their 95 % interval.
    ``difference`` is to the baseline, seed by seed. ``bytes`` and ``updates`` hold the least and the most of a seed.
    """

    label: str
    mode: str | None
    budget: Budget | None
    seeds: tuple[int, ...]
    final: Spread
    difference: Spread | None
    average: Spread | None
    forgetting: Spread | None
    bytes: tuple[int, int]
    updates: tuple[int, int]
    condense_seconds: float
    train_seconds: float

    @property
    def seconds(self) -> float:
        """Of condensing and training."""
        return self.condense_seconds + self.train_seconds

    def plain(self) -> dict[str, Any]:
        """The row as plain JSON, its budget as key and amount."""
        return {**asdict(self), "budget": None if self.budget is None else self.budget.pair}


def summarise(cells: Sequence[Measured], baseline: str | None) -> list[Row]:
    """A row per method, mode and budget, in the order of the cells but with the bounds last."""
    groups: dict[tuple[str, str | None, Budget | None], list[Result]] = {}
    for cell in cells:
        groups.setdefault((cell.label, cell.mode, cell.budget), []).append(cell.result)
    rows = []
    for (label, mode, budget), results in groups.items():
        against = groups.get((baseline or "", mode, budget), [])
        finals = {result.seed: result.final_accuracy for result in results}
        rows.append(
            Row(
                label=label,
                mode=mode,
                budget=budget,
                seeds=tuple(finals),
                final=interval(list(finals.values())),
                difference=paired_difference(finals, {r.seed: r.final_accuracy for r in against})
                if label != baseline
                else None,
                average=_over(results, lambda r: r.average_accuracy),
                forgetting=_over(results, lambda r: r.forgetting),
                bytes=_ends([r.memory_bytes for r in results]),
                updates=_ends([r.updates for r in results]),
                condense_seconds=mean(r.condense_seconds for r in results),
                train_seconds=mean(r.train_seconds for r in results),
            )
        )
    modes = list(dict.fromkeys(row.mode for row in rows))
    # the bounds, without a budget, last
    return sorted(rows, key=lambda row: (row.budget is None, modes.index(row.mode), row.budget))


def unequal_bytes(rows: Sequence[Row], allowed: Callable[[Budget], int]) -> dict[Row, str]:
    """Memories above what their budget allows, or more than 5 % below the largest of the others, and why.

    Args:
        rows: of :func:`summarise`.
        allowed: bytes of a budget.
    """
    found = {}
    for row in rows:
        if row.budget is None:
            continue
        limit, (least, most) = allowed(row.budget), row.bytes
        others = [
            other.bytes[1] for other in rows if (other.mode, other.budget) == (row.mode, row.budget) and other != row
        ]
        if most > limit:
            found[row] = f"{most:,} bytes where the budget allows {limit:,}"
        elif others and least < (1 - TOLERANCE) * min(limit, max(others)):
            found[row] = f"{least:,} bytes, {100 * (1 - least / max(others)):.0f} % below {max(others):,}"
    return found


def unequal_updates(rows: Sequence[Row]) -> list[str]:
    """A line for each mode and budget whose memories did not train for the same number of updates."""
    lines = []
    for mode, budget in dict.fromkeys((row.mode, row.budget) for row in rows if row.budget is not None):
        here = [row for row in rows if (row.mode, row.budget) == (mode, budget)]
        if len({row.updates for row in here}) > 1:
            each = ", ".join(f"{row.label} {_range(row.updates)}" for row in here)
            lines.append(f"not equal updates ({place(mode, budget)}): {each}")
    return lines


def comparison_table(
    rows: Sequence[Row], baseline: str | None, flagged: Mapping[Row, str], title: str, *, width: int = 160
) -> Table:
    """A section per mode and budget, the bounds last; ``*`` marks bytes that are not equal, ``n`` fewer seeds.

    Without room for them in ``width`` columns, average accuracy and forgetting are left out (below 110), and all but
    final accuracy and bytes (below 76).
    """
    look: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE, "pad_edge": False}
    table = Table(title=Text(title), padding=(0, 1 if width >= MIDDLING else 0), **look)
    table.add_column("memory", no_wrap=True)
    headings = ["final %", f"vs {baseline}", "average %", "forgetting", "bytes", "updates", "seconds"]
    left_out = set() if baseline is not None else {1}
    left_out |= set() if width >= FULL else {2, 3} if width >= MIDDLING else {1, 2, 3, 5, 6}
    for heading in (heading for i, heading in enumerate(headings) if i not in left_out):
        table.add_column(heading, justify="right", no_wrap=True)
    shown: tuple[str | None, Budget | None] | None = None
    most = max((len(row.seeds) for row in rows), default=0)
    for row in rows:
        if shown != (row.mode, row.budget):
            shown = (row.mode, row.budget)
            table.add_section()
            table.add_row(Text(place(*shown), style="bold"))
        fewer = "" if len(row.seeds) == most else f" (n={len(row.seeds)})"
        cells = [
            percent_interval(row.final),
            percent_interval(row.difference, signed=True),
            percent_interval(row.average),
            percent_interval(row.forgetting),
            _range(row.bytes) + ("*" if row in flagged else ""),
            _range(row.updates),
            f"{row.seconds:.1f}",
        ]
        shown_cells = (cell for i, cell in enumerate(cells) if i not in left_out)
        table.add_row(Text(f"  {row.label}{fewer}"), *shown_cells)
    return table


def place(mode: str | None, budget: Budget | None) -> str:
    """Where in the comparison, in words: ``replay, ipc 5``."""
    if mode is None or budget is None:
        return "bounds"
    return f"{mode.replace('_', ' ')}, {budget.key} {budget.amount:,}"


def _over(results: Sequence[Result], value: Callable[[Result], float | None]) -> Spread | None:
    values = [found for found in map(value, results) if found is not None]
    return interval(values) if values else None


def _ends(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)


def _range(ends: tuple[int, int]) -> str:
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"
