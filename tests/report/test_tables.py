"""The tables of results."""

import io
import re
from typing import Any

from rich.console import Console

from iid_cl.records.result import Result
from iid_cl.report.tables import results_table


def result(method: str, seed: int = 0, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "mode": "replay",
        "class_order": [[0], [1]],
        "matrix": [[1.0], [0.5, 0.5]],
        "final_accuracy": 0.5,
        "average_accuracy": 0.75,
        "forgetting": 0.125,
        "backward_transfer": -0.0625,
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
    assert row[:5] == ["random", "50.0", "75.0", "12.5", "-6.2"]
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
    (row,) = printed(result("joint", average_accuracy=None, forgetting=None, backward_transfer=None, memory_bytes=0))
    assert row[:5] == ["joint", "50.0", "-", "-", "-"]


def test_the_widest_table_fits_a_hundred_columns() -> None:
    widest = {"final_accuracy": 1.0, "average_accuracy": 1.0, "forgetting": -1.0, "backward_transfer": -1.0}
    other = {key: -value for key, value in widest.items()}
    more = {"memory_bytes": 123_456_789, "condense_seconds": 12345.6, "train_seconds": 12345.6}
    file = io.StringIO()
    table = results_table([result("cumulative", 0, **widest, **more), result("cumulative", 1, **other, **more)], "t")
    Console(file=file, width=200).print(table)
    assert "123,456,789" in file.getvalue()
    assert max(len(line.rstrip()) for line in file.getvalue().splitlines()) <= 100
