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
        paying: number of classes that share the cost of a JPEG header: all classes under a fixed total; the arriving
            classes in a growing memory; 0 once the header is paid.
        old: the memory before the update; None in the first one.
        stands_for: number of images of the stream that each class in ``old`` stands for.
    """

    budget: Budget
    room: int
    paying: int
    old: Exemplars | None = None
    stands_for: Mapping[int, int] = field(default_factory=dict)
