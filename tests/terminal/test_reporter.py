"""What a person sees of a run, with a clock that the test moves."""

import io
import json
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from rich.console import Console

from iid_cl.terminal.reporter import JSON_INTERVAL, PLAIN_INTERVAL, Reporter
from iid_cl.terminal.screen import Mode, Screen


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("iid_cl.terminal.reporter.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def plain(width: int = 60) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=width), file


def terminal() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(force_terminal=True, file=file, width=100), file


def losses_of(**values: float) -> Callable[[], dict[str, float]]:
    return lambda: values


def forbidden() -> dict[str, float]:
    raise AssertionError("nothing is shown, so nothing should be read from the device")


def test_lines_go_to_the_console_and_the_log() -> None:
    console, file = plain()
    log = io.StringIO()
    with Reporter(console, log) as reporter:
        reporter.line("first")
        reporter.line()
        reporter.line("second")
    assert file.getvalue() == log.getvalue() == "first\n\nsecond\n"


def test_lines_are_taken_literally_and_never_broken() -> None:
    console, file = plain(width=20)
    text = "[bold]class [/red] :smile: " + "x" * 50
    with Reporter(console) as reporter:
        reporter.line(text)
    assert file.getvalue() == text + "\n"


def test_the_log_is_written_at_once() -> None:
    class Flushed(io.StringIO):
        flushes = 0

        def flush(self) -> None:
            self.flushes += 1

    log = Flushed()
    reporter = Reporter(plain()[0], log)
    reporter.line("one")
    assert log.flushes == 1


def test_short_phases_print_nothing_where_there_is_no_terminal(clock: Clock) -> None:
    console, file = plain()
    log = io.StringIO()
    with Reporter(console, log) as reporter:
        for done in range(1, 101):
            reporter.progress("training", done, 100)
    assert file.getvalue() == log.getvalue() == ""


def test_long_phases_print_a_line_now_and_then(clock: Clock) -> None:
    console, file = plain()
    log = io.StringIO()
    with Reporter(console, log) as reporter:
        for done in range(1, 31):
            reporter.progress("training", done, 30, losses_of(loss=0.12345678, cc=float(done)))
            clock.now += PLAIN_INTERVAL / 10
    shown = [line.strip() for line in file.getvalue().splitlines()]
    assert shown == ["training: 11/30  loss 0.1235  cc 11", "training: 21/30  loss 0.1235  cc 21"]
    assert log.getvalue() == file.getvalue()


def test_losses_are_read_only_when_shown(clock: Clock) -> None:
    with Reporter(plain()[0]) as reporter:
        reporter.progress("training", 1, 10, forbidden)
        clock.now += PLAIN_INTERVAL * 0.9
        reporter.progress("training", 2, 10, forbidden)
        clock.now += PLAIN_INTERVAL * 0.2
        with pytest.raises(AssertionError):
            reporter.progress("training", 3, 10, forbidden)


def test_each_phase_waits_anew(clock: Clock) -> None:
    console, file = plain()
    with Reporter(console) as reporter:
        for label in ("one", "two", "three"):
            reporter.progress(label, 1, 10)
            clock.now += PLAIN_INTERVAL * 0.6
            reporter.progress(label, 2, 10)
    assert file.getvalue() == ""


def test_a_phase_that_comes_again_starts_from_the_beginning(clock: Clock) -> None:
    console, file = plain()
    with Reporter(console) as reporter:
        for _ in range(2):
            for done in (1, 2, 3):
                reporter.progress("training", done, 3)
                clock.now += PLAIN_INTERVAL * 0.8
    assert [line.strip() for line in file.getvalue().splitlines()] == ["training: 3/3"] * 2


def test_a_phase_that_starts_again_before_its_end_waits_anew(clock: Clock) -> None:
    console, file = plain()
    with Reporter(console) as reporter:
        for done in (5, 6, 1, 2):
            reporter.progress("training", done, 10)
            clock.now += PLAIN_INTERVAL * 0.6
        assert file.getvalue() == ""
        reporter.progress("training", 3, 10)
    assert file.getvalue().strip() == "training: 3/10"


def test_plain_output_has_no_escape_codes(clock: Clock) -> None:
    console, file = plain()
    with Reporter(console) as reporter:
        reporter.line("start")
        for done in range(1, 4):
            reporter.progress("training", done, 3, losses_of(loss=1.0))
            clock.now += 2 * PLAIN_INTERVAL
        reporter.line("end")
    assert "training: 2/3" in file.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", file.getvalue())


def test_a_terminal_shows_a_bar_with_count_and_losses(clock: Clock) -> None:
    console, file = terminal()
    with Reporter(console) as reporter:
        reporter.progress("training", 1, 4)
        clock.now += 1
        reporter.progress("training", 2, 4, losses_of(match=0.25))
        reporter.line("still running")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert "training" in shown
    assert "2/4" in shown
    assert "match 0.25" in shown
    assert "still running" in shown
    assert "\x1b" in file.getvalue()


def test_a_terminals_bar_stays_out_of_the_log(clock: Clock) -> None:
    console, _ = terminal()
    log = io.StringIO()
    with Reporter(console, log) as reporter:
        for done in range(1, 5):
            reporter.progress("training", done, 4, losses_of(loss=1.0))
            clock.now += 60
        reporter.line("done")
    assert log.getvalue() == "done\n"


def test_a_terminal_has_one_bar_at_a_time(clock: Clock) -> None:
    console, file = terminal()
    with Reporter(console) as reporter:
        reporter.progress("distilling", 1, 2)
        clock.now += 1
        reporter.progress("distilling", 2, 2)
        reporter.progress("training", 1, 2)
        file.truncate(0)
        file.seek(0)
        reporter.line("now")
    assert "training" in file.getvalue()
    assert "distilling" not in file.getvalue()


def test_the_cursor_comes_back_after_an_error() -> None:
    console, file = terminal()
    with pytest.raises(ValueError, match="broken"), Reporter(console):
        raise ValueError("broken")
    assert file.getvalue().rfind("\x1b[?25h") > file.getvalue().rfind("\x1b[?25l") >= 0


def test_quiet_prints_results_only_and_logs_everything(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    log = io.StringIO()
    with Reporter(Screen(Mode.quiet), log) as reporter:
        reporter.line("a line")
        for done in range(1, 4):
            reporter.progress("training", done, 3, forbidden)
            clock.now += 2 * PLAIN_INTERVAL
        reporter.result("a result")
    assert capsys.readouterr().out == "a result\n"
    assert log.getvalue() == "a line\na result\n"


def test_json_is_one_event_a_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(Screen(Mode.json)) as reporter:
        reporter.line("a line")
        for done in range(1, 31):
            reporter.progress("training", done, 30, losses_of(loss=0.5), images=64)
            clock.now += JSON_INTERVAL / 8
        reporter.progress("distilling", 1, 1)
        reporter.result("a result")
        reporter.event("experience", accuracy_seen=0.5)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event.pop("event") for event in events] == [
        "message", *["progress"] * 5, "message", "experience"
    ]  # fmt: skip
    assert all(event.pop("seconds") >= 0 for event in events)
    assert [(event["phase"], event["done"], event["total"]) for event in events[1:6]] == [
        ("training", 9, 30), ("training", 17, 30), ("training", 25, 30), ("training", 30, 30), ("distilling", 1, 1)
    ]  # fmt: skip
    assert events[1]["losses"] == {"loss": 0.5}
    assert events[1]["images_per_second"] == pytest.approx(8 / JSON_INTERVAL * 64)
    assert events[5]["iterations_per_second"] is None
    assert events[-1] == {"accuracy_seen": 0.5}


def test_a_narrow_terminal_breaks_lines_between_words(clock: Clock) -> None:
    file = io.StringIO()
    with Reporter(Console(force_terminal=True, file=file, width=40, color_system=None)) as reporter:
        reporter.stage(1, 5, memory_bytes=660)
        reporter.progress("distilled: experience 2/5 training", 1, 4)
        clock.now += 1
        reporter.progress("distilled: experience 2/5 training", 2, 4, losses_of(match=0.25))
        reporter.line("distilled: experience 1/5  seen classes 0.994  each experience 0.994")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    lines = re.split(r"[\r\n]+", shown)
    assert max(map(len, lines)) <= 40
    assert "0.994  each experience 0.994" in lines
    assert any("1 of 5 experiences done" in line for line in lines)


def test_a_dumb_terminal_gets_plain_lines(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console, file = terminal()
    with Reporter(console) as reporter:
        reporter.progress("training", 1, 3)
        clock.now += 2 * PLAIN_INTERVAL
        reporter.progress("training", 2, 3)
    assert file.getvalue() == "  training: 2/3  \n"


def test_another_method_has_experiences_of_its_own() -> None:
    reporter = Reporter(Console(file=io.StringIO()))
    reporter.stage(3, 5)
    reporter.method(2, 2)
    assert reporter._view.stage is None
    reporter.stage(3, 5)  # a run that is resumed begins here
    assert reporter._view.stage is not None
    assert (reporter._view.stage.first, reporter._view.method) == (3, (2, 2))
