"""The distilled memory."""

from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch

from iid_cl.config.distill import DistillConfig
from iid_cl.data.classes import Classes
from iid_cl.data.images import Normalization
from iid_cl.data.lens import Lens
from iid_cl.distill.job import DistillJob
from iid_cl.distill.matching import MatchingLoss
from iid_cl.distill.nested import nested
from iid_cl.distill.trained import Memory, label_softly
from iid_cl.distill.uneven import distill_each
from iid_cl.distill.watch import OnSnapshot, OnStep, Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet, distilled_images, no_room
from iid_cl.memory.jpeg import JpegSet
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.memory.real import store_jpeg
from iid_cl.methods.mixing import Distil, Ordering, hybrid_jpeg
from iid_cl.nets import Network
from iid_cl.seeding import derive_seed, draw_seed, make_generator

from .buffers import ClassBuffer, ImagesByClass

AUGMENTATIONS = ("color", "crop", "cutout", "scale", "rotate")


class DistilledBuffer(ClassBuffer):
    """A memory of synthetic images, distilled from each experience when it ends.

    Args:
        ipc: images per class, or one of ``mem_size``, ``mem_bytes``, ``class_bytes``, see :class:`MemoryBuffer`.
        distill: settings of the distillation; the default suits 32x32 images.
        device: where to distil; None takes the strategy's device.
        augmentations: siamese augmentations to draw from where ``distill`` names none.
        soft_labels: store class probabilities with each image, see :func:`iid_cl.distill.distill`; budgets in images
            leave them out of account, but for images as JPEG, which fill bytes.
        shrink: what becomes of older classes when a fixed total has to hold more of them: ``cut`` keeps the first of
            their images, ``nested`` the first in herding's order, ``redistil`` condenses fewer out of all of them.
            Images with soft labels, which only real ones teach, and memories that hold real images are cut.
        jpeg: stores images as JPEG of this quality, 1 to 95, which leaves room for several times as many.
        embedder: a network of your own in place of the configured one, see :func:`iid_cl.distill.distill`.
        objective: a matching loss of your own in place of the configured one, likewise.
        on_step: called now and then with the iteration and the losses.

    The remaining arguments are those of :class:`MemoryBuffer`.

    Attributes:
        on_losses: as ``on_step``, for classes that arrive only.
        on_snapshot: called with the iteration and the images so far at each iteration of ``snapshots``,
            for classes that arrive; classes of which there are fewer images than asked come in calls of their own.
        snapshots: see :func:`iid_cl.distill.distill`.
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
        shrink: Literal["cut", "nested", "redistil"] = "redistil",
        jpeg: int | None = None,
        embedder: Network | None = None,
        objective: MatchingLoss | None = None,
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
        if jpeg is not None and not 1 <= jpeg <= 95:
            raise UserError(f"memory.jpeg: {jpeg} must be a quality from 1 to 95.")
        if jpeg is not None and self.config.factor > 1:
            raise UserError(f"memory.jpeg: {jpeg} stores images at full size; use distill.partition 1, or no jpeg.")
        self.device = device
        self.augmentations = tuple(augmentations)
        self.soft_labels = soft_labels
        self.jpeg = jpeg
        self.embedder = embedder
        self.objective = objective
        self.on_step = on_step
        self.on_losses: OnStep | None = None
        self.on_snapshot: OnSnapshot | None = None
        self.snapshots: Collection[int] = ()
        self._shrink = shrink

    def renew(self, arrived: ImagesByClass, room: int, strategy: Any, generator: torch.Generator) -> Exemplars:
        """Distils the classes that arrived and joins them with the others."""
        memory = super().renew(arrived, room, strategy, generator)
        if not self.soft_labels or not (self.budget.in_bytes or isinstance(memory, JpegSet)):
            return memory
        fitting = memory.take(memory.fitting(room))  # joined, all soft labels are as wide as the widest
        if fitting.classes != memory.classes:
            raise no_room(self.budget, room)
        return fitting

    def condense(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        strategy: Any,
        generator: torch.Generator,
    ) -> Exemplars:
        """Distils the classes; the strategy's network has no part in it."""
        if self.jpeg is not None:
            seed = draw_seed(generator)
            return self._as_jpeg(images_by_class, weights, room, 1.0, self.jpeg, self.config, strategy, seed)
        count = self._count(images_by_class, room)
        return self._distilled(images_by_class, weights, count, strategy, generator, soft_labels=self.soft_labels)

    def shrink(self, memory: Exemplars, room: int, strategy: Any, generator: torch.Generator) -> Exemplars:
        """Fewer images of older classes."""
        fewer = super().shrink(memory, room, strategy, generator)
        if self._shrink != "redistil" or self.soft_labels or len(fewer) == len(memory):
            return fewer
        count = int(fewer.labels.bincount().max())
        images = memory.decoded().by_class()
        again = self._distilled(images, {}, count, strategy, generator, self.config, self.jpeg, arriving=False)
        if self.jpeg is None:
            return again
        return store_jpeg(again.by_class(), lambda _, most: torch.arange(most), room, self.jpeg, len(images))

    def _as_jpeg(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        share: float,
        quality: int,
        config: DistillConfig,
        strategy: Any,
        seed: int,
        ordering: Ordering | None = None,
    ) -> JpegSet:
        """A share of images distilled as ``config`` says, and those of ``ordering``, as JPEG."""
        memory = hybrid_jpeg(
            images_by_class,
            weights,
            room,
            share,
            quality,
            distil=self._distil(config, strategy, seed, quality),
            ordering=ordering,
            paying=self.paying(images_by_class),
            old=self.exemplars if weights else None,
            soft_width=self._soft_width(images_by_class),
        )
        return self._labelled(memory, images_by_class, weights, strategy, seed)

    def _labelled(
        self, memory: Memory, images_by_class: ImagesByClass, weights: ImagesByClass, strategy: Any, seed: int
    ) -> Memory:
        """The memory with soft labels, if it is to have them, by networks trained on the images it was made from."""
        if not self.soft_labels:
            return memory
        assert self.normalization is not None  # measured by post_adapt at the latest
        lens = Lens(self.normalization, self.augmentations, self._place(strategy)).augmented_by(self.config.augment)
        classes = Classes(images_by_class, weights)
        return label_softly(memory, classes, self.config.cc, lens, derive_seed(seed, "soft labels"))

    def _place(self, strategy: Any) -> torch.device:
        return torch.device(self.device if self.device is not None else strategy.device)

    def _distil(self, config: DistillConfig, strategy: Any, seed: int, jpeg: int | None) -> Distil:
        return lambda images, weights, count, start: self._distilled(
            images, weights, count, strategy, make_generator(seed, "distilling"), config, jpeg, start=start
        )

    def _count(self, images_by_class: ImagesByClass, room: int) -> int:
        """Images to store whole of each class."""
        image_bytes = next(iter(images_by_class.values()))[0].numel()
        width = self._soft_width(images_by_class)
        return distilled_images(self.budget, room, image_bytes, width, self.config.factor)

    def _soft_width(self, images_by_class: ImagesByClass) -> int:
        """Class probabilities of an image, if any: of the classes it came with, and all are as wide as the widest."""
        if not self.soft_labels:
            return 0
        old = None if self.exemplars is None else self.exemplars.soft_labels
        return max(len(images_by_class), 0 if old is None else old.width)

    def _distilled(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        count: int,
        strategy: Any,
        generator: torch.Generator,
        config: DistillConfig | None = None,
        jpeg: int | None = None,
        *,
        start: ImagesByClass | None = None,
        soft_labels: bool = False,
        arriving: bool = True,
    ) -> ExemplarSet:
        """``count`` images of each class, or as many as it has; made for JPEG of a quality, or to be stored as is."""
        assert self.normalization is not None  # measured by post_adapt at the latest
        config = config if config is not None else self.config
        device = self._place(strategy)

        def on_step(iteration: int, losses: dict[str, float]) -> None:
            for told in (self.on_step, self.on_losses if arriving else None):
                if told is not None:
                    told(iteration, losses)

        job = DistillJob(
            Classes(images_by_class, weights, start),
            count,
            config,
            Lens(self.normalization, self.augmentations, device),
            draw_seed(generator),
            None if jpeg is None else JpegFormat(jpeg),
            self.embedder,
            self.objective,
            soft_labels=soft_labels,
        )
        if arriving:
            memory = distill_each(job, Watch(on_step, self.on_snapshot, self.snapshots, self.journal))
        else:
            memory = distill_each(job, Watch(on_step, journal=self.journal))
        if self._shrink != "nested" or not self.budget.fixed:
            return memory
        return nested(memory, config.embedder, normalization=self.normalization, device=device, generator=generator)

    def describe(self) -> dict[str, Any]:
        stored = {} if self.jpeg is None else {"jpeg": self.jpeg}
        distill = self.config.model_dump(mode="json")
        return {**super().describe(), "method": "distilled", "distill": distill, **stored}
