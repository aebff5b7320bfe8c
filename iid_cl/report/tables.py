"""Tables for the terminal."""

from collections.abc import Sequence
from statistics import mean

from rich import box
from rich.table import Table
from rich.text import Text

from iid_cl.report.statistics import percent
from iid_cl.runs.experiment import Result


def results_table(results: Sequence[Result], title: str) -> Table:
    """One row per method: its accuracies, forgetting, bytes and seconds; several seeds become mean +- std."""
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False)
    table.add_column("memory", no_wrap=True)
    for heading in ("final %", "average %", "forgetting", "bytes", "memory s", "train s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for method in dict.fromkeys(result.method for result in results):
        runs = [result for result in results if result.method == method]
        table.add_row(
            method,
            percent([r.final_accuracy for r in runs]),
            percent([r.average_accuracy for r in runs if r.average_accuracy is not None]),
            percent([r.forgetting for r in runs if r.forgetting is not None]),
            f"{runs[0].memory_bytes:,}",
            f"{mean(r.condense_seconds for r in runs):.1f}",
            f"{mean(r.train_seconds for r in runs):.1f}",
        )
    return table
