"""The table of a run for the terminal."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from iid_cl.records.result import Result
from iid_cl.report.statistics import percent


def results_table(results: Sequence[Result], title: str, full: bool = True) -> Table:
    """One row per method: accuracies, forgetting, backward transfer, bytes, seconds; several seeds as mean ± std.

    If not ``full``, for narrow terminals: final accuracy and bytes only.
    """
    look: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE, "pad_edge": False}
    table = Table(title=Text(title), padding=(0, 1, 0, 0), **look)
    table.add_column("memory", no_wrap=True)
    headings = ["final %", "average %", "forgetting", "bwt", "bytes", "memory s", "train s"]
    columns = [i for i, heading in enumerate(headings) if full or heading in ("final %", "bytes")]
    for i in columns:
        table.add_column(headings[i], justify="right", no_wrap=True)
    for method in dict.fromkeys(result.method for result in results):
        runs = [result for result in results if result.method == method]
        cells = [
            percent([r.final_accuracy for r in runs]),
            percent([r.average_accuracy for r in runs if r.average_accuracy is not None]),
            percent([r.forgetting for r in runs if r.forgetting is not None]),
            percent([r.backward_transfer for r in runs if r.backward_transfer is not None]),
            f"{runs[0].memory_bytes:,}",
            f"{mean(r.condense_seconds for r in runs):.1f}",
            f"{mean(r.train_seconds for r in runs):.1f}",
        ]
        table.add_row(method, *(cells[i] for i in columns))
    return table
