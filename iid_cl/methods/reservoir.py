"""Real images of all classes alike."""

from dataclasses import dataclass
from typing import Any

import torch

from iid_cl.data.classes import Classes
from iid_cl.memory.exemplars import ExemplarSet, images_in
from iid_cl.memory.space import Space
from iid_cl.methods.base import Arrival, Method, Scene, Work


@dataclass
class Reservoir(Method):
    """Real images drawn uniformly from the whole stream, whatever their classes.

    Under a fixed total each image of the stream is equally likely to be stored (reservoir sampling, Vitter 1985), and
    the total is used up. A memory that grows draws as many older images as a uniform draw from the whole stream would,
    or all that are left where that would be more; the experience's own images fill it up.
    """

    by_class = False

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> ExemplarSet:
        """Draws how many images of the experience the memory takes, and which."""
        images = torch.cat(list(arrived.images.values()))
        counts = [len(members) for members in arrived.images.values()]
        labels = torch.tensor(list(arrived.images), dtype=torch.int16).repeat_interleave(torch.tensor(counts))
        old = space.old
        stream = sum(space.stands_for.values())
        size = _size(space, images[0].numel(), len(set(arrived.images) | set(space.stands_for)))
        draw = torch.randperm(stream + len(images), generator=scene.generator)[:size]
        from_old = min(0 if old is None else len(old), int((draw < stream).sum()))
        new = torch.randperm(len(images), generator=scene.generator)[: max(0, size - from_old)]
        images, labels = images[new], labels[new]
        if old is not None:
            assert isinstance(old, ExemplarSet)  # made here
            rows = torch.randperm(len(old), generator=scene.generator)[:from_old]
            images, labels = torch.cat([old.images[rows], images]), torch.cat([old.labels[rows], labels])
        return ExemplarSet.from_classes({int(c): images[labels == c] for c in labels.unique()})

    def work(self, arrival: Arrival, space: Space) -> Work:
        return Work(images_in(space.room, next(iter(arrival.sample.images.values()))[0].numel()))

    def holds_real_images(self) -> bool:
        return True

    def describe(self) -> dict[str, Any]:
        return {"method": "reservoir"}


def _size(space: Space, image_bytes: int, classes: int) -> int:
    """Number of images in the whole memory."""
    budget = space.budget
    if budget.key == "mem_size":
        return budget.amount
    return images_in(budget.amount if budget.fixed else space.room * classes, image_bytes)
