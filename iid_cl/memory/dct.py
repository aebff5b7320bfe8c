"""Images kept as quantised, entropy-coded cosine coefficients: the most images in the same bytes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from iid_cl.data.images import LabelledImages
from iid_cl.memory.bounds import check_images
from iid_cl.memory.dct_code import Code, decode, encode, table_bytes
from iid_cl.memory.dct_format import coded_shape, pictures
from iid_cl.memory.exemplars import Exemplars, merged_soft_labels
from iid_cl.memory.soft_labels import SoftLabels, soft_bytes

MOST_ENTRIES = 2**29  # a thousand classes of colour images at the finest step have 320 million
CLASS_BYTES = 2 + 4 + 4 + 4 + 2  # a class's index, number of images, step, end of its codes, and peak


@dataclass(frozen=True)
class CodedClass:
    """The coded images of a class.

    Attributes:
        count: number of images.
        step: grey levels that a coefficient's unit stands for, a float32.
        code: of whole numbers of steps.
    """

    count: int
    step: float
    code: Code

    @classmethod
    def of(cls, steps: Tensor, step: float) -> "CodedClass":
        """Codes whole numbers of steps (N, P, R, S, h, w)."""
        return cls(len(steps), step, encode(steps))

    @property
    def nbytes(self) -> int:
        """All that is stored of the class, without soft labels."""
        return CLASS_BYTES + len(self.code.table) + len(self.code.data)


@dataclass(frozen=True, repr=False)
class DctSet(Exemplars):
    """Images as cosine coefficients in steps, entropy-coded class by class; a row of K for each class, ascending.

    Attributes:
        codes: uint8 (S,), the code of each class, one after the other.
        ends: int32 (K,), where each class's code ends.
        tables: uint8 (K, T), see :class:`iid_cl.memory.dct_code.Code`.
        peaks: int16 (K,), the largest magnitude.
        steps: float32 (K,), grey levels.
        counts: int32 (K,), number of images.
        class_indices: int16 (K,).
        shape: (channels, height, width) of an image.

    Raises:
        ValueError: they contradict each other.
    """

    codes: Tensor
    ends: Tensor
    tables: Tensor
    peaks: Tensor
    steps: Tensor
    counts: Tensor
    class_indices: Tensor
    shape: tuple[int, int, int]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    soft_labels: SoftLabels | None = None

    partition = 1
    stored_as = "DCT"
    fills_bytes = True

    def __post_init__(self) -> None:
        kinds = {
            "codes": torch.uint8, "ends": torch.int32, "tables": torch.uint8, "peaks": torch.int16,
            "steps": torch.float32, "counts": torch.int32, "class_indices": torch.int16,
        }  # fmt: skip
        for name, kind in kinds.items():
            tensor = getattr(self, name)
            if tensor.dtype != kind or tensor.ndim != (2 if name == "tables" else 1):
                raise ValueError(f"{name} of coded exemplars are {kind}, not {tensor.dtype} {tuple(tensor.shape)}")
        rows = {len(getattr(self, name)) for name in kinds if name != "codes"}
        if len(rows) > 1 or not len(self.counts) or min(self.shape) < 1:
            raise ValueError("coded exemplars have rows of different classes, no class or no pixels")
        if self.tables.shape[1] != table_bytes(coded_shape(1, self.shape)):
            raise ValueError(f"tables of {self.tables.shape[1]} bytes don't fit images of {self.shape}")
        bounds = torch.cat([torch.zeros(1, dtype=torch.int64), self.ends.to(torch.int64)])
        if bool((bounds.diff() < 0).any()) or int(bounds[-1]) != len(self.codes):
            raise ValueError("the ends of the codes contradict their bytes")
        if int(self.counts.min()) < 1 or int(self.peaks.min()) < 0:
            raise ValueError("a class has no images, or a negative peak")
        if int(self.class_indices.min()) < 0 or bool((self.class_indices.diff() <= 0).any()):
            raise ValueError("its classes are negative, in no order, or named twice")
        if not bool((self.steps.isfinite() & (self.steps > 0)).all()):
            raise ValueError("a step is not above zero")
        check_images(int(self.counts.sum(dtype=torch.int64)), math.prod(self.shape), self.image_bytes)
        if self.soft_labels is not None:
            self.soft_labels.check(self.labels, 1)

    @classmethod
    def from_classes(
        cls,
        by_class: Mapping[int, CodedClass],
        shape: tuple[int, int, int],
        metadata: Mapping[str, Any] | None = None,
    ) -> "DctSet":
        """Joins the classes' codes, sorted by class index."""
        classes = sorted(by_class)
        coded = [by_class[c] for c in classes]
        data = [one.code.data for one in coded]
        return cls(
            torch.frombuffer(bytearray(b"".join(data)), dtype=torch.uint8) if any(data) else torch.empty(0).byte(),
            torch.tensor([len(part) for part in data]).cumsum(0).to(torch.int32),
            torch.stack([one.code.table for one in coded]),
            torch.tensor([one.code.peak for one in coded], dtype=torch.int16),
            torch.tensor([one.step for one in coded], dtype=torch.float32),
            torch.tensor([one.count for one in coded], dtype=torch.int32),
            torch.tensor(classes, dtype=torch.int16),
            shape,
            metadata or {},
        )

    @property
    def labels(self) -> Tensor:  # type: ignore[override]  # nobody sets it
        """Class index of each image, int16 (N,)."""
        return self.class_indices.repeat_interleave(self.counts.to(torch.int64))

    @property
    def image_bytes(self) -> int:
        """All bytes without soft labels."""
        return sum(tensor.nbytes for tensor in self.image_tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that a file holds; labels follow from counts."""
        soft = {} if self.soft_labels is None else self.soft_labels.tensors()
        return {**self.image_tensors(), **soft}

    def image_tensors(self) -> dict[str, Tensor]:
        names = ("codes", "ends", "tables", "peaks", "steps", "counts", "class_indices")
        return {name: getattr(self, name) for name in names}

    def layout(self) -> dict[str, Any]:
        return {"partition": 1, "shape": list(self.shape)}

    def check(self) -> None:
        """Decodes all images, class by class, if their tables are not made to take any time."""
        entries = (self.tables > 0).sum(1) * (
            2 * self.peaks.to(torch.int64) + 1
        )  # probabilities of each class's tables
        if int(entries.sum()) > MOST_ENTRIES:
            raise ValueError(f"its tables describe {int(entries.sum()):,} magnitudes, too many to be read")
        for label, images in self._each():
            del label, images

    def coded(self) -> dict[int, CodedClass]:
        """The code of each class."""
        found, first, data = {}, 0, self.codes.numpy().tobytes()
        for row, label in enumerate(self.class_indices.tolist()):
            last = int(self.ends[row])
            code = Code(self.tables[row], int(self.peaks[row]), data[first:last])
            found[label], first = CodedClass(int(self.counts[row]), float(self.steps[row]), code), last
        return found

    def coefficients(self) -> dict[int, Tensor]:
        """Whole numbers of steps of each class, int16 (n_c, P, R, S, h, w).

        Raises:
            ValueError: damaged codes.
        """
        return {label: decode(one.code, coded_shape(one.count, self.shape)) for label, one in self.coded().items()}

    def by_class(self) -> dict[int, Tensor]:
        return dict(self._each())

    def decoded(self) -> LabelledImages:
        """Raises ValueError for damaged codes."""
        return LabelledImages(torch.cat([images for _, images in self._each()]), self.labels.to(torch.int64))

    def _each(self) -> Iterator[tuple[int, Tensor]]:
        for label, one in self.coded().items():
            steps = decode(one.code, coded_shape(one.count, self.shape))
            # in float64, so that every machine decodes the same pixels
            parts = [pictures(part.double(), one.step, self.shape[1:]) for part in steps.split(256)]
            yield label, torch.cat(parts)

    def take(self, rows: Tensor) -> "DctSet":
        soft = None if self.soft_labels is None else self.soft_labels.take(self.labels, rows, 1)
        by_class: dict[int, CodedClass] = {}
        first = 0
        for label, one in self.coded().items():
            own = rows[(rows >= first) & (rows < first + one.count)] - first
            if len(own):
                steps = decode(one.code, coded_shape(one.count, self.shape))
                by_class[label] = CodedClass.of(steps[own], one.step)
            first += one.count
        return replace(DctSet.from_classes(by_class, self.shape, self.metadata), soft_labels=soft)

    def fitting(self, room: int, charge_all: bool = True) -> Tensor:
        """Soft labels are always charged: the images fill bytes."""
        del charge_all
        width = 0 if self.soft_labels is None else self.soft_labels.width
        rows, first = [], 0
        for one in self.coded().values():
            steps = decode(one.code, coded_shape(one.count, self.shape))
            rows.append(first + torch.arange(first_in(steps, one.step, room, width)))
            first += one.count
        return torch.cat(rows)

    def with_soft_labels(self, probabilities: Tensor, classes: Sequence[int]) -> "DctSet":
        return replace(self, soft_labels=SoftLabels.over(classes, probabilities, len(self.class_indices)))

    def merge(self, newer: Exemplars) -> "DctSet":
        if not isinstance(newer, DctSet) or self.shape != newer.shape:
            raise ValueError("only memories stored in the same way can be merged")
        if (self.soft_labels is None) != (newer.soft_labels is None):
            raise ValueError("only memories stored in the same way can be merged")
        merged = DctSet.from_classes({**self.coded(), **newer.coded()}, self.shape, newer.metadata)
        return replace(merged, soft_labels=merged_soft_labels(self, newer))


def first_in(steps: Tensor, step: float, room: int, soft_width: int = 0) -> int:
    """Number of the first images of a class, (N, P, R, S, h, w) whole numbers of steps, that fit into ``room``."""

    def fits(count: int) -> bool:
        return CodedClass.of(steps[:count], step).nbytes + soft_bytes(count, soft_width) <= room

    least, most = 0, len(steps)
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(middle) else (least, middle - 1)
    return least
