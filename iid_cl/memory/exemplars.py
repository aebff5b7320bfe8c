"""The exemplar set: a memory's images as stored, and their bytes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from iid_cl.budget import LABEL_BYTES
from iid_cl.data.images import LabelledImages
from iid_cl.memory.partition import expand_bytes
from iid_cl.memory.soft_labels import ENTRY_BYTES, SoftLabels


class Exemplars(Protocol):
    """What every kind of memory offers; images of a class stand in the order in which they matter."""

    @property
    def labels(self) -> Tensor:
        """Class index of each stored image, int16 (N,), ascending."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """How the images came to be, as plain JSON."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes as stored, with everything needed to decode them."""
        ...

    @property
    def classes(self) -> list[int]:
        """The class indices it holds, ascending."""
        ...

    @property
    def partition(self) -> int:
        """Images that a stored one holds along each side."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a stored image."""
        ...

    @property
    def stored_as(self) -> str:
        """The format of its images, for people."""
        ...

    @property
    def fills_bytes(self) -> bool:
        """Whether as many images are stored as fit, and soft labels are charged under any budget."""
        ...

    @property
    def soft_labels(self) -> SoftLabels | None:
        """Class probabilities of the decoded images, where they are stored."""
        ...

    def __len__(self) -> int: ...

    def tensors(self) -> dict[str, Tensor]:
        """All that a file holds of it, by name."""
        ...

    def layout(self) -> dict[str, Any]:
        """What a file has to say to make sense of the tensors, as plain JSON."""
        ...

    def check(self) -> None:
        """Raises ValueError where images cannot be decoded, or have no pixels."""
        ...

    def by_class(self) -> dict[int, Tensor]:
        """Stored images of each class as pictures, uint8 (n_c, C, H, W)."""
        ...

    def decoded(self) -> LabelledImages:
        """What is trained on: partition * partition images for each stored one."""
        ...

    def targets(self, classes: int) -> Tensor:
        """Training targets of the decoded images: class indices, or probabilities over ``classes``."""
        ...

    def take(self, rows: Tensor) -> Self:
        """The stored images of these rows (ascending)."""
        ...

    def fitting(self, room: int, charge_all: bool = True) -> Tensor:
        """Rows of the first images of each class that fit into ``room`` bytes per class.

        Without ``charge_all`` soft labels of images that are stored whole don't count.
        """
        ...

    def with_soft_labels(self, probabilities: Tensor, classes: Sequence[int]) -> Self:
        """Adds class probabilities (N', W) of the decoded images over ``classes``, kept as float16."""
        ...

    def merge(self, newer: Self) -> Self:
        """Adds the classes of ``newer``; a class in both is taken from ``newer``, and so is the metadata."""
        ...


