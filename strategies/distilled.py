"""The distilled memory, and mixtures of distilled and real images."""

from collections.abc import Sequence
from typing import Any, Literal

import torch

from iid_cl.config import DistillConfig
from iid_cl.data.images import Normalization
from iid_cl.distill import distill
from iid_cl.distill.engine import OnStep
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet, images_in
from iid_cl.memory.hybrid import choose, hold_out, hybrid_memory
from iid_cl.memory.real import Order, ordering
from iid_cl.memory.selection import FeaturesFactory
from iid_cl.seeding import draw_seed, make_generator

from .buffers import ClassBuffer, ImagesByClass
from .features import features_of_strategy

AUGMENTATIONS = ("color", "crop", "cutout", "scale", "rotate")


class DistilledBuffer(ClassBuffer):
    """A memory of synthetic images, distilled from each experience when it ends.

    Args:
        ipc: images per class, or one of ``mem_size``, ``mem_bytes``, ``class_bytes``, see :class:`MemoryBuffer`.
        distill: settings of the distillation; the default suits 32x32 images.
        device: where to distil; None takes the strategy's device.
        augmentations: siamese augmentations to draw from where ``distill`` names none.
        soft_labels: store class probabilities with each image, see :func:`iid_cl.distill.distill`; budgets in images
            leave them out of account.
        shrink: what becomes of older classes when a fixed total has to hold more of them: ``cut`` keeps the first of
            their images, ``redistil`` condenses fewer out of all of them.
        on_step: called now and then with the iteration and the losses.

    The remaining arguments are those of :class:`MemoryBuffer`.
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        mem_size: int | None = None,
        mem_bytes: int | None = None,
        class_bytes: int | None = None,
        distill: DistillConfig | None = None,
        device: torch.device | str | None = None,
        augmentations: Sequence[str] = AUGMENTATIONS,
        soft_labels: bool = False,
        shrink: Literal["cut", "redistil"] = "cut",
        on_step: OnStep | None = None,
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
        self.config = distill if distill is not None else DistillConfig()
        self.device = device
        self.augmentations = tuple(augmentations)
        self.soft_labels = soft_labels
        self.on_step = on_step
        self._shrink = shrink

    def condense(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        strategy: Any,
        generator: torch.Generator,
    ) -> Exemplars:
        """Distils the classes; the strategy's network has no part in it."""
        return self._distilled(images_by_class, weights, self._count(images_by_class, room), strategy, generator)

    def shrink(self, memory: Exemplars, room: int, strategy: Any, generator: torch.Generator) -> Exemplars:
        """Fewer images of older classes."""
        rows = memory.fitting(room, self.budget.in_bytes)
        if self._shrink == "cut" or len(rows) == len(memory):
            return memory.take(rows)
        kept = memory.labels[rows].bincount()
        parts = memory.decoded().by_class()
        count = int(kept.max())
        return self._distilled(parts, {}, count, strategy, generator)

    def _count(self, images_by_class: ImagesByClass, room: int) -> int:
        """Images to store of each class."""
        width = len(images_by_class) if self.soft_labels and self.budget.in_bytes else 0
        count = images_in(room, next(iter(images_by_class.values()))[0].numel(), width, self.config.factor)
        if not count:
            raise UserError(
                f"memory.{self.budget.key}: {self.budget.amount} leaves {room} bytes to a class, too little for an "
                "image with its soft labels; use more, or no soft labels."
            )
        return count

    def _distilled(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        count: int,
        strategy: Any,
        generator: torch.Generator,
    ) -> ExemplarSet:
        """``count`` images of each class, or as many as it has."""
        assert self.normalization is not None  # measured by post_adapt at the latest
        counts = {label: min(count, len(images)) for label, images in images_by_class.items()}
        memories = []
        for same in sorted(set(counts.values()), reverse=True):
            classes = [label for label in counts if counts[label] == same]
            memories.append(
                distill(
                    {label: images_by_class[label] for label in classes},
                    self.config,
                    ipc=same,
                    generator=generator,
                    device=self.device if self.device is not None else strategy.device,
                    normalization=self.normalization,
                    augmentations=self.augmentations,
                    weights={label: weights[label] for label in classes if label in weights},
                    soft_labels=self.soft_labels,
                    on_step=self.on_step,
                )
            )
        memory = memories[0]
        for other in memories[1:]:
            memory = memory.merge(other)
        return memory

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "method": "distilled", "distill": self.config.model_dump(mode="json")}


