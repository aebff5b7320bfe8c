"""The synthetic images: how they start, how networks see them, and how they are stored."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from iid_cl.distill.job import DistillJob
from iid_cl.distill.sampling import ClassSampler
from iid_cl.memory.partition import pack


class SyntheticImages:
    """The normalised images (K, M, C, H, W) of all classes of a job, which the optimizer moves.

    Args:
        job: number, stored format and initial values of the images.
        sampler: draws the initial images if the job brings none.

    Attributes:
        pixels: the images, a leaf tensor that requires a gradient.
    """

    def __init__(self, job: DistillJob, sampler: ClassSampler) -> None:
        self._normalization, self._format = job.lens.normalization, job.as_stored
        self._classes = sorted(job.classes.images)
        start = job.classes.start
        first = sampler.initial(job.shown) if start is None else _first(start, self._classes, job.shown)
        real = job.lens.show(first).flatten(0, 1)
        packed = pack(real, job.config.factor).unflatten(0, (len(self._classes), job.ipc))
        self.pixels: Tensor = packed.requires_grad_()
        self._black, self._white = self._normalization.limits(job.lens.device)
        with torch.no_grad():
            self._clamp()
        self._start = self.pixels.detach().clone() if self._format is not None else None

    def read_back(self) -> Tensor:
        """The images as networks will see them after storing and reading."""
        if self._format is None:
            return self.pixels
        images = self._format.read_back(self._normalization.invert(self.pixels.detach().flatten(0, 1)))
        read_back: Tensor = self._normalization.apply(images).view_as(self.pixels)
        return read_back

    @torch.no_grad()
    def settle(self, share: float) -> None:
        """Limits the images to what can be stored, after a step.

        Args:
            share: the step's share of the whole distillation. A lossy format drops that part of its work now: changes
                since the start that matter little for the bytes they cost.
        """
        if self._format is not None and self._start is not None:
            grey = 255 / (self._white - self._black)
            changes = ((self.pixels - self._start) * grey).flatten(0, 1)
            self.pixels.copy_(self._start + self._format.sparser(changes, share).view_as(self._start) / grey)
        self._clamp()

    def _clamp(self) -> None:
        self.pixels.clamp_(self._black, self._white)  # storage knows nothing below black or above white

    def broken(self) -> int | None:
        """The first class with NaN or infinite pixels; None if all are finite."""
        rows = (~self.pixels.detach().flatten(1).isfinite().all(1)).nonzero()
        return self._classes[int(rows[0])] if len(rows) else None

    def by_class(self) -> dict[int, Tensor]:
        """uint8 images (M, C, H, W) of each class, on the CPU."""
        images = self._normalization.invert(self.pixels.detach()).cpu()
        return dict(zip(self._classes, images, strict=True))


def _first(images_by_class: Mapping[int, Tensor], classes: Sequence[int], count: int) -> Tensor:
    """The first ``count`` images of each class (K, count, C, H, W), repeated if there are fewer."""
    return torch.stack([images_by_class[c][torch.arange(count) % len(images_by_class[c])] for c in classes])
