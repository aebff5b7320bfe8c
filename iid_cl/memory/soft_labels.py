"""Soft labels: class probabilities stored with a memory's images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from iid_cl.data.images import by_label

ENTRY_BYTES = 2  # of a probability, and of the class that a column stands for


@dataclass(frozen=True)
class SoftLabels:
    """Class probabilities of a memory's decoded images, over the classes of the experience that each image came with.

    Methods take the memory's ``labels``, int16 (N,) ascending, and ``parts``, the number of decoded images per stored
    image, so that N' = N * parts.

    Attributes:
        probabilities: float16 (N', W), a row per decoded image.
        columns: int16 (K, W): the class that each column stands for, a row per class of the memory in ascending
            order; -1 where an experience had fewer than W classes.
    """

    probabilities: Tensor
    columns: Tensor

    @classmethod
    def over(cls, classes: Sequence[int], probabilities: Tensor, memory_classes: int) -> "SoftLabels":
        """Probabilities (N', W) over the same W ``classes`` for all ``memory_classes``, kept as float16."""
        columns = torch.tensor(list(classes), dtype=torch.int16).expand(memory_classes, -1).contiguous()
        return cls(probabilities.to("cpu", torch.float16), columns)

    @classmethod
    def joined(cls, by_class: Mapping[int, "SoftLabels"]) -> "SoftLabels":
        """The soft labels of all classes, in ascending order, as wide as the widest."""
        width = max(soft.width for soft in by_class.values())
        rows = [by_class[c].padded(width) for c in sorted(by_class)]
        return cls(torch.cat([soft.probabilities for soft in rows]), torch.cat([soft.columns for soft in rows]))

    @property
    def width(self) -> int:
        """Columns, W."""
        return self.columns.shape[1]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that a memory's file holds, by name."""
        return {"soft_labels": self.probabilities, "soft_classes": self.columns}

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return self.probabilities.nbytes + self.columns.nbytes

    def check(self, labels: Tensor, parts: int) -> None:
        """Raises ValueError for values out of range, or shapes that don't fit the memory."""
        rows, columns = self.probabilities, self.columns
        if rows.dtype != torch.float16 or columns.dtype != torch.int16 or rows.ndim != 2 or columns.ndim != 2:
            raise ValueError("soft labels are float16 probabilities (N, W) and int16 columns (K, W)")
        if not rows.numel() or not columns.numel():
            raise ValueError("soft labels are empty")
        if bool((labels.diff() < 0).any()):
            raise ValueError("soft labels need images in the order of their classes")
        counts = labels.unique_consecutive(return_counts=True)[1]
        if (len(rows), len(columns), rows.shape[1]) != (len(labels) * parts, len(counts), self.width):
            raise ValueError(f"soft labels of {tuple(rows.shape)} and {tuple(columns.shape)} don't fit the images")
        if not bool(((rows >= 0) & (rows <= 1)).all()) or int(columns.amin()) < -1:
            raise ValueError("soft labels hold something other than probabilities of classes")
        named = columns.repeat_interleave(counts * parts, dim=0) >= 0
        if not bool((rows.float() * named).sum(1).gt(0).all()):
            raise ValueError("soft labels give an image no class")

    def take(self, labels: Tensor, rows: Tensor, parts: int) -> "SoftLabels":
        """The soft labels of the stored images in these rows (ascending)."""
        decoded = (rows[:, None] * parts + torch.arange(parts)).flatten()
        return SoftLabels(self.probabilities[decoded], self.columns[torch.isin(labels.unique(), labels[rows])])

    def by_class(self, labels: Tensor, parts: int) -> dict[int, "SoftLabels"]:
        """The soft labels of each class."""
        rows = by_label(self.probabilities, labels.repeat_interleave(parts))
        return {c: SoftLabels(rows[c], self.columns[i : i + 1]) for i, c in enumerate(rows)}

    def targets(self, labels: Tensor, parts: int, classes: int) -> Tensor:
        """Class probabilities (N', classes), which sum to one."""
        of_image = torch.searchsorted(labels.unique(), labels).repeat_interleave(parts)
        columns = self.columns[of_image].to(torch.int64)
        weights = self.probabilities.to(torch.float32).masked_fill(columns < 0, 0.0)
        dense = torch.zeros(len(of_image), classes).scatter_add_(1, columns.clamp_min(0), weights)
        return dense / dense.sum(1, keepdim=True)

    def padded(self, width: int) -> "SoftLabels":
        """The same with ``width`` columns."""
        padding = (0, width - self.width)
        return SoftLabels(pad(self.probabilities, padding), pad(self.columns, padding, value=-1))
