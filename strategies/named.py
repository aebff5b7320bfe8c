"""The memory methods as storage policies, by their names."""

from collections.abc import Sequence
from typing import Unpack

import torch

from iid_cl.config.distill import DistillConfig
from iid_cl.distill.matching import MatchingLoss
from iid_cl.distill.watch import OnStep
from iid_cl.errors import UserError
from iid_cl.memory.formats import DctStep, storage_of
from iid_cl.memory.selection import Rule
from iid_cl.methods.auto import Auto, Way
from iid_cl.methods.distilled import Distilled, Shrink
from iid_cl.methods.mixed import Mixed
from iid_cl.methods.real import Real
from iid_cl.methods.reservoir import Reservoir
from iid_cl.nets import Network

from .buffers import MemoryArguments, MemoryBuffer
from .features import FeaturesFactory


class DistillingArguments(MemoryArguments, total=False):
    """Further arguments of buffers that distil, see :class:`MemoryBuffer`."""

    device: torch.device | str | None
    augmentations: Sequence[str]
    on_step: OnStep | None


class RealArguments(MemoryArguments, total=False):
    """Further arguments of buffers of real images, see :class:`RealBuffer`."""

    features: FeaturesFactory | None
    downscale: int
    jpeg: int | None
    dct: DctStep | None


class RealBuffer(MemoryBuffer):
    """A memory of real images, chosen class by class.

    Args:
        ipc: images per class, or one of ``mem_size``, ``mem_bytes``, ``class_bytes``, see :class:`MemoryBuffer`. It
            counts full-size images, so that more small images fit.
        rule: the choice by name, or your own function, see :mod:`iid_cl.memory.selection`.
        downscale: stores images at 1 / downscale of their side.
        jpeg: stores images as JPEG of this quality, 1 to 95.
        dct: stores images as cosine coefficients in steps of this many grey levels, or ``auto``, see
            :class:`iid_cl.memory.dct_storage.Dct`.
        features: see :class:`MemoryBuffer`.

    Further arguments: see :class:`MemoryBuffer`.

    Raises:
        UserError: an unknown rule, two of ``downscale``, ``jpeg`` and ``dct``, or one of them out of range.

    >>> RealBuffer(mem_bytes=50_000, rule="k_centre", jpeg=25).describe()
    {'mem_bytes': 50000, 'seed': 0, 'method': 'k_centre', 'jpeg': 25}
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        rule: str | Rule = "random",
        features: FeaturesFactory | None = None,
        downscale: int = 1,
        jpeg: int | None = None,
        dct: DctStep | None = None,
        **arguments: Unpack[MemoryArguments],
    ) -> None:
        if downscale < 1:
            raise UserError(f"memory.downscale: {downscale} is no part of a side; use 1 or more.")
        super().__init__(Real(rule, storage_of(downscale, jpeg, dct)), ipc, features=features, **arguments)


class RandomBuffer(RealBuffer):
    """A memory of real images, drawn uniformly within each class: ``RealBuffer(rule="random")``.

    >>> RandomBuffer(ipc=10, downscale=2).describe()
    {'ipc': 10, 'seed': 0, 'method': 'random', 'downscale': 2}
    """

    def __init__(self, ipc: int | None = None, **arguments: Unpack[RealArguments]) -> None:
        super().__init__(ipc, rule="random", **arguments)


class HerdingBuffer(RealBuffer):
    """A memory of real images chosen by herding (iCaRL): ``RealBuffer(rule="herding")``.

    >>> HerdingBuffer(mem_size=200, seed=3, jpeg=50).describe()
    {'mem_size': 200, 'seed': 3, 'method': 'herding', 'jpeg': 50}
    """

    def __init__(self, ipc: int | None = None, **arguments: Unpack[RealArguments]) -> None:
        super().__init__(ipc, rule="herding", **arguments)


class ReservoirBuffer(MemoryBuffer):
    """A memory of real images, drawn from all classes alike, see :class:`iid_cl.methods.reservoir.Reservoir`.

    >>> ReservoirBuffer(mem_size=200).describe()
    {'mem_size': 200, 'seed': 0, 'method': 'reservoir'}
    """

    def __init__(self, ipc: int | None = None, **arguments: Unpack[MemoryArguments]) -> None:
        super().__init__(Reservoir(), ipc, **arguments)


class DistilledBuffer(MemoryBuffer):
    """A memory of synthetic images, distilled from each experience when it ends.

    Args:
        ipc: images per class, or one of ``mem_size``, ``mem_bytes``, ``class_bytes``, see :class:`MemoryBuffer`.
        distill: settings of the distillation; the default suits 32x32 images.
        soft_labels: store class probabilities with each image, see :class:`iid_cl.methods.distilled.Distilled`.
        shrink: what happens to older classes under a fixed total, ``cut`` or ``redistil``, see the same class.
        jpeg: stores images as JPEG of this quality, 1 to 95, which leaves room for several times as many.
        dct: stores images as cosine coefficients in steps of this many grey levels, or of the step that suits them,
            ``auto``; which leaves room for even more.
        embedder: your own network in place of the configured one, see :func:`iid_cl.distill.distill`.
        objective: your own matching loss in place of the configured one, see :func:`iid_cl.distill.distill`.

    Further arguments: see :class:`MemoryBuffer`.

    >>> DistilledBuffer(ipc=10, distill=DistillConfig(iterations=100)).describe()["distill"].get("iterations")
    100
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        distill: DistillConfig | None = None,
        soft_labels: bool = False,
        shrink: Shrink = "redistil",
        jpeg: int | None = None,
        dct: DctStep | None = None,
        embedder: Network | None = None,
        objective: MatchingLoss | None = None,
        **arguments: Unpack[DistillingArguments],
    ) -> None:
        method = _distilled(distill, jpeg, dct, soft_labels, shrink, embedder, objective)
        super().__init__(method, ipc, **arguments)


