"""Modes of printing."""

import io
import json
import math

import pytest
from rich.console import Console

from iid_cl.terminal.screen import Mode, Screen, emit, mode_of


def test_events_are_lines_of_json_that_any_parser_reads(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(Mode.json)
    screen.print("a table")
    emit(screen, "result", values=[1.5, math.nan, math.inf], inner={3: -math.inf}, text="a\nb\u2028")
    (line,) = capsys.readouterr().out.splitlines()[:1]
    found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found.pop("seconds") >= 0
    assert found == {"event": "result", "values": [1.5, None, None], "inner": {"3": None}, "text": "a\nb\u2028"}


@pytest.mark.parametrize("mode", [Mode.full, Mode.quiet])
def test_other_modes_print_no_events(mode: Mode, capsys: pytest.CaptureFixture[str]) -> None:
    emit(Screen(mode), "result")
    emit(Console(), "result")
    assert capsys.readouterr().out == ""


def test_any_other_console_says_everything() -> None:
    assert mode_of(Console(file=io.StringIO())) is Mode.full


def test_values_nested_without_end_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    value: list[object] = []
    for _ in range(5000):
        value = [value]
    emit(Screen(Mode.json), "result", value=value)
    inner = json.loads(capsys.readouterr().out)["value"]
    for _ in range(63):  # the event is the first of the 64 levels
        (inner,) = inner
    assert inner == "…"
