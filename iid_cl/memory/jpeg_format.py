"""JPEG as a distillation sees it: what it loses and what costs its bytes, on the images' device."""

import io
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from iid_cl.memory.jpeg import check_channels

BLOCK = 8  # pixels a side
# From red, green and blue to luminance and two colour differences (ITU-R BT.601, full range), as in JFIF files.
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
PASS = 4 * math.sqrt(BLOCK)  # libjpeg rounds between the two passes of a transform, at this scale


@dataclass(frozen=True)
class JpegFormat:
    """JPEG of a quality, for ``distill(as_stored=)``.

    Attributes:
        quality: from 1 to 95.
        sparsity: quantisation steps, 0 or more, by which changes become sparser over a distillation at a constant
            learning rate; half as many under the cosine schedule.
    """

    quality: int
    sparsity: float = 0.75

    def read_back(self, images: Tensor) -> Tensor:
        """Uint8 images (N, C, H, W), grey or colour, as they are read back from their files.

        Colour differences are stored at half the size, averaged, and enlarged linearly. What libjpeg rounds is rounded
        here. Its transform computes in integers, so that now and then a coefficient is rounded the other way: at
        quality 25 less than one pixel in a hundred is off by more than one grey level.

        Raises:
            JpegError: JPEG cannot hold the images.
        """
        channels, height, width = images.shape[1:]
        check_channels(channels)
        apart, together = (matrix.to(images.device, torch.float32) for matrix in _colours(channels))
        bright, coloured = _quantisation(self.quality).to(images.device)
        planes = torch.einsum("pc,nchw->nphw", apart, images.float()).round()
        read = _through(_padded(planes[:, :1] - 128, BLOCK, BLOCK), bright)[..., :height, :width]
        if channels == 3:
            # a file's blocks end in repeated pixels to the right, and in repeated halved rows below
            halved = functional.avg_pool2d(_padded(planes[:, 1:], 2, 2 * BLOCK), 2)
            halved = _padded((halved + _by_column(halved, 1 / 4, 1 / 2)).floor(), BLOCK, BLOCK)
            halved = _through(halved, coloured)[..., : -(-height // 2), : -(-width // 2)]
            enlarged = functional.interpolate(halved, scale_factor=2, mode="bilinear")[..., :height, :width]
            read = torch.cat([read, (enlarged + _by_column(enlarged, 8 / 16, 7 / 16)).floor()], dim=1)
        read[:, 0] += 128
        return torch.einsum("cp,nphw->nchw", together, read).round().clamp(0, 255).to(torch.uint8)

    def sparser(self, changes: Tensor, share: float = 1.0) -> Tensor:
        """Changes of images with fewer coefficients, each of which costs a file bytes.

        The coefficients of each block's cosine transform move toward zero by ``share`` of ``sparsity`` quantisation
        steps, and smaller ones become zero: soft thresholding, the proximal step of a weighted L1 penalty
        (Daubechies, Defrise and De Mol, Comm. Pure Appl. Math. 57, 2004). Colour differences are treated as if they
        were stored at full size.

        Args:
            changes: (N, C, H, W) floating point, in grey levels of 0 to 255, of grey (C = 1) or colour images.
            share: of a whole distillation, from 0 to 1.
        """
        channels, height, width = changes.shape[1:]
        apart, together = (matrix.to(changes) for matrix in _colours(channels))
        planes = torch.einsum("pc,nchw->nphw", apart, changes)
        blocks = _blocks(functional.pad(planes, (0, -width % BLOCK, 0, -height % BLOCK)))
        cosines = _cosines().to(changes)
        steps = share * self.sparsity * _quantisation(self.quality)[[0, 1, 1][:channels], None, None].to(changes)
        coefficients = cosines @ blocks @ cosines.T
        coefficients = coefficients.sign() * (coefficients.abs() - steps).clamp_min(0)
        planes = _joined(cosines.T @ coefficients @ cosines)[..., :height, :width]
        return torch.einsum("cp,nphw->nchw", together, planes)


def _through(planes: Tensor, steps: Tensor) -> Tensor:
    """Planes (N, P, H, W) of whole numbers from -128 to 127 and of whole blocks, after quantisation in steps (8, 8)."""
    cosines = _cosines().to(planes)
    across = (PASS * _blocks(planes) @ cosines.T).round()
    scaled = (cosines @ across * (BLOCK / PASS)).round()  # eight times the coefficients
    quantised = scaled.sign() * (scaled.abs() / (BLOCK * steps) + 0.5).floor() * steps
    down = (PASS * cosines.T @ quantised).round()
    return (_joined(down @ cosines / PASS) + 0.5).floor().clamp(-128, 127)


def _padded(planes: Tensor, rows: int, columns: int) -> Tensor:
    """Planes enlarged to multiples of ``rows`` and ``columns`` by repeating the last row and column."""
    return functional.pad(planes, (0, -planes.shape[3] % columns, 0, -planes.shape[2] % rows), mode="replicate")


def _blocks(planes: Tensor) -> Tensor:
    """(N, P, H, W) as (N, P, rows, columns, BLOCK, BLOCK)."""
    blocks: Tensor = planes.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)
    return blocks


def _joined(blocks: Tensor) -> Tensor:
    """Blocks as planes again."""
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def _by_column(planes: Tensor, even: float, odd: float) -> Tensor:
    """A value for even columns and a value for odd ones, (W,): libjpeg rounds so that the mean stays."""
    return torch.where(torch.arange(planes.shape[3], device=planes.device) % 2 == 0, even, odd)


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
