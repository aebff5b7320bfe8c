"""What JPEG loses and what costs its bytes, against SciPy's cosine transform and the files themselves."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from iid_cl.memory.jpeg import encode, through_jpeg
from iid_cl.memory.jpeg_format import JpegFormat

# Annex K of the standard, for luminance: quality 50; at quality 25 steps are twice as large.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


def noise(count=3, channels=1, height=16, width=24, scale=40.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, channels, height, width, generator=generator, dtype=torch.float64)


def test_images_are_read_back_as_from_files():
    images = torch.randint(256, (2, 3, 12, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    assert torch.equal(JpegFormat(40).read_back(images), through_jpeg(images, 40))


@pytest.mark.parametrize(("quality", "scale"), [(50, 1), (25, 2)])
def test_coefficients_move_toward_zero_by_so_many_steps(quality, scale):
    changes = noise()
    sparser = JpegFormat(quality).sparser(changes, 0.7).numpy()
    for image, found in zip(changes.numpy()[:, 0], sparser[:, 0], strict=True):
        for y in range(0, 16, 8):
            for x in range(0, 24, 8):
                before, after = (dctn(each[y : y + 8, x : x + 8], norm="ortho") for each in (image, found))
                wanted = np.sign(before) * np.maximum(np.abs(before) - 0.7 * scale * LUMINANCE, 0)
                np.testing.assert_allclose(after, wanted, atol=1e-4)
                assert 0 < (wanted == 0).mean() < 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 24), (13, 7), (28, 28)], ids=str)
def test_no_steps_change_nothing_and_many_leave_nothing(channels, size):
    changes = noise(2, channels, *size)
    torch.testing.assert_close(JpegFormat(25).sparser(changes, 0.0), changes, atol=1e-3, rtol=0)
    assert JpegFormat(25).sparser(changes, 1e4).abs().max() < 1e-6
    assert torch.equal(JpegFormat(25).sparser(0 * changes, 1.0), 0 * changes)


def test_images_do_not_depend_on_each_other():
    changes = noise(3, 3)
    alone = torch.cat([JpegFormat(25).sparser(change[None], 0.3) for change in changes])
    torch.testing.assert_close(JpegFormat(25).sparser(changes, 0.3), alone)


def test_grey_changes_of_colour_images_are_those_of_grey_ones():
    """Then there are no colour differences."""
    changes = noise(2, 1)
    grey = JpegFormat(25).sparser(changes, 0.5)
    found = JpegFormat(25).sparser(changes.expand(-1, 3, -1, -1), 0.5)
    torch.testing.assert_close(found, grey.expand(-1, 3, -1, -1), rtol=0, atol=1e-5)


def test_changes_of_colour_alone_are_held_to_the_coarser_steps_of_colour():
    """Such a change leaves the luminance as it is."""
    wave = 30.0 * torch.cos(torch.arange(16, dtype=torch.float64) * torch.pi / 4).expand(1, 1, 16, 16)
    colour = wave * torch.tensor([1.0, 0.0, -0.299 / 0.114], dtype=torch.float64)[:, None, None]
    grey = wave.expand(1, 3, 16, 16)
    kept = [float(JpegFormat(25).sparser(each, 0.5).norm() / each.norm()) for each in (grey, colour)]
    assert 0 < kept[1] < kept[0] < 1


@pytest.mark.parametrize("channels", [1, 3])
def test_sparser_changes_make_smaller_files(channels):
    """Changes of smooth pictures by noise, as a distillation makes them."""
    picture = torch.linspace(40, 200, 32, dtype=torch.float64).expand(4, channels, 32, 32)
    sizes = []
    for amount in (0.0, 0.5, 2.0):
        images = picture + JpegFormat(25).sparser(noise(4, channels, 32, 32, scale=15.0), amount)
        sizes.append(sum(map(len, encode(images.round().clamp(0, 255).to(torch.uint8), 25))))
    assert sizes[0] > sizes[1] > sizes[2]
