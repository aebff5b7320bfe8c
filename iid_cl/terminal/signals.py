"""SIGINT and SIGTERM: a run saves and stops, a second signal stops at once. Imports nothing slow."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 4.0  # seconds to come to a place where everything can be saved


class Stopped(BaseException):
    """A signal asked the process to stop; not an error, so ``except Exception`` lets it pass.

    Attributes:
        exit_code: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopRequest:
    """Whether a signal has asked to stop, and which.

    Attributes:
        number: of the signal; None while there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None


@contextmanager
def stops_at_signals() -> Iterator[None]:
    """Within it, a signal raises :class:`Stopped` at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handling(dict.fromkeys(SIGNALS, stop)):
        yield


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Within it, the first signal is noted, for the program to save and raise :class:`Stopped`.

    Where it has not done so within four seconds, being in a step that cannot be saved, it is raised in its stead: what
    was saved last counts. A second signal ends the process on the spot.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        if request:
            _end(number)
        request.number = number
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def give_up(number: int, frame: FrameType | None) -> None:
        assert request.number is not None  # the timer runs after a signal only
        raise Stopped(request.number)

    handlers: dict[signal.Signals, Handler] = dict.fromkeys(SIGNALS, note)
    if hasattr(signal, "SIGALRM"):
        handlers[signal.SIGALRM] = give_up
    with _handling(handlers):
        try:
            yield request
        finally:
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _handling(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    """Handlers in force for a while; none in a thread other than the main one, where signals never arrive."""
    before = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
    except ValueError:
        pass
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _end(number: int) -> None:
    """Without another step; a live view may have hidden the cursor."""
    show_cursor = "\x1b[?25h" if sys.stdout.isatty() else ""
    os.write(2, f"{show_cursor}\niid-cl: stopped at once\n".encode())
    os._exit(128 + number)
