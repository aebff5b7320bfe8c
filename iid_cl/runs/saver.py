"""Decides when the state of a run is saved."""

import time
from collections.abc import Callable

from iid_cl.files import State
from iid_cl.records.checkpoint import Checkpoints
from iid_cl.terminal.signals import Stopped, StopRequest

SHARE = 0.02  # maximum share of a run's time for saving


class Saver:
    """Saves a run's state regularly, and once more when a signal asks the run to stop.

    Args:
        checkpoints: where to save.
        every: seconds between two saves; longer if saving would take over 2 % of the time.
        stop: whether the run should stop.
        collect: returns the run's state, given the state of the running method.

    Attributes:
        of_method: returns the state of the running method; None between two methods.
        saves: number of saves.
        seconds: total time of the saves, in seconds.
    """

    def __init__(
        self, checkpoints: Checkpoints, every: float, stop: StopRequest, collect: Callable[[State | None], State]
    ) -> None:
        self._checkpoints = checkpoints
        self._every = every
        self._stop = stop
        self._collect = collect
        self._last = time.monotonic()
        self._cost = 0.0
        self.of_method: Callable[[], State] | None = None
        self.saves = 0
        self.seconds = 0.0

    def due(self) -> bool:
        """Whether to save at the next opportunity."""
        return bool(self._stop) or time.monotonic() - self._last >= max(self._every, self._cost / SHARE)

    def save(self) -> None:
        """Saves now.

        Raises:
            Stopped: after saving, if a signal has asked the run to stop.
            UserError: the state cannot be written.
        """
        started = time.monotonic()
        self._checkpoints.write(self._collect(None if self.of_method is None else self.of_method()))
        self._last = time.monotonic()
        self._cost = self._last - started
        self.saves += 1
        self.seconds += self._cost
        if self._stop.number is not None:
            raise Stopped(self._stop.number)
