"""The entropy code of quantised coefficients: a range code with a few tables of the images' own.

Coefficients of similar frequency form a band. Within a band of a plane they are coded as independent draws from a
two-sided geometric distribution, whose mean magnitude takes a byte. Images of a class are coded together.
"""

from dataclasses import dataclass
from functools import lru_cache

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BAND_ENDS = (1, 2, 3, 4, 5, 7, 9, 12, 16, 22, 30, 42)  # the sum of both frequencies below which a band ends
OCTAVE = (1.0, 1.0905077326652577, 1.189207115002721, 1.2968395546510096,
          1.4142135623730951, 1.542210825407941, 1.681792830507429, 1.8340080864093424)  # fmt: skip  # 2 ** (k / 8)
MIDDLE = 128  # the byte of a mean magnitude of 1; 0 stands for a band of zeros
WORD = np.dtype("<u4")  # of the range code


@dataclass(frozen=True)
class Code:
    """The coded images of a class.

    Attributes:
        table: uint8 (P * B,), the mean magnitude in each band of each plane.
        peak: the largest magnitude.
        data: the range code.
    """

    table: Tensor
    peak: int
    data: bytes


def table_bytes(shape: tuple[int, ...]) -> int:
    """Bytes of the table of coefficients (N, P, R, S, h, w)."""
    return shape[1] * _bands(shape[4], shape[5])[1]


def band_sums(steps: Tensor) -> Tensor:
    """Summed magnitudes (N, P, B) in each band of whole numbers of steps (N, P, R, S, h, w), float64."""
    where, count = _bands(steps.shape[4], steps.shape[5])
    magnitudes = steps.abs().sum((2, 3), dtype=torch.float64).flatten(2)
    sums = torch.zeros(*magnitudes.shape[:2], count, dtype=torch.float64, device=steps.device)
    return sums.index_add_(2, where.flatten().to(steps.device), magnitudes)


def bits(sums: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Bits of each image, (N,), under the table that fits them, by their :func:`band_sums`; ``shape`` as coded."""
    places = _places(shape)
    table = _table(sums.mean(0) / places)
    ratio = torch.from_numpy(_ratios(table.numpy())).view(sums.shape[1:])
    none, more = -((1 - ratio) / (1 + ratio)).log2(), -ratio.log2()
    used = table.view(sums.shape[1:]) > 0
    return (torch.where(used, places * none, 0.0) + torch.where(used, sums * more, 0.0)).sum((1, 2))


def encode(steps: Tensor) -> Code:
    """The code of whole numbers of steps (N, P, R, S, h, w)."""
    where = _bands(steps.shape[4], steps.shape[5])[0]
    table = _table(band_sums(steps).mean(0) / _places(tuple(steps.shape)))
    values, peak = steps.to(torch.int32), int(steps.abs().max())
    encoder = constriction.stream.queue.RangeEncoder()
    for number, (plane, band) in enumerate(_order(steps.shape)):
        if table[number]:
            symbols = values[:, plane, :, :, where == band].flatten() + peak
            encoder.encode(symbols.numpy(), _model(int(table[number]), peak))
    return Code(table, peak, encoder.get_compressed().astype(WORD).tobytes())


def decode(code: Code, shape: tuple[int, ...]) -> Tensor:
    """Whole numbers of steps of ``shape``, int16.

    Raises:
        ValueError: no such code.
    """
    where = _bands(shape[4], shape[5])[0]
    steps = torch.zeros(shape, dtype=torch.int16)
    if len(code.data) % WORD.itemsize or len(code.table) != table_bytes(shape):
        raise ValueError("its codes are of another length")
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(code.data, WORD).astype(np.uint32))
    for number, (plane, band) in enumerate(_order(shape)):
        if code.table[number]:
            place = where == band
            count = shape[0] * shape[2] * shape[3] * int(place.sum())
            try:
                symbols = decoder.decode(_model(int(code.table[number]), code.peak), count)
            except AssertionError as error:  # bytes that no encoder wrote
                raise ValueError(f"its codes are damaged ({error})") from None
            values = torch.from_numpy(symbols.astype(np.int16)) - code.peak
            steps[:, plane, :, :, place] = values.view(shape[0], shape[2], shape[3], -1)
    return steps


def _order(shape: tuple[int, ...] | torch.Size) -> list[tuple[int, int]]:
    """Planes and bands in the order of the code."""
    return [(plane, band) for plane in range(shape[1]) for band in range(_bands(shape[4], shape[5])[1])]


def _places(shape: tuple[int, ...]) -> Tensor:
    """Number of coefficients of an image in each band of a plane, (B,), float64."""
    where, count = _bands(shape[4], shape[5])
    return where.flatten().bincount(minlength=count).double() * shape[2] * shape[3]


def _table(means: Tensor) -> Tensor:
    """The bytes of mean magnitudes."""
    eighths = (means.clamp_min(1e-30).log2() * 8).round() + MIDDLE
    return torch.where(means > 0, eighths.clamp(1, 255), 0).to(torch.uint8).flatten().cpu()


def _ratios(table: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The ratio of the probabilities of one magnitude and the one below, by a table's bytes.

    Only operations whose results are the same on every machine.
    """
    exponent = table.astype(np.int64) - MIDDLE
    mean = np.ldexp(np.array(OCTAVE)[exponent % 8], exponent // 8)
    ratios: NDArray[np.float64] = mean / (1 + np.sqrt(1 + mean * mean))
    return ratios


@lru_cache(512)
def _model(byte: int, peak: int) -> constriction.stream.model.Categorical:
    """The distribution of -peak to peak."""
    ratio = float(_ratios(np.array([byte], np.uint8))[0])
    powers = np.multiply.accumulate(np.concatenate([[1.0], np.full(peak, ratio)]))
    probabilities = np.concatenate([powers[:0:-1], powers])
    return constriction.stream.model.Categorical(probabilities, perfect=False)


@lru_cache
def _bands(height: int, width: int) -> tuple[Tensor, int]:
    """The band of each coefficient, (h, w), and the number of bands."""
    sums = torch.arange(height)[:, None] + torch.arange(width)
    where = torch.bucketize(sums, torch.tensor(BAND_ENDS), right=True)
    return where, int(where.max()) + 1
