"""How networks see images: normalisation, augmentations and device as one value."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iid_cl.data.images import Normalization


@dataclass(frozen=True)
class Lens:
    """Normalisation, augmentations and device of the networks that take images.

    Attributes:
        normalization: mean and standard deviation per channel.
        augmentations: names of transformations to draw from, see :mod:`iid_cl.data.augmentation`.
        device: the networks' device.
    """

    normalization: Normalization
    augmentations: tuple[str, ...]
    device: torch.device

    def show(self, images: Tensor) -> Tensor:
        """uint8 images (..., C, H, W) as normalised float32 on the device."""
        return self.normalization.apply(images.to(self.device))

    def augmented_by(self, names: Sequence[str] | None) -> "Lens":
        """The same lens with other augmentations; None changes nothing."""
        return self if names is None else replace(self, augmentations=tuple(names))