@dataclass(frozen=True)
class ExemplarSet:
    """Images (N, C, H, W) as uint8 and class indices (N,) as int16, in ascending order of class.

    ``metadata`` is plain JSON: how the images came to be (method, settings, seed). With a ``partition`` f above 1 an
    image is a grid of f x f smaller ones, see :mod:`iid_cl.memory.partition`; what is trained on is :meth:`decoded`.
    """

    images: Tensor
    labels: Tensor
    metadata: Mapping[str, Any] = field(default_factory=dict)
    partition: int = 1
    soft_labels: SoftLabels | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"exemplars are uint8 (N, C, H, W), not {self.images.dtype} {tuple(self.images.shape)}")
        if self.labels.dtype != torch.int16 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels are int16 ({len(self.images)},), not {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if self.partition < 1 or any(side % self.partition for side in self.images.shape[2:]):
            raise ValueError(f"a partition of {self.partition} does not divide images of {tuple(self.images.shape)}")
        if self.soft_labels is not None:
            self.soft_labels.check(self.labels, self.partition**2)

    @classmethod
    def from_classes(
        cls, by_class: Mapping[int, Tensor], metadata: Mapping[str, Any] | None = None, partition: int = 1
    ) -> "ExemplarSet":
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
        return cls(torch.cat([by_class[c].cpu() for c in classes]), torch.cat(labels), metadata or {}, partition)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a stored image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def stored_as(self) -> str:
        """Plain bytes."""
        return "uint8"

    @property
    def fills_bytes(self) -> bool:
        """Images are counted."""
        return False

    def tensors(self) -> dict[str, Tensor]:
        """Images, labels and soft labels."""
        soft = {} if self.soft_labels is None else self.soft_labels.tensors()
        return {"images": self.images, "labels": self.labels, **soft}

    def layout(self) -> dict[str, Any]:
        """The partition."""
        return {"partition": self.partition}

    def check(self) -> None:
        """Raises ValueError for images without pixels."""
        if not self.images.numel():
            raise ValueError("its images have no pixels")

    @property
    def nbytes(self) -> int:
        """Bytes as stored: C*H*W per image, two per label, and the soft labels."""
        soft = 0 if self.soft_labels is None else self.soft_labels.nbytes
        return self.images.nbytes + self.labels.nbytes + soft

    @property
    def classes(self) -> list[int]:
        """The class indices it holds, ascending."""
        return [int(c) for c in self.labels.unique()]

    def by_class(self) -> dict[int, Tensor]:
        """Images as stored, (n_c, C, H, W), of each class."""
        return {c: self.images[self.labels == c] for c in self.classes}

    def decoded(self) -> LabelledImages:
        """What is trained on: uint8 (N * f * f, C, H, W) and their class indices."""
        labels = self.labels.to(torch.int64).repeat_interleave(self.partition**2)
        return LabelledImages(expand_bytes(self.images, self.partition), labels)

    def take(self, rows: Tensor) -> "ExemplarSet":
        """The stored images of these rows (ascending), with their soft labels."""
        soft = None if self.soft_labels is None else self.soft_labels.take(self.labels, rows, self.partition**2)
        return ExemplarSet(self.images[rows], self.labels[rows], self.metadata, self.partition, soft)

    def fitting(self, room: int, charge_all: bool = True) -> Tensor:
        """Rows of the first images of each class that fit into ``room`` bytes per class."""
        soft = self.soft_labels if charge_all else None
        width = 0 if soft is None else soft.width
        count = images_in(room, self.images[0].numel(), width, self.partition)
        return torch.cat([(self.labels == c).nonzero().squeeze(1)[:count] for c in self.classes])

    def with_soft_labels(self, probabilities: Tensor, classes: Sequence[int]) -> "ExemplarSet":
        """Adds class probabilities (N', W) of the decoded images over ``classes``, kept as float16."""
        soft = SoftLabels.over(classes, probabilities, len(self.classes))
        return dataclasses.replace(self, soft_labels=soft)

    def targets(self, classes: int) -> Tensor:
        """Training targets of the decoded images: class indices (N',), or probabilities (N', classes) where stored."""
        if self.soft_labels is not None:
            return self.soft_labels.targets(self.labels, self.partition**2, classes)
        return self.labels.to(torch.int64).repeat_interleave(self.partition**2)

    def merge(self, newer: "ExemplarSet") -> "ExemplarSet":
        """Adds the classes of ``newer``; a class in both is taken from ``newer``, and so is the metadata.

        Raises:
            ValueError: the two differ in partition, or one has soft labels and the other has not.
        """
        if self.partition != newer.partition or (self.soft_labels is None) != (newer.soft_labels is None):
            raise ValueError("only memories stored in the same way can be merged")
        merged = ExemplarSet.from_classes(
            {**self.by_class(), **newer.by_class()}, newer.metadata, partition=newer.partition
        )
        return dataclasses.replace(merged, soft_labels=merged_soft_labels(self, newer))


def merged_soft_labels(old: Exemplars, newer: Exemplars) -> SoftLabels | None:
    """Those of two memories' classes, each taken from ``newer`` where it has it; None where there are none."""
    found: dict[int, SoftLabels] = {}
    for memory in (old, newer):
        if memory.soft_labels is not None:
            found |= memory.soft_labels.by_class(memory.labels, memory.partition**2)
    return SoftLabels.joined(found) if found else None


def images_in(room: int, image_bytes: int, soft_width: int = 0, partition: int = 1) -> int:
    """How many stored images of a class fit into ``room`` bytes, at ``soft_width`` class probabilities each."""
    row = ENTRY_BYTES * soft_width
    per_image = image_bytes + LABEL_BYTES + row * partition**2
    return max(0, (room - row) // per_image)  # a class's own row says which class each column stands for
