"""The entropy code: nothing is lost, lengths are near the entropy, and damaged bytes are refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from iid_cl.memory.dct_code import MIDDLE, Code, band_sums, bands, bits, decode, encode, table_bytes


def laplacian(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    draws = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    return (-draws.sign() * (1 - 2 * draws.abs()).log() * scale).round()


@given(
    st.sampled_from([(1, 1, 1, 1, 8, 8), (3, 3, 1, 1, 5, 9), (2, 2, 2, 3, 4, 4), (7, 1, 1, 1, 1, 1)]),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.05, 1.0, 300.0]),
)
def test_nothing_is_lost(shape: tuple[int, ...], seed: int, scale: float) -> None:
    steps = laplacian(*shape, seed=seed, scale=scale)
    code = encode(steps)
    assert len(code.table) == table_bytes(shape)
    assert torch.equal(decode(code, shape), steps.to(torch.int16))


def test_zeros_cost_nothing() -> None:
    code = encode(torch.zeros(50, 3, 1, 1, 32, 32))
    assert (code.data, code.peak, int(code.table.max())) == (b"", 0, 0)


def test_the_length_is_the_entropy_of_a_geometric_distribution() -> None:
    """Of a band that holds draws of one two-sided geometric distribution, by its formula."""
    steps = torch.zeros(4000, 1, 1, 1, 2, 1)
    ratio = 0.5
    draws = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    magnitude = torch.floor(draws.log() / math.log(ratio))
    sign = torch.where(torch.arange(4000) % 2 == 0, 1.0, -1.0)
    # P(k) = (1 - r) / (1 + r) r^|k|: zero magnitudes of one sign are drawn again as a share r / (1 + r) of all
    values = torch.where((magnitude == 0) & (sign < 0) & (draws > 0.75), magnitude, magnitude * sign)
    steps[:, 0, 0, 0, 0, 0] = values
    counts = torch.stack([values == v for v in values.unique()]).sum(1).double() / len(values)
    entropy = float(-(counts * counts.log2()).sum()) * len(values) / 8
    assert entropy < len(encode(steps).data) < 1.06 * entropy + 8


@pytest.mark.parametrize("scale", [0.2, 2.0, 40.0])
def test_expected_bits_are_the_bytes_of_the_code(scale: float) -> None:
    steps = laplacian(60, 3, 1, 1, 16, 16, scale=scale)
    expected = float(bits(band_sums(steps), tuple(steps.shape)).sum()) / 8
    assert len(encode(steps).data) == pytest.approx(expected, rel=0.01, abs=8)


def test_bands_group_similar_frequencies() -> None:
    where = bands(32, 32)
    assert (int(where[0, 0]), int(where[0, 1]), int(where[1, 0]), int(where[31, 31])) == (0, 1, 1, 12)
    assert bool((where.flip(1).diff(dim=1) <= 0).all())  # rising frequencies, rising bands
    assert torch.equal(where, where.T)


def test_a_table_names_mean_magnitudes_in_eighths_of_octaves() -> None:
    steps = torch.zeros(8, 1, 1, 1, 1, 1)
    steps[:2] = 4.0  # a mean of 1
    assert encode(steps).table.tolist() == [MIDDLE]
    steps[:4] = 4.0  # a mean of 2
    assert encode(steps).table.tolist() == [MIDDLE + 8]


def test_damaged_bytes_are_refused_or_decode_to_something_of_the_shape() -> None:
    shape = (9, 3, 1, 1, 16, 16)
    code = encode(laplacian(*shape))
    refused = 0
    for place in range(0, len(code.data), 7):
        data = bytearray(code.data)
        data[place] ^= 0xFF
        try:
            assert decode(Code(code.table, code.peak, bytes(data)), shape).shape == shape
        except ValueError:
            refused += 1
    assert refused > 0
    for wrong in (Code(code.table, code.peak, code.data[:-1]), Code(code.table[:-1], code.peak, code.data)):
        with pytest.raises(ValueError, match="another length"):
            decode(wrong, shape)
