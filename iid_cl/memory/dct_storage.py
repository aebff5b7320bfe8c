"""The storage of images as cosine coefficients: how many images fit, and the step that fills the bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from iid_cl.errors import UserError
from iid_cl.memory.dct import CLASS_BYTES, CodedClass, DctSet, first_in
from iid_cl.memory.dct_code import WORD, band_sums, bits, table_bytes
from iid_cl.memory.dct_format import DctFormat, dequantise, exact, quantise
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.selection import Order
from iid_cl.memory.soft_labels import row_bytes, soft_bytes
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Storage, no_room

FINEST, COARSEST = 1.0, 4096.0  # steps; the coarsest leaves nothing but the mean of an image
LOST = 0.13  # share of the variance that is best given up, in a class with the bytes of one full-size image
SAMPLE = 512  # images that tell how many fit, or as many as have so many values
SAMPLE_VALUES = 2**24
HALVINGS = 10  # of the range of steps, on a logarithmic scale: to a thousandth


@dataclass(frozen=True)
class Dct(Storage):
    """Images as quantised cosine coefficients with an entropy code of their own.

    As many images as fit at ``step`` are stored, and then at the finest step that fills the bytes. So a class with few
    images has them in better quality, and images that cost more than expected become a little coarser.

    Attributes:
        step: grey levels, 1 to 4096; None: by :func:`step_for`.

    Raises:
        UserError: another step.
    """

    step: float | None = None

    partition = 1

    def __post_init__(self) -> None:
        if self.step is not None and not FINEST <= self.step <= COARSEST:
            raise UserError(f"memory.dct: {self.step} must be a step from {FINEST:g} to {COARSEST:g} grey levels.")

    @property
    def lossy(self) -> DctFormat:
        """Of a :meth:`suited` storage."""
        assert self.step is not None
        return DctFormat(self.step)

    def suited(self, images: Mapping[int, Tensor], space: Space) -> "Dct":
        return self if self.step is not None else Dct(step_for(images, space.room))

    def count(self, images: Mapping[int, Tensor], space: Space, soft_width: int = 0) -> int:
        """The mean of the classes: whose images are more costly has them at a coarser step."""
        step = self.suited(images, space).lossy.step
        counts = [_fitting(exact(_sample(members)), step, space.room, soft_width) for members in images.values()]
        if not min(counts):
            raise no_room(space.budget, space.room)
        return sum(counts) // len(counts)

    def store(self, images: Mapping[int, Tensor], order: Order, space: Space, soft_width: int = 0) -> DctSet:
        nominal = self.suited(images, space).lossy.step
        old = space.old.coded() if isinstance(space.old, DctSet) else {}
        before = space.old.coefficients() if isinstance(space.old, DctSet) else {}
        by_class = {}
        for label, members in images.items():
            step = old[label].step if label in old else nominal
            count = min(len(members), _fitting(exact(_sample(members)), step, space.room, soft_width))
            if not count:
                raise no_room(space.budget, space.room)
            best = order(label, count)
            if label not in old:
                by_class[label] = fill(exact(members[best]), space, soft_width)
                continue
            # what is stored of a class is neither decoded nor coded anew, which would lose more of it
            kept = before[label]
            steps = torch.cat([kept.double(), quantise(exact(members[len(kept) :]), step)])[best]
            fitting = first_in(steps, step, space.room, soft_width)
            if not fitting:
                raise no_room(space.budget, space.room)
            by_class[label] = CodedClass.of(steps[:fitting], step)
        return self._set(by_class, images)

    def keep(self, distilled: ExemplarSet, space: Space, soft_width: int = 0) -> DctSet:
        """Keeps all images."""
        images = distilled.by_class()
        by_class = {label: fill(exact(members), space, soft_width) for label, members in images.items()}
        return replace(self._set(by_class, images), metadata=distilled.metadata)

    def join(
        self, distilled: ExemplarSet, real: Mapping[int, Tensor], order: Order, rest: int, space: Space, soft_width: int
    ) -> DctSet:
        """Puts distilled images first, then the real ones after those that distilled images start from."""
        mixed = {}
        for label, images in distilled.by_class().items():
            best = order(label, min(len(images) + rest, len(real[label])))
            mixed[label] = torch.cat([images, real[label][best[len(images) :]]])
        return self.keep(ExemplarSet.from_classes(mixed, distilled.metadata), space, soft_width)

    def describe(self) -> dict[str, Any]:
        return {"dct": "auto" if self.step is None else self.step}

    def _set(self, by_class: Mapping[int, CodedClass], images: Mapping[int, Tensor]) -> DctSet:
        channels, height, width = next(iter(images.values())).shape[1:]
        return DctSet.from_classes(by_class, (channels, height, width))


def step_for(images: Mapping[int, Tensor], room: int) -> float:
    """The step that suits a class with ``room`` bytes, from a few uint8 images (n_c, C, H, W) of some classes.

    It is the step at which a certain share of the images' variance is lost. More bytes are best spent on more images
    and on better ones, both: the share falls with the cube root of the bytes of a class in those of a full-size image
    (docs/results.md).
    """
    coefficients = torch.cat([exact(_sample(members, len(images))) for members in images.values()])
    variance = float((coefficients - coefficients.mean(0)).square().mean())
    bearable = LOST * (room / images[next(iter(images))][0].numel()) ** (-1 / 3) * variance
    finest, coarsest = FINEST, COARSEST
    for _ in range(HALVINGS):
        step = (finest * coarsest) ** 0.5
        lost = float((dequantise(quantise(coefficients, step), step) - coefficients).square().mean())
        finest, coarsest = (step, coarsest) if lost <= bearable else (finest, step)
    return finest


def _fitting(coefficients: Tensor, step: float, room: int, soft_width: int) -> int:
    """Number of images that fit at a step, by a sample of a class; 1 where one fits at a coarser step."""
    label = row_bytes(soft_width)
    each = float(_bits(coefficients, step).mean()) / 8 + label
    left = room - _fixed(tuple(coefficients.shape)) - soft_bytes(0, soft_width)
    if left >= each:
        return int(left / max(each, 1 / 8))
    return int(left - label >= float(_bits(coefficients[:1], COARSEST).sum()) / 8)


def fill(coefficients: Tensor, space: Space, soft_width: int = 0) -> CodedClass:
    """A class's coefficients (N, P, R, S, h, w) at the finest step with which they fit into ``space.room`` bytes.

    Raises:
        UserError: they fit at none.
    """
    room = space.room - soft_bytes(len(coefficients), soft_width)
    fixed = _fixed(tuple(coefficients.shape))

    def expected(step: float) -> float:
        return fixed + float(_bits(coefficients, step).sum()) / 8

    step, coarsest = FINEST, COARSEST
    if expected(step) > room:
        for _ in range(HALVINGS):
            middle = (step * coarsest) ** 0.5
            step, coarsest = (step, middle) if expected(middle) <= room else (middle, coarsest)
        step = coarsest
    while step <= COARSEST:
        step = float(torch.tensor(step, dtype=torch.float32))  # as it is stored
        coded = CodedClass.of(quantise(coefficients, step), step)
        if coded.nbytes <= room:
            return coded
        step *= 1.005
    raise no_room(space.budget, space.room)


def _bits(coefficients: Tensor, step: float) -> Tensor:
    return bits(band_sums(quantise(coefficients, step)), tuple(coefficients.shape))


def _fixed(shape: tuple[int, ...]) -> int:
    """Bytes of a class besides its images' own bits."""
    return CLASS_BYTES + table_bytes(shape) + WORD.itemsize


def _sample(images: Tensor, classes: int | None = None) -> Tensor:
    """A few images, evenly spaced: enough to tell how many fit, or a class's part of those of several classes."""
    most = min(SAMPLE, SAMPLE_VALUES // max(1, images[:1].numel()))
    most = max(1, most if classes is None else most // classes + 1)
    return images if len(images) <= most else images[torch.arange(most) * len(images) // most]
