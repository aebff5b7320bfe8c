"""Signals: noted or raised, and everything as before afterwards."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from iid_cl.terminal import signals as stopping
from iid_cl.terminal.signals import Stopped, stop_request, stops_at_signals


def signalled(number: signal.Signals) -> None:
    """Signals this process and lets it wait."""
    os.kill(os.getpid(), number)
    time.sleep(5)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_raised_with_its_exit_code(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=number.name) as stopped, stops_at_signals():
        signalled(number)
    assert stopped.value.exit_code == code
    assert not isinstance(stopped.value, Exception)  # nothing that mends errors swallows it
    assert signal.getsignal(number) is before


def test_a_request_is_noted_and_the_program_goes_on() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_request() as request:
        assert not request
        os.kill(os.getpid(), signal.SIGTERM)
        assert request
        assert request.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_request_that_is_not_met_in_time_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE", 0.05)
    with pytest.raises(Stopped, match="SIGINT"), stop_request():
        signalled(signal.SIGINT)


def test_in_another_thread_signals_are_left_alone() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stop_request() as request, stops_at_signals():
            seen.append(bool(request))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


TWICE = """
import os, signal, time
from iid_cl.terminal.signals import stop_request
with stop_request():
    os.kill(os.getpid(), signal.SIGTERM)
    print("once", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("twice", flush=True)
"""


def test_a_second_signal_ends_the_process_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "once\n", "iid-cl: stopped at once")
