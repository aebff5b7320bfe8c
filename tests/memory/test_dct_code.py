"""The entropy code: nothing is lost, lengths are near the entropy, and damaged bytes are refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from iid_cl.memory.dct_code import MIDDLE, Code, _bands, band_sums, bits, decode, encode, table_bytes

CODE = "16f51deb"  # of a few whole numbers, written by constriction 0.4.2 and 0.5.0


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


def test_the_length_is_the_entropy_of_what_is_coded() -> None:
    """Of one coefficient of few magnitudes: their empirical entropy, by its formula."""
    values = torch.tensor([0] * 8 + [1, -1] * 2 + [2, -2], dtype=torch.float64).repeat(300)
    steps = values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))].view(-1, 1, 1, 1, 1, 1)
    entropy = (8 * math.log2(14 / 8) + 4 * math.log2(14 / 2) + 2 * math.log2(14)) * 300 / 8  # bytes
    assert entropy < len(encode(steps).data) < 1.06 * entropy + 8


def test_the_code_is_the_same_in_every_version() -> None:
    """Of this project and of the library that codes: files have to stay readable."""
    steps = torch.tensor([3, -1, 0, 0, 2, 0, 1, 0, -5, 0, 0, 1], dtype=torch.float32).view(2, 1, 1, 1, 2, 3)
    code = encode(steps)
    assert (code.table.tolist(), code.peak, code.data.hex()) == ([136, 112, 134, 120], 5, CODE)
    assert torch.equal(decode(Code(code.table, 5, bytes.fromhex(CODE)), steps.shape).float(), steps)


@pytest.mark.parametrize("scale", [0.2, 2.0, 40.0])
def test_expected_bits_are_the_bytes_of_the_code(scale: float) -> None:
    steps = laplacian(60, 3, 1, 1, 16, 16, scale=scale)
    expected = float(bits(band_sums(steps), tuple(steps.shape)).sum()) / 8
    assert len(encode(steps).data) == pytest.approx(expected, rel=0.01, abs=8)


def test_bands_group_similar_frequencies() -> None:
    where, count = _bands(32, 32)
    assert count == 13
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
