"""Soft labels: class probabilities stored with a memory's images, in four bits each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from iid_cl.data.images import by_label

LEVELS = 15  # above zero: a probability takes half a byte
COLUMN_BYTES = 2  # of the class that a column stands for


@dataclass(frozen=True)
class SoftLabels:
    """Class probabilities of a memory's decoded images, over the classes of the experience that each image came with.

    A probability p is kept as a level from 0 to 15, in proportion to its square root. The largest of an image has level
    15.

    Methods take the memory's ``labels``, int16 (N,) ascending, and ``parts``, the number of decoded images per stored
    image, so that N' = N * parts.

    Attributes:
        levels: uint8 (N', W) from 0 to 15, a row per decoded image.
        columns: int16 (K, W): the class that each column stands for, a row per class of the memory in ascending
            order; -1 where an experience had fewer than W classes.

    >>> soft = SoftLabels.over([4, 9], torch.tensor([[0.8, 0.2], [0.001, 0.999]]), memory_classes=1)
    >>> soft.levels.tolist()  # the root of 0.2 / 0.8 is 0.5, of 15 levels 7.5
    [[15, 8], [0, 15]]
    >>> soft.nbytes  # a byte for each image's two levels, and two classes
    6
    """

    levels: Tensor
    columns: Tensor

    @classmethod
    def over(cls, classes: Sequence[int], probabilities: Tensor, memory_classes: int) -> "SoftLabels":
        """Probabilities (N', W) over the same W ``classes`` for all ``memory_classes``.

        Raises:
            ValueError: values outside [0, 1].
        """
        columns = torch.tensor(list(classes), dtype=torch.int16).expand(memory_classes, -1).contiguous()
        return cls(_levels(probabilities.to("cpu", torch.float32)), columns)

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor]) -> "SoftLabels":
        """The soft labels of :meth:`tensors`, or of files before format 7, which have float16 probabilities.

        Raises:
            ValueError: they contradict each other.
        """
        stored, columns = tensors["soft_labels"], tensors["soft_classes"]
        if stored.ndim != 2 or columns.ndim != 2 or columns.dtype != torch.int16:
            raise ValueError("soft labels are rows of levels, and int16 columns (K, W)")
        if stored.dtype == torch.float16:
            return cls(_levels(stored.to(torch.float32)), columns)
        width = columns.shape[1]
        if stored.dtype != torch.uint8 or stored.shape[1] != row_bytes(width):
            raise ValueError(f"soft labels of {stored.dtype} {tuple(stored.shape)} don't fit {width} classes")
        return cls(torch.stack([stored >> 4, stored & 15], dim=2).flatten(1)[:, :width].contiguous(), columns)

    @classmethod
    def joined(cls, by_class: Mapping[int, "SoftLabels"]) -> "SoftLabels":
        """The soft labels of all classes, in ascending order, as wide as the widest."""
        width = max(soft.width for soft in by_class.values())
        rows = [by_class[c].padded(width) for c in sorted(by_class)]
        return cls(torch.cat([soft.levels for soft in rows]), torch.cat([soft.columns for soft in rows]))

    @property
    def width(self) -> int:
        """Columns, W."""
        return self.columns.shape[1]

    @property
    def probabilities(self) -> Tensor:
        """Float32 (N', W); each row sums to one over the columns that stand for a class."""
        weights = (self.levels.to(torch.float32) / LEVELS).square()
        return weights / weights.sum(1, keepdim=True)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that a memory's file holds, by name; levels are uint8 (N', R), two to a byte."""
        pairs = pad(self.levels, (0, self.width % 2)).view(len(self.levels), -1, 2)
        return {"soft_labels": 16 * pairs[..., 0] + pairs[..., 1], "soft_classes": self.columns}

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return len(self.levels) * row_bytes(self.width) + self.columns.nbytes

    def check(self, labels: Tensor, parts: int) -> None:
        """Raises ValueError for values out of range, or shapes that don't fit the memory."""
        rows, columns = self.levels, self.columns
        if rows.dtype != torch.uint8 or columns.dtype != torch.int16 or rows.ndim != 2 or columns.ndim != 2:
            raise ValueError("soft labels are uint8 levels (N, W) and int16 columns (K, W)")
        if not rows.numel() or not columns.numel():
            raise ValueError("soft labels are empty")
        if bool((labels.diff() < 0).any()):
            raise ValueError("soft labels need images in the order of their classes")
        counts = labels.unique_consecutive(return_counts=True)[1]
        if (len(rows), len(columns), rows.shape[1]) != (len(labels) * parts, len(counts), self.width):
            raise ValueError(f"soft labels of {tuple(rows.shape)} and {tuple(columns.shape)} don't fit the images")
        if int(rows.amax()) > LEVELS or int(columns.amin()) < -1:
            raise ValueError("soft labels hold something other than probabilities of classes")
        named = columns.repeat_interleave(counts * parts, dim=0) >= 0
        if not bool((rows * named).amax(1).gt(0).all()):
            raise ValueError("soft labels give an image no class")

    def take(self, labels: Tensor, rows: Tensor, parts: int) -> "SoftLabels":
        """The soft labels of the stored images in these rows (ascending)."""
        decoded = (rows[:, None] * parts + torch.arange(parts)).flatten()
        return SoftLabels(self.levels[decoded], self.columns[torch.isin(labels.unique(), labels[rows])])

    def by_class(self, labels: Tensor, parts: int) -> dict[int, "SoftLabels"]:
        """The soft labels of each class."""
        rows = by_label(self.levels, labels.repeat_interleave(parts))
        return {c: SoftLabels(rows[c], self.columns[i : i + 1]) for i, c in enumerate(rows)}

    def targets(self, labels: Tensor, parts: int, classes: int) -> Tensor:
        """Class probabilities (N', classes), which sum to one."""
        of_image = torch.searchsorted(labels.unique(), labels).repeat_interleave(parts)
        columns = self.columns[of_image].to(torch.int64)
        weights = self.probabilities.masked_fill(columns < 0, 0.0)
        dense = torch.zeros(len(of_image), classes).scatter_add_(1, columns.clamp_min(0), weights)
        return dense / dense.sum(1, keepdim=True)

    def padded(self, width: int) -> "SoftLabels":
        """The same with ``width`` columns."""
        padding = (0, width - self.width)
        return SoftLabels(pad(self.levels, padding), pad(self.columns, padding, value=-1))


def row_bytes(width: int) -> int:
    """Bytes of an image's probabilities over ``width`` classes, 0 where none are stored.

    >>> row_bytes(2), row_bytes(10), row_bytes(0)
    (1, 5, 0)
    """
    return (width + 1) // 2


def soft_bytes(images: int, width: int) -> int:
    """Bytes of the probabilities of a class's decoded images, and of the classes that its columns stand for."""
    return images * row_bytes(width) + COLUMN_BYTES * width


def _levels(probabilities: Tensor) -> Tensor:
    """Raises ValueError for what is no probability."""
    if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
        raise ValueError("soft labels hold something other than probabilities of classes")
    roots = (probabilities / probabilities.amax(1, keepdim=True).clamp_min(1e-30)).sqrt()
    return (roots * LEVELS).round().to(torch.uint8)
