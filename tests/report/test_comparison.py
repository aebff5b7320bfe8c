"""Rows, flags, table and figure of a comparison, from made-up results."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from iid_cl.budget import Budget
from iid_cl.records.result import Result
from iid_cl.report.comparison import Measured, Row, comparison_table, summarise, unequal_bytes, unequal_updates
from iid_cl.report.comparison_figure import save_comparison_figure

IPC = {1: Budget(ipc=1), 5: Budget(ipc=5)}


def measured(
    label: str, seed: int, accuracy: float, *, mode: str | None = "replay", ipc: int | None = 1, **more: Any
) -> Measured:
    values: dict[str, Any] = {
        "method": "random",
        "mode": mode or "replay",
        "seed": seed,
        "class_order": [],
        "matrix": [],
        "final_accuracy": accuracy,
        "average_accuracy": accuracy / 2,
        "forgetting": 0.25,
        "memory_images": 1,
        "memory_bytes": 660,
        "condense_seconds": 1.0,
        "train_seconds": 2.0,
        "total_seconds": 4.0,
        "updates": 10,
    }
    return Measured(label, mode, None if ipc is None else IPC[ipc], Result(**{**values, **more}))


CELLS = [
    measured("joint", 0, 0.9, mode=None, ipc=None, average_accuracy=None, forgetting=None, memory_bytes=0),
    measured("herding", 0, 0.4),
    measured("herding", 1, 0.6),
    measured("distilled", 0, 0.5, condense_seconds=3.0),
    measured("distilled", 1, 0.7, condense_seconds=5.0),
    measured("herding", 0, 0.5, ipc=5, memory_bytes=3300),
    measured("distilled", 0, 0.8, ipc=5, memory_bytes=3300),
]


def allowed(budget: Budget) -> int:
    return 660 * budget.amount


def test_a_row_holds_its_budget_as_key_and_amount() -> None:
    memory, bound = (row.plain() for row in summarise([measured("a", 0, 0.5, ipc=5), *CELLS[:1]], None))
    assert (memory["label"], memory["budget"], memory["final"]) == ("a", ("ipc", 5), (0.5, None))
    assert (bound["label"], bound["budget"]) == ("joint", None)


def row_of(rows: list[Row], label: str, ipc: int | None = 1) -> Row:
    (found,) = [row for row in rows if (row.label, row.budget) == (label, None if ipc is None else IPC[ipc])]
    return found


def test_rows_group_methods_by_mode_and_budget_bounds_last() -> None:
    rows = summarise([*CELLS, measured("herding", 0, 0.1, mode="memory_only")], "herding")
    assert [(row.label, row.mode, row.budget, row.seeds) for row in rows] == [
        ("herding", "replay", IPC[1], (0, 1)),
        ("distilled", "replay", IPC[1], (0, 1)),
        ("herding", "replay", IPC[5], (0,)),
        ("distilled", "replay", IPC[5], (0,)),
        ("herding", "memory_only", IPC[1], (0,)),
        ("joint", None, None, (0,)),
    ]


def test_a_row_has_means_and_the_difference_seed_by_seed() -> None:
    row = row_of(summarise(CELLS, "herding"), "distilled")
    assert row.final[0] == pytest.approx(0.6)
    assert row.final[1] == pytest.approx(12.706 * 0.1, rel=1e-3)  # s = 0.1 * sqrt(2), over sqrt(2)
    assert row.difference == (pytest.approx(0.1), pytest.approx(0.0, abs=1e-9))
    assert row.average is not None
    assert row.average[0] == pytest.approx(0.3)
    assert (row.condense_seconds, row.train_seconds, row.seconds) == (4.0, 2.0, 6.0)


def test_neither_baseline_nor_bounds_have_a_difference() -> None:
    rows = summarise(CELLS, "herding")
    assert row_of(rows, "herding").difference is None
    assert row_of(rows, "joint", None).difference is None
    assert row_of(rows, "joint", None).average is None
    assert row_of(rows, "distilled", 5).difference == (pytest.approx(0.3), None)


@pytest.mark.parametrize(
    ("stored", "flags"),
    [
        ({"a": 660, "b": 660}, {}),
        ({"a": 660, "b": 627}, {}),  # exactly 5 % below
        ({"a": 660, "b": 626}, {"b": "626 bytes, 5 % below 660"}),
        ({"a": 661, "b": 660}, {"a": "661 bytes where the budget allows 660"}),
        ({"a": 1320, "b": 650}, {"a": "1,320 bytes where the budget allows 660"}),  # b is no worse for it
        ({"a": 100}, {}),
    ],
    ids=str,
)
def test_bytes_that_are_not_equal_are_flagged(stored: dict[str, int], flags: dict[str, str]) -> None:
    rows = summarise([measured(label, 0, 0.5, memory_bytes=n) for label, n in stored.items()], None)
    assert {row.label: why for row, why in unequal_bytes(rows, allowed).items()} == flags


def test_one_seed_with_too_many_bytes_is_enough() -> None:
    rows = summarise([measured("a", 0, 0.5), measured("a", 1, 0.5, memory_bytes=700)], None)
    assert list(unequal_bytes(rows, allowed).values()) == ["700 bytes where the budget allows 660"]


def test_budgets_and_modes_are_judged_apart() -> None:
    cells = [
        measured("a", 0, 0.5, updates=10),
        measured("b", 0, 0.5, updates=10),
        measured("a", 0, 0.5, ipc=5, memory_bytes=3300, updates=20),
        measured("b", 0, 0.5, ipc=5, memory_bytes=3300, updates=21),
        measured("none", 0, 0.5, mode=None, ipc=None, memory_bytes=0, updates=3),
    ]
    rows = summarise(cells, "a")
    assert unequal_bytes(rows, allowed) == {}
    assert unequal_updates(rows) == ["not equal updates (replay, ipc 5): a 20, b 21"]


def printed(width: int, cells: list[Measured] = CELLS) -> str:
    rows = summarise(cells, "herding")
    out = io.StringIO()
    table = comparison_table(rows, "herding", {rows[0]: "why"}, "A title", width=width)
    Console(file=out, width=width).print(table)
    return out.getvalue()


def cells_of(line: str) -> list[str]:
    return [cell for cell in (part.strip() for part in line.split("  ")) if cell]


def test_the_full_table() -> None:
    lines = [cells_of(line) for line in printed(110).splitlines()]
    assert ["memory", "final %", "vs herding", "average %", "forgetting", "bytes", "updates", "seconds"] in lines
    assert ["replay, ipc 1"] in lines
    assert ["bounds"] in lines
    distilled = ["distilled", "60.0 ± 127.1", "+10.0 ± 0.0", "30.0 ± 63.5", "25.0 ± 0.0", "660", "10", "6.0"]
    assert distilled in lines
    assert ["joint (n=1)", "90.0", "-", "-", "-", "0", "10", "3.0"] in lines
    found = [(line[0], line[5]) for line in lines if line and line[0].startswith("herding")]
    assert found == [("herding", "660*"), ("herding (n=1)", "3,300")]


def test_the_figures_alone_fit_40_columns() -> None:
    text = printed(40)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 40
    assert ["distilled", "60.0 ± 127.1", "660"] in map(cells_of, text.splitlines())


def test_the_short_table_fits_a_narrow_terminal() -> None:
    text = printed(80)
    assert "…" not in text
    assert ["distilled", "60.0 ± 127.1", "+10.0 ± 0.0", "660", "10", "6.0"] in map(cells_of, text.splitlines())


@pytest.mark.parametrize("cells", [CELLS, CELLS[:5], CELLS[:1]], ids=["budgets", "one budget", "bounds alone"])
def test_the_figure_opens(tmp_path: Path, cells: list[Measured]) -> None:
    path = tmp_path / "comparison.png"
    save_comparison_figure(path, summarise(cells, "herding"), "A $title$")
    with Image.open(path) as picture:
        picture.load()


def test_the_figure_has_a_panel_per_mode_and_stays_within_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr("iid_cl.report.comparison_figure.save_figure", lambda figure, path: figures.append(figure))
    rows = summarise([*CELLS, measured("herding", 0, 0.1, mode="memory_only", ipc=5)], "herding")
    save_comparison_figure(tmp_path / "f.png", rows, "A title")
    (figure,) = figures
    assert [axes.get_title() for axes in figure.axes] == ["replay", "memory only"]
    left = figure.axes[0]
    lines = {line.get_label(): line for line in left.get_lines()}
    assert lines["distilled"].get_xdata().tolist() == [1, 5]
    assert lines["distilled"].get_ydata().tolist() == pytest.approx([60, 80])
    assert lines["joint"].get_ydata() == pytest.approx([90, 90])
    assert left.get_xlabel() == "images per class"
    low, high = left.get_ylim()
    assert low >= -2  # two seeds have an interval far outside
    assert high <= 102
