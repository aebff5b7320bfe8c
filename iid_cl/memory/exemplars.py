"""The exemplar set: a memory's images as stored, and their bytes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from iid_cl.budget import LABEL_BYTES
from iid_cl.data.images import LabelledImages, by_label
from iid_cl.data.mapped import in_memory
from iid_cl.memory.bounds import check_images
from iid_cl.memory.partition import expand_bytes
from iid_cl.memory.soft_labels import SoftLabels, row_bytes, soft_bytes


class Exemplars(Protocol):
    """What every kind of memory offers. Images of a class stand in the order in which they matter.

    Attributes:
        labels: class index of each stored image, int16 (N,), ascending.
        metadata: how the images were made, as plain JSON.
        soft_labels: class probabilities of the decoded images; None where none are stored.
        partition: images along each side of a stored image.
        shape: (channels, height, width) of a stored image.
        stored_as: the format of the images, for people.
        fills_bytes: whether as many images are stored as fit. Soft labels are then charged under any budget.

    >>> memory: Exemplars = ExemplarSet.from_classes({3: torch.zeros(2, 1, 4, 4, dtype=torch.uint8)})
    >>> len(memory), memory.classes, memory.nbytes  # two images of 16 bytes, each with a label of two
    (2, [3], 36)
    """

    labels: Tensor
    metadata: Mapping[str, Any]
    soft_labels: SoftLabels | None
    partition: int
    shape: tuple[int, int, int]
    stored_as: str
    fills_bytes: bool

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images of {len(self.classes)} classes, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        """Bytes as stored, with everything needed to decode them: images, two per label, soft labels."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    @property
    def classes(self) -> list[int]:
        """The class indices it holds, ascending."""
        return [int(c) for c in self.labels.unique()]

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that a file holds of the memory, by name."""
        soft = {} if self.soft_labels is None else self.soft_labels.tensors()
        return {**self.image_tensors(), "labels": self.labels, **soft}

    def image_tensors(self) -> dict[str, Tensor]:
        """The tensors that hold the images, by name."""

    def layout(self) -> dict[str, Any]:
        """What a file has to say to make sense of the tensors, as plain JSON."""

    def check(self) -> None:
        """Raises ValueError for images that cannot be decoded, have no pixels, or unfold to too many."""

    def by_class(self) -> dict[int, Tensor]:
        """Stored images of each class as pictures, uint8 (n_c, C, H, W)."""

    def decoded(self) -> LabelledImages:
        """What is trained on: partition * partition images for each stored image."""

    def targets(self, classes: int) -> Tensor:
        """Training targets of the decoded images: class indices (N',), or stored probabilities (N', classes)."""
        if self.soft_labels is not None:
            return self.soft_labels.targets(self.labels, self.partition**2, classes)
        return self.labels.to(torch.int64).repeat_interleave(self.partition**2)

    def take(self, rows: Tensor) -> Self:
        """The stored images of these rows (ascending), with their soft labels."""

    def fitting(self, room: int, charge_all: bool = True) -> Tensor:
        """Rows of the first images of each class that fit into ``room`` bytes per class.

        Without ``charge_all`` soft labels of images that are stored whole don't count.
        """

    def with_soft_labels(self, probabilities: Tensor, classes: Sequence[int]) -> Self:
        """Adds class probabilities (N', W) of the decoded images over ``classes``."""

    def merge(self, newer: Self) -> Self:
        """Adds the classes of ``newer``; a class in both is taken from ``newer``, and so is the metadata.

        Raises:
            ValueError: the two are stored in different ways, or only one of them has soft labels.
        """


@dataclass(frozen=True, repr=False)
class ExemplarSet(Exemplars):
    """Images (N, C, H, W) as uint8 and class indices (N,) as int16, in ascending order of class.

    With a ``partition`` f above 1 an image is a grid of f x f smaller ones, see :mod:`iid_cl.memory.partition`; what is
    trained on is :meth:`decoded`.

    >>> memory = ExemplarSet.from_classes({7: torch.zeros(1, 3, 8, 8, dtype=torch.uint8)}, partition=2)
    >>> len(memory), len(memory.decoded()), memory.nbytes  # four images of 4x4 pixels in the bytes of one of 8x8
    (1, 4, 194)
    """

    images: Tensor
    labels: Tensor
    metadata: Mapping[str, Any] = field(default_factory=dict)
    partition: int = 1
    soft_labels: SoftLabels | None = None

    stored_as = "uint8"
    fills_bytes = False

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
        images = torch.cat([in_memory(by_class[c]).cpu() for c in classes])
        return cls(images, torch.cat(labels), metadata or {}, partition)

    @property
    def shape(self) -> tuple[int, int, int]:  # type: ignore[override]  # nobody sets a memory's shape
        """(channels, height, width) of a stored image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def image_tensors(self) -> dict[str, Tensor]:
        return {"images": self.images}

    def layout(self) -> dict[str, Any]:
        return {"partition": self.partition}

    def check(self) -> None:
        check_images(len(self) * self.partition**2, math.prod(self.shape), self.nbytes)

    def by_class(self) -> dict[int, Tensor]:
        return by_label(self.images, self.labels)

    def decoded(self) -> LabelledImages:
        labels = self.labels.to(torch.int64).repeat_interleave(self.partition**2)
        return LabelledImages(expand_bytes(self.images, self.partition), labels)

    def take(self, rows: Tensor) -> "ExemplarSet":
        soft = None if self.soft_labels is None else self.soft_labels.take(self.labels, rows, self.partition**2)
        return replace(self, images=self.images[rows], labels=self.labels[rows], soft_labels=soft)

    def fitting(self, room: int, charge_all: bool = True) -> Tensor:
        width = self.soft_labels.width if self.soft_labels is not None and charge_all else 0
        count = images_in(room, self.images[0].numel(), width, self.partition)
        return first_rows(self.labels, count)

    def with_soft_labels(self, probabilities: Tensor, classes: Sequence[int]) -> "ExemplarSet":
        return replace(self, soft_labels=SoftLabels.over(classes, probabilities, len(self.classes)))

    def merge(self, newer: "ExemplarSet") -> "ExemplarSet":
        if self.partition != newer.partition or (self.soft_labels is None) != (newer.soft_labels is None):
            raise ValueError("only memories stored in the same way can be merged")
        images = {**self.by_class(), **newer.by_class()}
        merged = ExemplarSet.from_classes(images, newer.metadata, newer.partition)
        return replace(merged, soft_labels=merged_soft_labels(self, newer))


def first_rows(labels: Tensor, count: int) -> Tensor:
    """Rows of the first ``count`` images of each class, of ``labels`` (N,) in ascending order.

    >>> first_rows(torch.tensor([2, 2, 2, 5]), 2)
    tensor([0, 1, 3])
    """
    counts = labels.unique_consecutive(return_counts=True)[1]
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    rows: Tensor = (place < count).nonzero().squeeze(1)
    return rows


def merged_soft_labels(old: Exemplars, newer: Exemplars) -> SoftLabels | None:
    """The soft labels of two memories' classes, taken from ``newer`` where it has the class; None without any."""
    by_class: dict[int, SoftLabels] = {}
    for memory in (old, newer):
        if memory.soft_labels is not None:
            by_class |= memory.soft_labels.by_class(memory.labels, memory.partition**2)
    return SoftLabels.joined(by_class) if by_class else None


def images_in(room: int, image_bytes: int, soft_width: int = 0, partition: int = 1) -> int:
    """Number of stored images of a class that fit into ``room`` bytes, at ``soft_width`` class probabilities each."""
    per_image = image_bytes + LABEL_BYTES + row_bytes(soft_width) * partition**2
    return max(0, (room - soft_bytes(0, soft_width)) // per_image)
