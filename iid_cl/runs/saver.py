"""When the state of a run is saved."""

import time
from collections.abc import Callable

from iid_cl.files import State
from iid_cl.records.checkpoint import Checkpoints
from iid_cl.terminal.signals import Stopped, StopRequest

SHARE = 0.02  # of a run's time that saving may take


class Saver:
    """Saves a run's state now and then, and for the last time where a signal asks the run to stop.

    Args:
        checkpoints: where to.
        every: seconds from one save to the next; more where saving would take over 2 % of the time.
        stop: says whether the run is to stop.
        collect: the run's state, given that of the method at work.

    Attributes:
        of_method: the state of the method at work, or None between two methods.
        saves: how often it has saved.
        seconds: how long that took in all.
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
        """Whether to save now, at a place where it can be done."""
        if self._stop:
            return True
        return time.monotonic() - self._last >= max(self._every, self._cost / SHARE)

    def save(self) -> None:
        """Saves.

        Raises:
            Stopped: a signal has asked for it.
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
