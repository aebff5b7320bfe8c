"""JPEG as a distillation sees it: what it loses, and what costs its bytes."""

import io
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from iid_cl.memory.jpeg import through_jpeg

BLOCK = 8  # pixels a side
# From red, green and blue to luminance and two colour differences (ITU-R BT.601, full range), as in JFIF files.
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclass(frozen=True)
class JpegFormat:
    """JPEG of a quality from 1 to 95, for ``distill(as_stored=)``."""

    quality: int

    def read_back(self, images: Tensor) -> Tensor:
        """Uint8 images (N, C, H, W), grey or colour, as they are read back from their files.

        Raises:
            JpegError: JPEG cannot hold the images.
        """
        return through_jpeg(images, self.quality)

    def sparser(self, changes: Tensor, amount: float) -> Tensor:
        """Changes of images with fewer coefficients in them, of which each costs a file bytes.

        The coefficients of each block's cosine transform move toward zero by ``amount`` quantisation steps, and those
        that are smaller become zero: soft thresholding, the proximal step of a weighted L1 penalty (Daubechies, Defrise
        and De Mol, Comm. Pure Appl. Math. 57, 2004). That colour differences are kept at half the size is passed over.

        Args:
            changes: (N, C, H, W) floating point, in grey levels of 0 to 255, of grey (C = 1) or colour images.
            amount: 0 or more.
        """
        channels, height, width = changes.shape[1:]
        apart, together = (matrix.to(changes) for matrix in _colours(channels))
        planes = torch.einsum("pc,nchw->nphw", apart, changes)
        planes = functional.pad(planes, (0, -width % BLOCK, 0, -height % BLOCK))
        # (N, C, rows, columns, BLOCK, BLOCK)
        blocks = planes.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)
        cosines = _cosines().to(changes)
        steps = amount * _quantisation(self.quality)[[0, 1, 1][:channels], None, None].to(changes)
        found = cosines @ blocks @ cosines.T
        found = found.sign() * (found.abs() - steps).clamp_min(0)
        planes = (cosines.T @ found @ cosines).transpose(3, 4).flatten(4, 5).flatten(2, 3)[..., :height, :width]
        return torch.einsum("cp,nphw->nchw", together, planes)


@lru_cache
def _colours(channels: int) -> tuple[Tensor, Tensor]:
    """From an image's channels to the planes that JPEG keeps, and back, each (channels, channels)."""
    matrix = torch.tensor(YCBCR if channels == 3 else [[1.0]], dtype=torch.float64)
    return matrix, torch.linalg.inv(matrix)


@lru_cache
def _quantisation(quality: int) -> Tensor:
    """The steps of luminance and of colour differences, (2, 8, 8), lowest frequencies first."""
    file = io.BytesIO()
    Image.new("RGB", (BLOCK, BLOCK)).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        tables: dict[int, list[int]] = picture.quantization  # type: ignore[attr-defined]  # of a JPEG
    return torch.tensor([tables[0], tables[1]], dtype=torch.float32).view(2, BLOCK, BLOCK)


@lru_cache
def _cosines() -> Tensor:
    """The orthonormal cosine transform of a row of eight, (8, 8)."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    matrix = torch.cos((2 * k + 1) * k[:, None] * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix
