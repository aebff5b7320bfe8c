"""What is told of a distillation while it goes on, and kept of it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from iid_cl.distill.journal import Journal
from iid_cl.memory.exemplars import ExemplarSet

OnStep = Callable[[int, dict[str, float]], None]
OnSnapshot = Callable[[int, ExemplarSet], None]


@dataclass(frozen=True)
class Watch:
    """Who looks on.

    Attributes:
        on_step: called now and then with the iteration (from 1) and the mean loss terms per class.
        on_snapshot: called with the iteration and the images so far at each iteration of ``snapshots``; 0 stands for
            the images at the start.
        snapshots: those iterations.
        journal: takes the state of the distillation where it wants it, and gives back that of an interrupted one.
    """

    on_step: OnStep | None = None
    on_snapshot: OnSnapshot | None = None
    snapshots: Collection[int] = ()
    journal: Journal | None = None
