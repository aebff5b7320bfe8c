"""SIGINT and SIGTERM: a run saves and stops; a second signal stops it at once. Imports nothing slow."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 4.0  # seconds to reach a step at which everything can be saved


class Stopped(BaseException):
    """A signal asked the process to stop. It is no error, so ``except Exception`` lets it pass.

    Attributes:
        exit_code: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopRequest:
    """Whether a signal has asked the process to stop.

    Attributes:
        number: of the signal, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None


@contextmanager
def stops_at_signals() -> Iterator[None]:
    """Inside, a signal raises :class:`Stopped` at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handling(dict.fromkeys(SIGNALS, stop)):
        yield


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Inside, the first signal sets the request; the program then saves and raises :class:`Stopped`.

    If it has not done so after four seconds, :class:`Stopped` is raised anyway, and the last checkpoint stays. This
    happens in steps that cannot be saved. A second signal ends the process at once.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        if request:
            _end(number)
        request.number = number
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def give_up(number: int, frame: FrameType | None) -> None:
        assert request.number is not None  # a signal starts the timer
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
    """Installs handlers for a while; none outside the main thread, where signals never arrive."""
    before = {}
    with suppress(ValueError):
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _end(number: int) -> None:
    """Ends the process at once; shows the cursor, which a live view may have hidden."""
    show_cursor = "\x1b[?25h" if sys.stdout.isatty() else ""
    os.write(2, f"{show_cursor}\niid-cl: stopped at once\n".encode())
    os._exit(128 + number)
