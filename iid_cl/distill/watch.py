"""Observers of a distillation: progress, snapshots and saved states."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from iid_cl.distill.journal import Journal
from iid_cl.memory.exemplars import ExemplarSet

OnStep = Callable[[int, dict[str, float]], None]
OnSnapshot = Callable[[int, ExemplarSet], None]


@dataclass(frozen=True)
class Watch:
    """Observers of a distillation.

    Attributes:
        on_step: called now and then with the iteration (from 1) and the mean loss terms per class.
        on_snapshot: called with the iteration and the current images at each iteration of ``snapshots``.
        snapshots: iterations at which ``on_snapshot`` is called; 0 means the initial images.
        journal: saves the state of the distillation when due, and returns the state of an interrupted one.
    """

    on_step: OnStep | None = None
    on_snapshot: OnSnapshot | None = None
    snapshots: Collection[int] = ()
    journal: Journal | None = None
