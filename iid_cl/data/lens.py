"""How networks see images: one value for what travels together through every training and distillation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iid_cl.data.images import Normalization


@dataclass(frozen=True)
class Lens:
    """Normalisation, augmentations and device of the networks that look at images.

    Attributes:
        normalization: mean and standard deviation per channel.
        augmentations: names of the transformations to draw from, see :mod:`iid_cl.data.augmentation`.
        device: where the networks are.
    """

    normalization: Normalization
    augmentations: tuple[str, ...]
    device: torch.device

    def show(self, images: Tensor) -> Tensor:
        """uint8 images (..., C, H, W) as networks see them: normalised float32 on the device."""
        return self.normalization.apply(images.to(self.device))

    def augmented_by(self, names: Sequence[str] | None) -> "Lens":
        """The lens with these augmentations in place of its own; None keeps its own."""
        return self if names is None else replace(self, augmentations=tuple(names))
