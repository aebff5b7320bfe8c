"""Tables of studies for the terminal."""

from collections.abc import Sequence
from statistics import mean

from rich import box
from rich.table import Table
from rich.text import Text

from iid_cl.report.statistics import percent
from iid_cl.studies.rows import Row, Tried, text


def study_table(rows: Sequence[Row], title: str) -> Table:
    """A row per variant and value, a column per architecture with its difference to the first architecture."""
    architectures = list(dict.fromkeys(row.architecture for row in rows))
    swept = any(row.x is not None for row in rows)
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    for heading in (*(["at"] if swept else []), *(f"{name} %" for name in architectures), "bytes", "memory s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for variant, x in dict.fromkeys((row.variant, row.x) for row in rows):
        group = [row for row in rows if (row.variant, row.x) == (variant, x)]
        first, *others = ([row.accuracy for row in group if row.architecture == name] for name in architectures)
        cells = [f"{percent(values)} ({100 * (mean(values) - mean(first)):+.1f})" for values in others]
        at = [f"{x:g}" if x is not None else "-"] if swept else []
        seconds = f"{mean(row.condense_seconds for row in group):.1f}"
        table.add_row(Text(variant), *at, percent(first), *cells, f"{group[0].bytes:,}", seconds)
    return table


SHOWN = 10  # trials in the table of a search


def search_table(tried: Sequence[Tried], rows: Sequence[Row], title: str) -> Table:
    """The best trials, best first: a row each, a column per key."""
    best = sorted(
        (one for one in tried if one.accuracy is not None and one.same_as is None),
        key=lambda one: -(one.accuracy or 0),
    )
    keys = list(tried[0].values)
    short = [key.partition(".")[2] or key for key in keys]
    headings = short if len(set(short)) == len(keys) else keys
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False)
    for heading in ("trial", *headings, "held-out %", "bytes", "memory s"):
        table.add_column(Text(heading), justify="right", overflow="fold")
    for one in best[:SHOWN]:
        group = [row for row in rows if row.variant == one.name]
        seconds = f"{mean(row.condense_seconds for row in group):.1f}"
        accuracies = [row.accuracy for row in group if row.architecture == group[0].architecture]
        values = [text(one.values[key]) for key in keys]
        table.add_row(str(one.number), *map(Text, values), percent(accuracies), f"{group[0].bytes:,}", seconds)
    return table
