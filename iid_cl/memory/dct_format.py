"""Images as quantised cosine coefficients: the transform, what it loses, and how changes become cheap to store."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

BLOCK = 32  # pixels a side at most: smaller images are one block, larger ones are divided evenly
# From red, green and blue to luminance and two colour differences (ITU-R BT.601, full range).
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
COLOUR_STEP = 1.5  # steps of colour differences, in steps of luminance
ROUNDING = 0.38  # part of a step from which on a coefficient is rounded up; below 1/2, zeros are more and cost less
GREY = 128.0  # the level from which coefficients count


@dataclass(frozen=True)
class DctFormat:
    """Cosine coefficients in steps, for ``distill(as_stored=)``.

    Attributes:
        step: grey levels of 0 to 255, of an orthonormal transform.
        sparsity: steps, 0 or more, by which changes become sparser over a distillation at a constant learning rate;
            half as many under the cosine schedule.
    """

    step: float
    sparsity: float = 0.75

    def read_back(self, images: Tensor) -> Tensor:
        """Uint8 images (N, C, H, W) as they are read back, on their device."""
        return pictures(quantise(transform(images.float()), self.step), self.step, (images.shape[2], images.shape[3]))

    def sparser(self, changes: Tensor, share: float = 1.0) -> Tensor:
        """Changes of images with fewer coefficients, each of which costs bytes.

        Coefficients move toward zero by ``share`` of ``sparsity`` steps, and smaller ones become zero: soft
        thresholding, the proximal step of a weighted L1 penalty (Daubechies, Defrise and De Mol, Comm. Pure Appl.
        Math. 57, 2004).

        Args:
            changes: (N, C, H, W) floating point, in grey levels of 0 to 255.
            share: of a whole distillation, from 0 to 1.
        """
        coefficients = transform(changes, origin=0.0)
        steps = share * self.sparsity * _steps(self.step, coefficients)
        coefficients = coefficients.sign() * (coefficients.abs() - steps).clamp_min(0)
        return restore(coefficients, (changes.shape[2], changes.shape[3]), origin=0.0).to(changes.dtype)


def transform(images: Tensor, origin: float = GREY) -> Tensor:
    """Cosine coefficients (N, P, R, S, h, w) of floating-point images (N, C, H, W): R x S blocks of each of P planes.

    Colour images have a plane of luminance and two of colour differences; otherwise each channel is a plane. Sides that
    blocks don't divide are continued by their last pixels.
    """
    channels, height, width = images.shape[1:]
    planes = torch.einsum("pc,nchw->nphw", _colours(channels)[0].to(images), images)
    planes[:, : 1 if channels == 3 else channels] -= origin
    (rows, h), (columns, w) = _divided(height), _divided(width)
    planes = torch.nn.functional.pad(planes, (0, columns * w - width, 0, rows * h - height), mode="replicate")
    blocks = planes.unflatten(3, (columns, w)).unflatten(2, (rows, h)).transpose(3, 4)
    coefficients: Tensor = _cosines(h).to(images) @ blocks @ _cosines(w).to(images).T
    return coefficients


def exact(images: Tensor) -> Tensor:
    """:func:`transform` of uint8 images in float64, so that every machine and every batch rounds to the same steps."""
    return transform(images.double())


def coded_shape(count: int, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Shape of the coefficients of ``count`` images of ``shape`` (C, H, W)."""
    (rows, height), (columns, width) = _divided(shape[1]), _divided(shape[2])
    return count, shape[0], rows, columns, height, width


def restore(coefficients: Tensor, size: tuple[int, int], origin: float = GREY) -> Tensor:
    """Images (N, C, H, W) of coefficients, see :func:`transform`; ``size`` is (H, W)."""
    height, width = coefficients.shape[4:]
    blocks = _cosines(height).to(coefficients).T @ coefficients @ _cosines(width).to(coefficients)
    planes = blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)[..., : size[0], : size[1]].clone()
    channels = planes.shape[1]
    planes[:, : 1 if channels == 3 else channels] += origin
    return torch.einsum("cp,nphw->nchw", _colours(channels)[1].to(planes), planes)


def quantise(coefficients: Tensor, step: float) -> Tensor:
    """Whole numbers of steps, in the type of ``coefficients``."""
    ratio = coefficients / _steps(step, coefficients)
    return ratio.sign() * (ratio.abs() + ROUNDING).floor()


def dequantise(steps: Tensor, step: float) -> Tensor:
    """Coefficients of whole numbers of steps."""
    return steps * _steps(step, steps)


def pictures(steps: Tensor, step: float, size: tuple[int, int]) -> Tensor:
    """Uint8 images (N, C, H, W) of whole numbers of steps (N, P, R, S, h, w), floating point."""
    images = restore(dequantise(steps, step), size)
    return images.round().clamp(0, 255).to(torch.uint8)


def _steps(step: float, like: Tensor) -> Tensor:
    """The step of each plane, to be broadcast."""
    planes = like.shape[1]
    factors = [1.0, COLOUR_STEP, COLOUR_STEP] if planes == 3 else [1.0] * planes
    return torch.tensor(factors, dtype=like.dtype, device=like.device)[:, None, None, None, None] * step


def _divided(side: int) -> tuple[int, int]:
    """Number and length of the blocks along a side."""
    count = -(-side // BLOCK)
    return count, -(-side // count)


@lru_cache
def _colours(channels: int) -> tuple[Tensor, Tensor]:
    """From an image's channels to planes, and back, each (channels, channels)."""
    matrix = torch.tensor(YCBCR, dtype=torch.float64) if channels == 3 else torch.eye(channels, dtype=torch.float64)
    return matrix, torch.linalg.inv(matrix)


@lru_cache
def _cosines(length: int) -> Tensor:
    """The orthonormal cosine transform of a row, (length, length)."""
    k = torch.arange(length, dtype=torch.float64)
    matrix = torch.cos((2 * k + 1) * k[:, None] * math.pi / (2 * length)) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix
