"""Observers of a distillation: progress, snapshots and saved states."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from iid_cl.distill.journal import Journal
from iid_cl.memory.exemplars import ExemplarSet

OnStep = Callable[[int, dict[str, float]], None]
OnStart = Callable[[int, int], None]
OnSnapshot = Callable[[int, ExemplarSet], None]


@dataclass(frozen=True)
class Watch:
    """Observers of a distillation.

    Attributes:
        on_step: called now and then with the iteration (from 1) and the mean loss terms per class.
        on_snapshot: called with the iteration and the current images at each iteration of ``snapshots``.
        snapshots: iterations at which ``on_snapshot`` is called; 0 means the initial images.
        journal: saves the state of the distillation when due, and returns the state of an interrupted one.
        on_start: called at the beginning with the numbers of classes and of iterations.
    """

    on_step: OnStep | None = None
    on_snapshot: OnSnapshot | None = None
    snapshots: Collection[int] = ()
    journal: Journal | None = None
    on_start: OnStart | None = None

    def beside(self, other: "Watch") -> "Watch":
        """This observer, with ``other`` told of starts and steps, too."""
        return replace(self, on_start=_both(self.on_start, other.on_start), on_step=_both(self.on_step, other.on_step))


def _both(first: Callable[..., None] | None, second: Callable[..., None] | None) -> Callable[..., None] | None:
    listeners = [listener for listener in (first, second) if listener is not None]
    if len(listeners) < 2:
        return listeners[0] if listeners else None

    def tell(*values: Any) -> None:
        for listener in listeners:
            listener(*values)

    return tell
