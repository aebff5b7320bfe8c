"""The exemplar set: a memory's images as stored, and their bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

LABEL_BYTES = 2  # labels are stored as int16


@dataclass(frozen=True)
class ExemplarSet:
    """Images (N, C, H, W) as uint8 and class indices (N,) as int16, in ascending order of class.

    ``metadata`` is plain JSON: how the images came to be (method, settings, seed).
    """

    images: Tensor
    labels: Tensor
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"exemplars are uint8 (N, C, H, W), not {self.images.dtype} {tuple(self.images.shape)}")
        if self.labels.dtype != torch.int16 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels are int16 ({len(self.images)},), not {self.labels.dtype} {tuple(self.labels.shape)}"
            )

    @classmethod
    def from_classes(cls, by_class: Mapping[int, Tensor], metadata: Mapping[str, Any] | None = None) -> "ExemplarSet":
        """Joins each class's images (n_c, C, H, W), uint8, sorted by class index.

        Raises:
            ValueError: no class at all, images that are not uint8 of one shape, or a class index that does
                not fit in 16 bits.
        """
        if not by_class:
            raise ValueError("an exemplar set needs at least one class")
        classes = sorted(by_class)
        if classes[0] < 0 or classes[-1] > torch.iinfo(torch.int16).max:
            raise ValueError(f"class indices must be between 0 and 32767, not {classes[0]}..{classes[-1]}")
        shapes = {tuple(by_class[c].shape[1:]) for c in classes}
        if len(shapes) > 1:
            raise ValueError(f"images must have one shape, not {sorted(shapes)}")
        labels = [torch.full((len(by_class[c]),), c, dtype=torch.int16) for c in classes]
        return cls(torch.cat([by_class[c].cpu() for c in classes]), torch.cat(labels), metadata or {})

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """Bytes as stored: C*H*W per image and two per label."""
        return self.images.nbytes + self.labels.nbytes

    @property
    def classes(self) -> list[int]:
        """The class indices it holds, ascending."""
        return [int(c) for c in self.labels.unique()]

    def by_class(self) -> dict[int, Tensor]:
        """Images (n_c, C, H, W) of each class."""
        return {c: self.images[self.labels == c] for c in self.classes}

    def merge(self, newer: "ExemplarSet") -> "ExemplarSet":
        """Adds the classes of ``newer``; a class in both is taken from ``newer``. Its metadata is kept."""
        return ExemplarSet.from_classes({**self.by_class(), **newer.by_class()}, newer.metadata)
