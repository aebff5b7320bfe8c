"""The live view: every line within the terminal, and the figures right."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from iid_cl.terminal.live import Phase, Stage, View, clock_time


def view(now: float = 20.0) -> View:
    shown = View(Console(), lambda: now)
    shown._started = 0.0
    phase = Phase("distilled: experience 3/10, network 2/5 distilling", 1000, 10.0)
    phase.update(100, 1000, 10.0, {})
    phase.update(300, 1000, 20.0, {"match": 0.12345678, "cm": 12.5, "cc": 3.0})
    shown.phase = phase
    shown.stage = Stage(10, "experiences", 0.0, done=2, done_at=16.0)
    shown.memory_bytes, shown.gpu = 123456, "GPU 1.5 of 80 GiB, 97 % busy"
    return shown


def drawn(shown: View, width: int, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, force_terminal=True, width=width).print(shown)
    file.seek(0)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.read()).splitlines()


@pytest.mark.parametrize("width", [1, 5, 12, 20, 40, 79, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(cell_len, drawn(view(), width))) <= width


@pytest.mark.parametrize("width", [40, 80, 200])
def test_all_figures_are_there_at_any_width(width: int) -> None:
    text = " ".join(drawn(view(), width))
    # 200 steps in 10 s; 700 are left; 2 of 10 experiences took 16 s, so 8 take 64 s, of which 4 have gone
    for figure in ("300/1000", "20 iterations/s", "0:35 left", "match 0.1235", "cm 12.5", "2 of 10 experiences done",
                   "about 1:00 left in all", "memory 123,456 bytes", "97 % busy", "0:20"):  # fmt: skip
        assert figure in text


@pytest.mark.parametrize(
    ("method", "figures"),
    [
        ((1, 2), ("method 1 of 2", "2 of 10 experiences done", "about 1:00 left in this method")),
        ((2, 2), ("method 2 of 2", "about 1:00 left in all")),
    ],
)
def test_what_is_left_is_of_one_method_until_the_last(method: tuple[int, int], figures: tuple[str, ...]) -> None:
    shown = view()
    shown.method = method
    text = " ".join(drawn(shown, 80))
    assert all(figure in text for figure in figures)


def test_one_method_is_not_counted() -> None:
    assert "method" not in " ".join(drawn(view(), 80))


def test_a_terminal_without_unicode_gets_ascii() -> None:
    lines = drawn(view(), 80, encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert any(" | " in line for line in lines)


def test_images_per_second() -> None:
    shown = view()
    assert shown.phase is not None
    shown.phase.images = 64
    assert "1,280 images/s" in " ".join(drawn(shown, 80))


def test_nothing_is_drawn_between_runs() -> None:
    assert drawn(View(Console(), lambda: 0.0), 80) == []


def test_the_speed_is_that_of_late() -> None:
    phase = Phase("training", 1000, 0.0)
    for second in range(100):
        phase.update(second, 1000, float(second), {})
    for second in range(100, 140):
        phase.update(100 + 5 * (second - 99), 1000, float(second), {})
    assert phase.rate == pytest.approx(5.0)


def test_a_run_that_goes_on_counts_only_what_it_has_seen() -> None:
    stage = Stage(10, "experiences", 100.0, first=6, done=6)
    assert stage.left(110.0) is None
    stage.done, stage.done_at = 8, 120.0
    assert stage.left(125.0) == pytest.approx(15.0)  # two took 20 s; two more, of which 5 s have gone


def test_times() -> None:
    assert [clock_time(s) for s in (0.9, 61, 3599, 3600, 36061)] == ["0:00", "1:01", "59:59", "1:00:00", "10:01:01"]
