"""Cosine coefficients of images: the transform, its steps, and what reading back loses."""

import math

import pytest
import torch
from torch import Tensor

from iid_cl.memory.dct_format import COLOUR_STEP, DctFormat, coded_shape, exact, pictures, quantise, restore, transform


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        ((1, 8, 8), (1, 1, 8, 8)),
        ((3, 28, 32), (1, 1, 28, 32)),
        ((3, 33, 64), (2, 2, 17, 32)),  # two blocks of 17 rows hold 33
        ((4, 100, 5), (4, 1, 25, 5)),
    ],
)
def test_small_images_are_one_block_and_large_ones_are_divided_evenly(
    shape: tuple[int, int, int], blocks: tuple[int, ...]
) -> None:
    images = noise(2, *shape)
    coefficients = exact(images)
    assert tuple(coefficients.shape) == coded_shape(2, shape) == (2, shape[0], *blocks)
    assert torch.equal(restore(coefficients, shape[1:]).round().to(torch.uint8), images)


def test_the_coefficients_are_those_of_the_definition() -> None:
    """DCT-II, orthonormal, written out for one frequency of a grey image."""
    image = noise(1, 1, 4, 6)
    values = image[0, 0].double() - 128
    for u, v in ((0, 0), (1, 0), (3, 5)):
        scale = math.sqrt((1 if u == 0 else 2) / 4) * math.sqrt((1 if v == 0 else 2) / 6)
        expected = scale * sum(
            float(values[y, x]) * math.cos(math.pi * (2 * y + 1) * u / 8) * math.cos(math.pi * (2 * x + 1) * v / 12)
            for y in range(4)
            for x in range(6)
        )
        assert float(exact(image)[0, 0, 0, 0, u, v]) == pytest.approx(expected, abs=1e-9)


def test_grey_in_colour_has_no_colour_differences() -> None:
    grey = noise(2, 1, 8, 8).expand(-1, 3, -1, -1)
    assert float(exact(grey)[:, 1:].abs().max()) < 1e-3  # the standard's factors have six digits


def test_steps_are_rounded_towards_zero_a_little() -> None:
    values = torch.zeros(1, 1, 1, 1, 1, 6)
    values[0, 0, 0, 0, 0] = torch.tensor([6.1, 6.3, 16.1, 16.3, -6.1, -16.3])
    assert quantise(values, 10.0).flatten().tolist() == [0, 1, 1, 2, 0, -2]


def test_colour_differences_have_longer_steps() -> None:
    values = torch.full((1, 3, 1, 1, 1, 1), 30.0)
    assert quantise(values, 10.0).flatten().tolist() == [3, 30 / 10 / COLOUR_STEP, 2]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 40, 24), (2, 9, 9)])
def test_what_is_read_back_is_off_by_about_half_a_step(shape: tuple[int, int, int]) -> None:
    """The transform is orthonormal: the mean squared error of pixels is that of coefficients, at most 0.62 steps."""
    images = noise(4, *shape)
    for step in (2.0, 20.0):
        read = DctFormat(step).read_back(images)
        assert read.dtype == torch.uint8
        error = float((read.float() - images.float()).square().mean().sqrt())
        assert step / 5 < error < 0.62 * step * COLOUR_STEP * 1.8 + 0.5  # the way back to RGB enlarges errors


def test_reading_back_twice_changes_nothing_more() -> None:
    images = noise(4, 3, 16, 16).float().mul(0.5).add(64).to(torch.uint8)  # far from black and white
    once = DctFormat(16.0).read_back(images)
    steps = quantise(exact(images), 16.0)
    assert torch.equal(quantise(exact(once), 16.0), steps)
    assert torch.equal(pictures(steps, 16.0, (16, 16)), once)


def test_sparser_changes_have_smaller_coefficients() -> None:
    changes = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 20
    before, after = (transform(values, origin=0.0) for values in (changes, DctFormat(40.0, 0.5).sparser(changes, 0.1)))
    threshold = 0.1 * 0.5 * 40
    expected = before.sign() * (before.abs() - threshold).clamp_min(0)
    torch.testing.assert_close(after, expected, atol=1e-3, rtol=0)
    assert torch.equal(DctFormat(40.0, 0.0).sparser(torch.zeros(1, 3, 8, 8)), torch.zeros(1, 3, 8, 8))


@pytest.mark.gpu
def test_a_device_reads_back_the_same() -> None:
    images = noise(8, 3, 32, 32)
    here, there = DctFormat(60.0).read_back(images), DctFormat(60.0).read_back(images.cuda()).cpu()
    assert float((here.float() - there.float()).abs().mean()) < 0.05
