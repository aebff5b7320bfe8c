"""Mixtures of distilled and real images."""

from typing import Any

import torch

from iid_cl.config.distill import DistillConfig
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.real import Order, ordering
from iid_cl.memory.selection import FeaturesFactory
from iid_cl.methods.mixing import hybrid_memory
from iid_cl.seeding import draw_seed, make_generator

from .buffers import ClassBuffer, ImagesByClass
from .distilled import DistilledBuffer
from .features import features_of_strategy


class HybridBuffer(DistilledBuffer):
    """A memory of distilled and herded real images, stored in the same way.

    As JPEG, distilled images start from the herded ones, and the next of these fill what is left.

    Args:
        ipc: images per class, or one of ``mem_size``, ``mem_bytes``, ``class_bytes``, see :class:`MemoryBuffer`.
        share: of distilled images, in [0, 1].
        features: of herding, see :class:`RealBuffer`.

    The remaining arguments are those of :class:`DistilledBuffer`.
    """

    def __init__(
        self, ipc: int | None = None, *, share: float = 0.5, features: FeaturesFactory | None = None, **arguments: Any
    ) -> None:
        super().__init__(ipc, **arguments)
        if not 0 <= share <= 1:
            raise UserError(f"memory.share: {share} is no share; use a number from 0 to 1.")
        self.share = share
        self._features = features if features is not None else features_of_strategy

    def condense(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        strategy: Any,
        generator: torch.Generator,
    ) -> Exemplars:
        """Mixes the classes' images."""
        seed = draw_seed(generator)
        return self._mixed(images_by_class, weights, room, self.share, self.config, self.jpeg, strategy, seed)

    def shrink(self, memory: Exemplars, room: int, strategy: Any, generator: torch.Generator) -> Exemplars:
        """Fewer images of older classes; real ones are not distilled."""
        if self.share == 1:
            return super().shrink(memory, room, strategy, generator)
        return ClassBuffer.shrink(self, memory, room, strategy, generator)

    def _mixed(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        share: float,
        config: DistillConfig,
        jpeg: int | None,
        strategy: Any,
        seed: int,
    ) -> Exemplars:
        """A share of images distilled as ``config`` says, and herded ones stored like them."""

        def herding(images: ImagesByClass, weights: ImagesByClass) -> Order:
            return self._order(images, weights, strategy, seed)

        if jpeg is not None:
            return self._as_jpeg(images_by_class, weights, room, share, jpeg, config, strategy, seed, herding)
        memory = hybrid_memory(
            images_by_class,
            weights,
            self._count(images_by_class, room),
            share,
            distil=self._distil(config, strategy, seed, None),
            ordering=herding,
            partition=config.factor,
            old=self.exemplars if weights else None,
        )
        return self._labelled(memory, images_by_class, weights, strategy, seed)

    def _order(self, images_by_class: ImagesByClass, weights: ImagesByClass, strategy: Any, seed: int) -> Order:
        """The order in which herding picks real images."""
        assert self.normalization is not None  # measured by post_adapt at the latest
        draws = make_generator(seed, "herding")
        return ordering(
            images_by_class,
            "herding",
            self._features(images_by_class, strategy, draws),
            normalization=self.normalization,
            device=strategy.device,
            generator=draws,
            weights=weights,
        )

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "method": "hybrid", "share": self.share}