class HybridBuffer(DistilledBuffer):
    """A memory of distilled and herded real images, stored in the same way.

    Args:
        ipc: images per class, or one of ``mem_size``, ``mem_bytes``, ``class_bytes``, see :class:`MemoryBuffer`.
        share: of distilled images, in [0, 1]. ``auto`` tries all, half and none of them in each experience, and keeps
            the memory on which small networks learn best what was held out of the experience (a tenth of its
            images); the network is that of ``distill.embedder``.
        features: of herding, see :class:`RealBuffer`.

    The remaining arguments are those of :class:`DistilledBuffer`.

    Attributes:
        shares: the share in force after each experience.
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        share: float | Literal["auto"] = "auto",
        features: FeaturesFactory | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(ipc, **arguments)
        if self.soft_labels:
            raise UserError("memory.soft_labels: true means nothing to real images; use a distilled memory, or false.")
        if share != "auto" and not 0 <= share <= 1:
            raise UserError(f"memory.share: {share} is no share; use a number from 0 to 1, or auto.")
        self.share = share
        self.shares: list[float] = []
        self._features = features if features is not None else features_of_strategy

    def condense(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        strategy: Any,
        generator: torch.Generator,
    ) -> Exemplars:
        """Mixes the classes' images; with ``auto``, in the share that wins on held-out ones."""
        assert self.normalization is not None  # measured by post_adapt at the latest
        count = self._count(images_by_class, room)
        device = self.device if self.device is not None else strategy.device
        normalization = self.normalization
        seed = draw_seed(generator)

        def order(images: ImagesByClass, each: ImagesByClass) -> Order:
            draws = make_generator(seed, "herding")
            extract = self._features(images, strategy, draws)
            return ordering(
                images, "herding", extract, normalization=normalization, device=device, generator=draws, weights=each
            )

        def made(images: ImagesByClass, each: ImagesByClass, share: float) -> ExemplarSet:
            return hybrid_memory(
                images,
                each,
                count,
                share,
                distil=lambda some, stand_for, n: self._distilled(
                    some, stand_for, n, strategy, make_generator(seed, "distilling")
                ),
                ordering=order,
                partition=self.config.factor,
                old=self.exemplars if weights else None,
            )

        if self.share != "auto":
            self.shares.append(self.share)
            return made(images_by_class, weights, self.share)
        rest, rest_weights, held_out = hold_out(images_by_class, weights, make_generator(seed, "held out"))
        shares = [1.0, 0.5, 0.0] if count > 1 else [1.0, 0.0]
        older = self._others(images_by_class)
        if not len(held_out) or (older is None and len(images_by_class) == 1):  # nothing to tell them apart by
            self.shares.append(1.0)
            return made(images_by_class, weights, 1.0)
        candidates = [made(rest, rest_weights, share) for share in shares]
        best = choose(
            candidates,
            held_out,
            older,
            self.config.embedder,
            normalization=normalization,
            augmentations=self.augmentations,
            device=device,
            generator=make_generator(seed, "choice"),
        )
        self.shares.append(shares[best])
        return candidates[best]

    def _others(self, images_by_class: ImagesByClass) -> Exemplars | None:
        """The memory of other classes than these."""
        if self.exemplars is None:
            return None
        rows = (~torch.isin(self.exemplars.labels, torch.tensor(list(images_by_class)))).nonzero().squeeze(1)
        return self.exemplars.take(rows) if len(rows) else None

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "method": "hybrid", "share": self.share, "shares": self.shares}