class HybridBuffer(MemoryBuffer):
    """A memory of distilled and herded real images, see :class:`iid_cl.methods.mixed.Mixed`.

    Args:
        share: of distilled images, in [0, 1].
        features: for herding, see :class:`MemoryBuffer`.

    Further arguments: see :class:`DistilledBuffer`.

    >>> HybridBuffer(ipc=10, share=0.3).describe()["share"]
    0.3
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        share: float = 0.5,
        distill: DistillConfig | None = None,
        soft_labels: bool = False,
        shrink: Shrink = "redistil",
        jpeg: int | None = None,
        dct: DctStep | None = None,
        embedder: Network | None = None,
        objective: MatchingLoss | None = None,
        features: FeaturesFactory | None = None,
        **arguments: Unpack[DistillingArguments],
    ) -> None:
        method = _distilled(distill, jpeg, dct, soft_labels, shrink, embedder, objective)
        super().__init__(Mixed(share, method), ipc, features=features, **arguments)


class AutoBuffer(MemoryBuffer):
    """A memory that chooses how to spend its bytes, see :class:`iid_cl.methods.auto.Auto`.

    Arguments: see :class:`HybridBuffer`, without ``share``, ``jpeg`` and ``dct``.

    >>> AutoBuffer(mem_bytes=50_000).choice is None  # the first experience decides
    True
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        distill: DistillConfig | None = None,
        soft_labels: bool = False,
        shrink: Shrink = "redistil",
        embedder: Network | None = None,
        objective: MatchingLoss | None = None,
        features: FeaturesFactory | None = None,
        **arguments: Unpack[DistillingArguments],
    ) -> None:
        method = Distilled(distill or DistillConfig(), None, soft_labels, shrink, embedder, objective)
        self._auto = Auto(method)
        super().__init__(self._auto, ipc, features=features, **arguments)

    @property
    def choice(self) -> Way | None:
        """How the bytes are spent; None before the first experience."""
        return self._auto.choice


def _distilled(
    distill: DistillConfig | None,
    jpeg: int | None,
    dct: DctStep | None,
    soft_labels: bool,
    shrink: Shrink,
    embedder: Network | None,
    objective: MatchingLoss | None,
) -> Distilled:
    storage = None if jpeg is None and dct is None else storage_of(jpeg=jpeg, dct=dct)
    return Distilled(distill or DistillConfig(), storage, soft_labels, shrink, embedder, objective)
