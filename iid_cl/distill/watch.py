"""Observers of a distillation: progress, snapshots and saved states."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from iid_cl.distill.journal import Journal
from iid_cl.memory.exemplars import ExemplarSet

OnStep = Callable[[int, dict[str, float]], None]
OnStart = Callable[[int, int], None]
Snapshots = Collection[int] | Callable[[int], Collection[int]]
OnSnapshot = Callable[[int, ExemplarSet], None]


@dataclass(frozen=True)
class Watch:
    """Observers of a distillation.

    Attributes:
        on_step: called now and then with the iteration (from 1) and the mean loss terms per class.
        on_snapshot: called with the iteration and the current images at each iteration of ``snapshots``.
        snapshots: iterations at which ``on_snapshot`` is called; 0 means the initial images. Or a function that gives
            them for a number of iterations.
        journal: saves the state of the distillation when due, and returns the state of an interrupted one.
        on_start: called at the beginning with the numbers of classes and of iterations.
    """

    on_step: OnStep | None = None
    on_snapshot: OnSnapshot | None = None
    snapshots: Snapshots = ()
    journal: Journal | None = None
    on_start: OnStart | None = None

    def moments(self, iterations: int) -> Collection[int]:
        """Iterations at which ``on_snapshot`` is called, in a distillation of so many."""
        return self.snapshots(iterations) if callable(self.snapshots) else self.snapshots

    def beside(self, other: "Watch") -> "Watch":
        """This observer, with ``other`` told of starts and steps, too."""
        return replace(self, on_start=_both(self.on_start, other.on_start), on_step=_both(self.on_step, other.on_step))


class Counter:
    """Tells of the steps of distillations together with how many there are.

    Args:
        tell: called with the iteration, the number of iterations and the mean loss terms.

    >>> counter = Counter(lambda *told: print(told))
    >>> counter.on_start(2, 300)
    >>> counter.on_step(6, {"match": 0.5})
    (6, 300, {'match': 0.5})
    """

    def __init__(self, tell: Callable[[int, int, dict[str, float]], None]) -> None:
        self._tell, self._iterations = tell, 0

    def on_start(self, classes: int, iterations: int) -> None:
        del classes
        self._iterations = iterations

    def on_step(self, iteration: int, losses: dict[str, float]) -> None:
        self._tell(iteration, self._iterations, losses)


def _both(first: Callable[..., None] | None, second: Callable[..., None] | None) -> Callable[..., None] | None:
    listeners = [listener for listener in (first, second) if listener is not None]
    if len(listeners) < 2:
        return listeners[0] if listeners else None

    def tell(*values: Any) -> None:
        for listener in listeners:
            listener(*values)

    return tell
