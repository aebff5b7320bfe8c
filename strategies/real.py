"""Memories of real images: the baselines, at the bytes of the distilled one."""

from typing import Any, Literal

import torch

from iid_cl.data.images import Normalization
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet, images_in
from iid_cl.memory.real import ordering, store_jpeg, store_whole
from iid_cl.memory.selection import RULES, FeaturesFactory
from iid_cl.memory.selection import Rule as OwnRule

from .buffers import ClassBuffer, ImagesByClass, MemoryBuffer
from .features import features_of_strategy

Rule = Literal["random", "herding", "k_centre", "closest"]


class RealBuffer(ClassBuffer):
    """A memory of real images, chosen class by class.

    Args:
        ipc: images per class, or one of ``mem_size``, ``mem_bytes``, ``class_bytes``, see :class:`MemoryBuffer`. It is
            the bytes of so many full-size images: stored smaller, there are more of them.
        rule: the choice by name, or a function of your own, see :mod:`iid_cl.memory.selection`.
        features: makes the feature extractor from (images_by_class, strategy, generator). None takes the
            strategy's model as it is at the end of the experience, see :func:`features_of_strategy`.
        downscale: stores images at 1 / downscale of their side.
        jpeg: stores images as JPEG of this quality, 1 to 95.

    The remaining arguments are those of :class:`MemoryBuffer`.

    Raises:
        UserError: an unknown rule, both ``downscale`` and ``jpeg``, or one out of range.
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        mem_size: int | None = None,
        mem_bytes: int | None = None,
        class_bytes: int | None = None,
        rule: Rule | OwnRule = "random",
        features: FeaturesFactory | None = None,
        downscale: int = 1,
        jpeg: int | None = None,
        seed: int = 0,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__(
            ipc,
            mem_size=mem_size,
            mem_bytes=mem_bytes,
            class_bytes=class_bytes,
            seed=seed,
            normalization=normalization,
        )
        if isinstance(rule, str) and rule not in RULES:
            raise UserError(f"rule: {rule!r} is unknown; use one of {', '.join(RULES)}.")
        if downscale < 1:
            raise UserError(f"memory.downscale: {downscale} is no part of a side; use 1 or more.")
        if jpeg is not None and (not 1 <= jpeg <= 95 or downscale > 1):
            raise UserError(f"memory.jpeg: {jpeg} must be a quality from 1 to 95, without downscale.")
        self.rule = rule
        self._rule_name = rule if isinstance(rule, str) else getattr(rule, "__name__", type(rule).__name__)
        self.downscale = downscale
        self.jpeg = jpeg
        self._features = features if features is not None else features_of_strategy

    def condense(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        strategy: Any,
        generator: torch.Generator,
    ) -> Exemplars:
        """Picks images of each class by the rule."""
        assert self.normalization is not None  # measured by post_adapt at the latest
        order = ordering(
            images_by_class,
            self.rule,
            None if self.rule == "random" else self._features(images_by_class, strategy, generator),
            normalization=self.normalization,
            device=strategy.device,
            generator=generator,
            weights=weights,
        )
        old = self.exemplars if weights else None
        if self.jpeg is None:
            return store_whole(images_by_class, order, room, self.downscale, old)
        return store_jpeg(images_by_class, order, room, self.jpeg, self.paying(images_by_class), old)

    def describe(self) -> dict[str, Any]:
        stored = {"downscale": self.downscale} if self.jpeg is None else {"jpeg": self.jpeg}
        return {**super().describe(), "method": self._rule_name, **stored}


class RandomBuffer(RealBuffer):
    """A memory of real images, drawn uniformly within each class: ``RealBuffer(rule="random")``."""

    def __init__(self, ipc: int | None = None, **arguments: Any) -> None:
        super().__init__(ipc, rule="random", **arguments)


class HerdingBuffer(RealBuffer):
    """A memory of real images chosen by herding (iCaRL): ``RealBuffer(rule="herding")``."""

    def __init__(self, ipc: int | None = None, **arguments: Any) -> None:
        super().__init__(ipc, rule="herding", **arguments)


class ReservoirBuffer(MemoryBuffer):
    """A memory of real images drawn uniformly from all that has come, whatever their classes.

    Each image of the stream is equally likely to be in a fixed total (reservoir sampling, Vitter 1985), which is used
    up whole. One that grows draws as many older images as a uniform draw from the whole stream would, or all that it
    has kept where that would be more; the experience's own images fill it up.
    """

    def renew(self, arrived: ImagesByClass, room: int, strategy: Any, generator: torch.Generator) -> Exemplars:
        """Draws how many images of the experience belong into the memory, and which."""
        images = torch.cat(list(arrived.values()))
        labels = torch.tensor([c for c, members in arrived.items() for _ in range(len(members))], dtype=torch.int16)
        old = self.exemplars
        size = self._size(images[0].numel(), room, len(set(arrived) | set(self._stands_for)))
        seen = sum(self._stands_for.values())
        drawn = torch.randperm(seen + len(images), generator=generator)[:size]
        kept = min(0 if old is None else len(old), int((drawn < seen).sum()))
        new = torch.randperm(len(images), generator=generator)[: max(0, size - kept)]
        images, labels = images[new], labels[new]
        if old is not None:
            assert isinstance(old, ExemplarSet)  # as it was made here
            rows = torch.randperm(len(old), generator=generator)[:kept]
            images, labels = torch.cat([old.images[rows], images]), torch.cat([old.labels[rows], labels])
        return ExemplarSet.from_classes({int(c): images[labels == c] for c in labels.unique()})

    def _size(self, image_bytes: int, room: int, classes: int) -> int:
        """Images in the whole memory."""
        if self.budget.key == "mem_size":
            return self.budget.amount
        return images_in(self.budget.amount if self.budget.fixed else room * classes, image_bytes)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "method": "reservoir"}
