"""The bytes that an update of a memory may use."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from iid_cl.budget import Budget
from iid_cl.memory.exemplars import Exemplars


@dataclass(frozen=True)
class Space:
    """Where condensed images go, and what is there already.

    Attributes:
        budget: of the whole memory.
        room: bytes for each class.
        paying: number of classes that share the cost of a JPEG header: all of them under a fixed total; the arriving
            ones in a growing memory; 0 once it has been paid.
        old: the memory before the update; None before the first one.
        stands_for: how many images of the stream each class in ``old`` stands for.
    """

    budget: Budget
    room: int
    paying: int
    old: Exemplars | None = None
    stands_for: Mapping[int, int] = field(default_factory=dict)
