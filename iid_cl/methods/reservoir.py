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
    """Real images drawn uniformly from all that has come, whatever their classes.

    Each image of the stream is equally likely to be in a fixed total (reservoir sampling, Vitter 1985), which is used
    up whole. A memory that grows draws as many older images as a uniform draw from the whole stream would, or all that
    it has kept where that would be more; the experience's own images fill it up.
    """

    by_class = False

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> ExemplarSet:
        """The whole memory: how many images of the experience belong into it, and which, is drawn."""
        images = torch.cat(list(arrived.images.values()))
        counts = [len(members) for members in arrived.images.values()]
        labels = torch.tensor(list(arrived.images), dtype=torch.int16).repeat_interleave(torch.tensor(counts))
        old = space.old
        seen = sum(space.stands_for.values())
        size = _size(space, images[0].numel(), len(set(arrived.images) | set(space.stands_for)))
        drawn = torch.randperm(seen + len(images), generator=scene.generator)[:size]
        kept = min(0 if old is None else len(old), int((drawn < seen).sum()))
        new = torch.randperm(len(images), generator=scene.generator)[: max(0, size - kept)]
        images, labels = images[new], labels[new]
        if old is not None:
            assert isinstance(old, ExemplarSet)  # as it was made here
            rows = torch.randperm(len(old), generator=scene.generator)[:kept]
            images, labels = torch.cat([old.images[rows], images]), torch.cat([old.labels[rows], labels])
        return ExemplarSet.from_classes({int(c): images[labels == c] for c in labels.unique()})

    def work(self, arrival: Arrival, space: Space) -> Work:
        """Nothing is distilled."""
        image_bytes = next(iter(arrival.sample.images.values()))[0].numel()
        return Work(images_in(space.room, image_bytes))

    def describe(self) -> dict[str, Any]:
        """Its name."""
        return {"method": "reservoir"}


def _size(space: Space, image_bytes: int, classes: int) -> int:
    """Images in the whole memory."""
    budget = space.budget
    if budget.key == "mem_size":
        return budget.amount
    return images_in(budget.amount if budget.fixed else space.room * classes, image_bytes)
