"""The memory that chooses how to spend its bytes."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from iid_cl.config.distill import DistillConfig
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.jpeg import JpegError, fitting_as_jpeg
from iid_cl.methods.mixing import (
    DENSE,
    JPEG_QUALITY,
    condensable,
    held_out_losses,
    hold_out,
    mean_loss,
    significantly_best,
    suited_partitions,
    trial_network,
)
from iid_cl.seeding import draw_seed, make_generator

from .buffers import ImagesByClass
from .hybrid import HybridBuffer


@dataclass(frozen=True)
class Way:
    """How to spend the bytes of a class: a share of distilled images, and at a part of their size or as JPEG."""

    share: float
    partition: int = 1
    jpeg: bool = False

    @property
    def label(self) -> str:
        """For people, e.g. ``distilled at 1/2 size``."""
        name = {0.0: "real", 1.0: "distilled"}.get(self.share, f"{self.share:g} distilled")
        stored = " as JPEG" if self.jpeg else "" if self.partition == 1 else f" at 1/{self.partition} size"
        return name + stored


class AutoBuffer(HybridBuffer):
    """The way to spend the bytes that serves an early experience best: distilled, half or not, in one form or another.

    A tenth of the first experience's images is held out and memories are made of the others in each way. Small networks
    (``distill.embedder``, at most 32 channels wide) are trained on each; where the memory will be replayed beside real
    images of other classes, half of the classes come from the memory and the others are real, and then the other way
    round. Later experiences are kept in the same way.

    Where JPEG holds at least four times as many images as fit whole, these ways are tried: distilled and half distilled
    images as JPEG (unless it holds more than half of a class), real ones as JPEG, and distilled ones at the configured
    partition. Otherwise: distilled images at that partition; half distilled ones in the same form; real ones whole and
    as JPEG. Where the configuration names no partition, with DM and sides that are even and at least 24, it is 2, four
    images in the bytes of one, or 1 where that is tried as well and proves better.

    The first of these ways is in possession, and stays unless another one's cross-entropy on the held-out images is
    lower by more than two standard errors.

    An experience with fewer than two new classes, or with fewer than ten images in each, tells nothing apart. Where
    that is the first one its memory is distilled, and the first experience that does decides among the ways that store
    images as those are: distilled, half distilled and real ones.

    Args:
        ipc: images per class, or one of ``mem_size``, ``mem_bytes``, ``class_bytes``, see :class:`MemoryBuffer`.
        replayed: whether the memory will be replayed beside other classes' real images; False where networks are
            trained on the memory alone.

    The remaining arguments are those of :class:`HybridBuffer`, without ``share``.

    Attributes:
        choice: the way in force; None before the first experience.
        tried: cross-entropy of each way that was tried, by its label; None where the networks diverged. Empty until an
            experience has decided.
    """

    def __init__(self, ipc: int | None = None, *, replayed: bool = True, **arguments: Any) -> None:
        super().__init__(ipc, share=0.5, jpeg=None, **arguments)  # until one is chosen
        if self.soft_labels:
            raise UserError(
                "memory.soft_labels: true means nothing to auto; use a distilled or hybrid memory, or false."
            )
        self.replayed = replayed
        self.choice: Way | None = None
        self.tried: dict[str, float | None] = {}

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Renews the memory; a choice stands only with the memory it was made for.

        Raises:
            UserError: see :meth:`MemoryBuffer.post_adapt`.
        """
        before = self.config, self.share, self.jpeg, self.choice, self.tried
        try:
            super().post_adapt(agent_state, exp)
        except BaseException:
            self.config, self.share, self.jpeg, self.choice, self.tried = before
            raise

    def condense(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        strategy: Any,
        generator: torch.Generator,
    ) -> Exemplars:
        """Stores the classes in the way chosen, and chooses it first where that has not been done and can be.

        Raises:
            UserError: JPEG was chosen, and not one image of a class fits.
        """
        seed = draw_seed(generator)
        new = {label: images for label, images in images_by_class.items() if label not in weights}
        judging = not self.tried and len(new) > 1
        rest, held_out = hold_out(new, make_generator(seed, "held out")) if judging else ({}, ())
        height, width = next(iter(images_by_class.values())).shape[2:]
        partitions = suited_partitions(self.config, height, width)
        if len(held_out) < 2:
            return self._as_before(partitions[0], images_by_class, weights, room, strategy, seed)
        made: dict[Way, Exemplars] = {}
        losses: dict[Way, torch.Tensor] = {}

        def attempt(*ways: Way) -> None:
            for way in ways:
                with suppress(JpegError):  # images too small to pay for JPEG's tables
                    made[way] = self._kept(way, rest, {}, room, strategy, seed)
            new = {way: made[way] for way in ways if way in made}
            losses.update(self._losses(new, rest, held_out, strategy, seed))

        count = self._count(rest, room)
        # beside older classes, whose images are stored already, only what is stored like them
        first = self.exemplars is None
        as_jpeg = self._fitting_as_jpeg(rest, room) if first else 0
        if as_jpeg >= DENSE * count:
            distilled = [Way(1.0, jpeg=True), Way(0.5, jpeg=True)] if condensable(as_jpeg, rest) else []
            attempt(*distilled, Way(0.0, jpeg=True), Way(1.0, partitions[0]))
            # held-out images of few classes may not tell them apart: then that stays which holds most
            possession = next(iter(losses))
        else:
            attempt(*(Way(1.0, partition) for partition in partitions))
            possession = min(losses, key=lambda way: mean_loss(losses[way]))
            half = [replace(possession, share=0.5)] if count > 1 else []
            attempt(*half, *([Way(0.0), Way(0.0, jpeg=True)] if first else [Way(0.0, possession.partition)]))
        means = {way.label: mean_loss(each) for way, each in losses.items()}
        self.tried = {label: mean if math.isfinite(mean) else None for label, mean in means.items()}
        way = significantly_best(losses, possession)
        self._choose(way)
        again = weights or not way.share  # real ones are chosen of all images: that takes no time
        return self._kept(way, images_by_class, weights, room, strategy, seed) if again else made[way]

    def _fitting_as_jpeg(self, images_by_class: ImagesByClass, room: int) -> int:
        try:
            return fitting_as_jpeg(images_by_class, room, JPEG_QUALITY, self.paying(images_by_class))
        except JpegError:
            return 0

    def _as_before(
        self,
        partition: int,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        strategy: Any,
        seed: int,
    ) -> Exemplars:
        """The classes in the way in force; in the first experience distilled, at this partition."""
        way = self.choice if self.choice is not None else Way(1.0, partition)
        try:
            memory = self._kept(way, images_by_class, weights, room, strategy, seed)
        except JpegError:
            raise UserError(
                f"memory.{self.budget.key}: {self.budget.amount} leaves {room} bytes to a class, too little for an "
                "image of each as JPEG, which auto chose on the first experience; use more, or another "
                "memory.method than auto."
            ) from None
        self._choose(way)
        return memory

    def _losses(
        self, memories: dict[Way, Exemplars], rest: ImagesByClass, held_out: Any, strategy: Any, seed: int
    ) -> dict[Way, torch.Tensor]:
        assert self.normalization is not None  # measured by post_adapt at the latest
        return held_out_losses(
            memories,
            held_out,
            trial_network(self.config.embedder),
            beside=rest if self.replayed else None,
            normalization=self.normalization,
            augmentations=self.augmentations,
            device=self.device if self.device is not None else strategy.device,
            generator=make_generator(seed, "choice"),
        )

    def state_dict(self) -> dict[str, Any]:
        """The memory, and the way chosen for it."""
        choice = None if self.choice is None else asdict(self.choice)
        return {**super().state_dict(), "choice": choice, "tried": self.tried}

    def load_state_dict(self, state: Mapping[str, Any], like: Any) -> None:
        """Takes over both."""
        super().load_state_dict(state, like)
        if state["choice"] is not None:
            self._choose(Way(**state["choice"]))
        self.tried = dict(state["tried"])

    def _choose(self, way: Way) -> None:
        self.choice = way
        self.share = way.share
        self.config = self._config_of(way)
        self.jpeg = JPEG_QUALITY if way.jpeg else None

    def _config_of(self, way: Way) -> DistillConfig:
        return self.config.model_copy(update={"partition": way.partition})

    def _kept(
        self, way: Way, images_by_class: ImagesByClass, weights: ImagesByClass, room: int, strategy: Any, seed: int
    ) -> Exemplars:
        config, jpeg = self._config_of(way), JPEG_QUALITY if way.jpeg else None
        return self._mixed(images_by_class, weights, room, way.share, config, jpeg, strategy, seed)

    def describe(self) -> dict[str, Any]:
        choice = None if self.choice is None else self.choice.label
        return {**super().describe(), "method": "auto", "choice": choice, "tried": self.tried}
