"""How networks see images: normalisation, augmentations, device and number format as one value."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iid_cl.config.base import Precision
from iid_cl.data.images import Normalization


@dataclass(frozen=True)
class Lens:
    """Normalisation, augmentations and device of the networks that take images, and how their passes are computed.

    Attributes:
        normalization: mean and standard deviation per channel.
        augmentations: names of transformations to draw from, see :mod:`iid_cl.data.augmentation`.
        device: the networks' device.
        precision: number format of the passes; ``auto``: the fastest one, see :mod:`iid_cl.compute.arithmetic`.
        compile: whether the passes are compiled; None: where it pays.
    """

    normalization: Normalization
    augmentations: tuple[str, ...]
    device: torch.device
    precision: Precision = "auto"
    compile: bool | None = None

    def show(self, images: Tensor) -> Tensor:
        """uint8 images (..., C, H, W) as normalised float32 on the device."""
        return self.normalization.apply(images.to(self.device))

    def augmented_by(self, names: Sequence[str] | None) -> "Lens":
        """The same lens with other augmentations; None changes nothing."""
        return self if names is None else replace(self, augmentations=tuple(names))
