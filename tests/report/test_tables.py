"""The table of results."""

import io
import re
from typing import Any

from rich.console import Console

from iid_cl.report.tables import results_table
from iid_cl.runs.experiment import Result


def result(method: str, seed: int = 0, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "mode": "replay",
        "class_order": [[0], [1]],
        "matrix": [[1.0], [0.5, 0.5]],
        "final_accuracy": 0.5,
        "average_accuracy": 0.75,
        "forgetting": 0.125,
        "memory_images": 20,
        "memory_bytes": 1320,
        "condense_seconds": 2.0,
        "train_seconds": 4.0,
        "total_seconds": 7.0,
    }
    return Result(method=method, seed=seed, **{**values, **changes})  # type: ignore[arg-type]


def printed(*results: Result) -> list[list[str]]:
    """The cells of each row that holds a method."""
    file = io.StringIO()
    Console(file=file, width=150).print(results_table(results, "title"))
    assert "title" in file.getvalue()
    methods = {r.method for r in results}
    rows = [[cell for cell in re.split(r"[│┃|]|\s{2,}", line) if cell.strip()] for line in file.getvalue().splitlines()]
    return [[cell.strip() for cell in row] for row in rows if row and row[0].strip() in methods]


def test_a_method_has_one_row_of_its_figures() -> None:
    (row,) = printed(result("random"))
    assert row[:4] == ["random", "50.0", "75.0", "12.5"]
    assert "1,320" in row
    assert row[-2:] == ["2.0", "4.0"]


def test_seeds_become_mean_and_deviation() -> None:
    (row,) = printed(
        result("random", 0, final_accuracy=0.4, condense_seconds=1.0),
        result("random", 1, final_accuracy=0.6, condense_seconds=4.0),
    )
    assert row[1] == "50.0 ± 14.1"
    assert row[2] == "75.0 ± 0.0"
    assert row[-2] == "2.5"


def test_rows_keep_the_order_of_the_results() -> None:
    rows = printed(result("random"), result("none"), result("random", 1), result("distilled"))
    assert [row[0] for row in rows] == ["random", "none", "distilled"]


def test_what_joint_training_does_not_have_is_a_dash() -> None:
    (row,) = printed(result("joint", average_accuracy=None, forgetting=None, memory_bytes=0))
    assert row[:4] == ["joint", "50.0", "-", "-"]
