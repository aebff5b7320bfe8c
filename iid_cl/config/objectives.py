"""The objectives of distillation: their names, what they match and what they imply.

A new objective is an entry here and one in :data:`iid_cl.distill.matching.OBJECTIVES`. Imports no torch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class ObjectiveInfo:
    """An objective.

    Attributes:
        name: name in the configuration.
        says: what it matches, in words.
        partition: default of `distill.partition`.
        embedders: ``fresh``: a randomly initialised network in each iteration; ``queue``: one from a queue of networks
            that are trained during the distillation.
        joint: whether the loss compares all classes of an experience at once. It then cannot be computed for some of
            them.
    """

    name: str
    says: str
    partition: int
    embedders: Literal["fresh", "queue"]
    joint: bool = False


OBJECTIVE_INFO: dict[str, ObjectiveInfo] = {
    info.name: info
    for info in (
        ObjectiveInfo("dm", "means of features", 1, "fresh"),
        ObjectiveInfo("idm", "the same on partitioned images, with trained embedders and cross-entropy", 2, "queue"),
        ObjectiveInfo("ncfm", "characteristic functions of features, otherwise as idm", 2, "queue"),
        ObjectiveInfo("lgm", "gradients of a linear classifier, for pretrained embedders", 1, "fresh", joint=True),
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
    return ", ".join(f"{partition} with {' and '.join(objectives)}" for partition, objectives in names.items())
