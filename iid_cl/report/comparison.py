"""Results of a comparison: a row per method, mode and budget, checks of fairness, and the table."""

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

FULL, MIDDLING = 110, 76  # columns of the terminal that the full and the medium table need
TOLERANCE = 0.05  # relative difference of bytes that counts as equal

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
    ``difference`` is the difference to the baseline, seed by seed. ``bytes`` and ``updates`` hold the minimum and the
    maximum over seeds.
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
        """Seconds of condensing and training together."""
        return self.condense_seconds + self.train_seconds

    def plain(self) -> dict[str, Any]:
        """The row as plain JSON, with the budget as key and amount."""
        return {**asdict(self), "budget": None if self.budget is None else self.budget.pair}


def summarise(cells: Sequence[Measured], baseline: str | None) -> list[Row]:
    """A row per method, mode and budget, in the order of the cells, but with the bounds last."""
    groups: dict[tuple[str, str | None, Budget | None], list[Result]] = {}
    for cell in cells:
        groups.setdefault((cell.label, cell.mode, cell.budget), []).append(cell.result)
    rows = []
    for (label, mode, budget), results in groups.items():
        finals = {result.seed: result.final_accuracy for result in results}
        others = {result.seed: result.final_accuracy for result in groups.get((baseline or "", mode, budget), [])}
        rows.append(
            Row(
                label=label,
                mode=mode,
                budget=budget,
                seeds=tuple(finals),
                final=interval(list(finals.values())),
                difference=None if label == baseline else paired_difference(finals, others),
                average=_over(results, lambda r: r.average_accuracy),
                forgetting=_over(results, lambda r: r.forgetting),
                bytes=_ends([r.memory_bytes for r in results]),
                updates=_ends([r.updates for r in results]),
                condense_seconds=mean(r.condense_seconds for r in results),
                train_seconds=mean(r.train_seconds for r in results),
            )
        )
    modes = list(dict.fromkeys(row.mode for row in rows))
    return sorted(rows, key=lambda row: (row.budget is None, modes.index(row.mode), row.budget))


def unequal_bytes(rows: Sequence[Row], allowed: Callable[[Budget], int]) -> dict[Row, str]:
    """Memories larger than their budget, or over 5 % smaller than the largest other memory of it, with the reason.

    ``allowed`` gives the bytes of a budget.
    """
    reasons = {}
    for row in rows:
        if row.budget is None:
            continue
        limit, (least, most) = allowed(row.budget), row.bytes
        others = [
            other.bytes[1] for other in rows if (other.mode, other.budget) == (row.mode, row.budget) and other != row
        ]
        if most > limit:
            reasons[row] = f"{most:,} bytes where the budget allows {limit:,}"
        elif others and least < (1 - TOLERANCE) * min(limit, max(others)):
            reasons[row] = f"{least:,} bytes, {100 * (1 - least / max(others)):.0f} % below {max(others):,}"
    return reasons


def unequal_updates(rows: Sequence[Row]) -> list[str]:
    """A line for each mode and budget at which the numbers of updates differ."""
    lines = []
    for mode, budget in dict.fromkeys((row.mode, row.budget) for row in rows if row.budget is not None):
        memories = [row for row in rows if (row.mode, row.budget) == (mode, budget)]
        if len({row.updates for row in memories}) > 1:
            updates = ", ".join(f"{row.label} {_range(row.updates)}" for row in memories)
            lines.append(f"not equal updates ({place(mode, budget)}): {updates}")
    return lines


def comparison_table(
    rows: Sequence[Row], baseline: str | None, flagged: Mapping[Row, str], title: str, *, width: int = 160
) -> Table:
    """A section per mode and budget, the bounds last; ``*`` marks unequal bytes, ``n`` a smaller number of seeds.

    Below 110 columns there is no average accuracy and forgetting; below 76, only final accuracy and bytes.
    """
    look: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE, "pad_edge": False}
    table = Table(title=Text(title), padding=(0, 1 if width >= MIDDLING else 0), **look)
    table.add_column("memory", no_wrap=True)
    headings = ["final %", f"vs {baseline}", "average %", "forgetting", "bytes", "updates", "seconds"]
    widths = (0, MIDDLING, FULL, FULL, 0, MIDDLING, MIDDLING)  # columns of the terminal that a heading needs
    columns = [i for i, needed in enumerate(widths) if width >= needed and (i != 1 or baseline is not None)]
    for column in columns:
        table.add_column(headings[column], justify="right", no_wrap=True)
    section: tuple[str | None, Budget | None] | None = None
    most = max((len(row.seeds) for row in rows), default=0)
    for row in rows:
        if section != (row.mode, row.budget):
            section = (row.mode, row.budget)
            table.add_section()
            table.add_row(Text(place(*section), style="bold"))
        cells = [
            percent_interval(row.final),
            percent_interval(row.difference, signed=True),
            percent_interval(row.average),
            percent_interval(row.forgetting),
            _range(row.bytes) + ("*" if row in flagged else ""),
            _range(row.updates),
            f"{row.seconds:.1f}",
        ]
        seeds = "" if len(row.seeds) == most else f" (n={len(row.seeds)})"
        table.add_row(Text(f"  {row.label}{seeds}"), *(cells[column] for column in columns))
    return table


def place(mode: str | None, budget: Budget | None) -> str:
    """Mode and budget in words: ``replay, ipc 5``."""
    if mode is None or budget is None:
        return "bounds"
    return f"{mode.replace('_', ' ')}, {budget.key} {budget.amount:,}"


def _over(results: Sequence[Result], value: Callable[[Result], float | None]) -> Spread | None:
    values = [number for number in map(value, results) if number is not None]
    return interval(values) if values else None


def _ends(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)


def _range(ends: tuple[int, int]) -> str:
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"
