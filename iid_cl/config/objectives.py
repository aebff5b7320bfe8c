"""The objectives of distillation: what each one is called, matches and implies.

A new objective is an entry here and one in :data:`iid_cl.distill.matching.OBJECTIVES`. Imports no torch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class ObjectiveInfo:
    """What choosing an objective implies.

    Attributes:
        name: in the configuration.
        says: what it matches, for people.
        partition: of stored images where the configuration names none.
        embedders: ``fresh``: a randomly initialised network in each iteration; ``queue``: one of a queue of networks
            that are trained on the fly.
    """

    name: str
    says: str
    partition: int
    embedders: Literal["fresh", "queue"]


OBJECTIVE_INFO: dict[str, ObjectiveInfo] = {
    info.name: info
    for info in (
        ObjectiveInfo("dm", "means of features", 1, "fresh"),
        ObjectiveInfo("idm", "the same on partitioned images, with trained embedders and cross-entropy", 2, "queue"),
        ObjectiveInfo("ncfm", "characteristic functions of features, otherwise as idm", 2, "queue"),
    )
}

if TYPE_CHECKING:
    ObjectiveName = str
else:
    ObjectiveName = Literal[tuple(OBJECTIVE_INFO)]  # what a configuration accepts, and the schema lists

SAYS = ", ".join(f"{info.name} ({info.says})" for info in OBJECTIVE_INFO.values())


def partitions_in_words() -> str:
    """The default partition of each objective, e.g. ``1 with dm, 2 with idm and ncfm``."""
    names: dict[int, list[str]] = {}
    for info in OBJECTIVE_INFO.values():
        names.setdefault(info.partition, []).append(info.name)
    return ", ".join(f"{partition} with {' and '.join(those)}" for partition, those in names.items())
