"""What JPEG loses and what costs its bytes, against SciPy's cosine transform and the files themselves."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch.nn import functional

from iid_cl.memory.jpeg import JpegError, decode, encode
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


def pictures(count, *shape, seed=3):
    """Soft shapes with a little noise, uint8."""
    generator = torch.Generator().manual_seed(seed)
    soft = functional.interpolate(torch.rand(count, shape[0], 5, 5, generator=generator), shape[1:], mode="bilinear")
    grain = 20 * torch.randn(count, *shape, generator=generator)
    return (255 * soft + grain).clamp(0, 255).to(torch.uint8)


def off(images, quality, device="cpu"):
    """Grey levels between what is read back and what Pillow reads from its own files."""
    found = JpegFormat(quality).read_back(images.to(device))
    assert (found.dtype, found.device.type) == (torch.uint8, device)
    files = torch.stack([decode(file, tuple(images.shape[1:])) for file in encode(images, quality)])
    return (files.float() - found.cpu().float()).abs()


@pytest.mark.parametrize("quality", [10, 25, 60])
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 28, 30), (3, 13, 7), (3, 1, 1), (1, 28, 28), (1, 9, 17)], ids=str)
def test_images_are_read_back_as_from_files(shape, quality):
    """But for single coefficients on the edge of a rounding."""
    levels = off(pictures(60, *shape), quality)
    assert levels.mean() < 0.2
    assert (levels > 1).float().mean() < 0.04
    assert (levels == 0).float().mean() > 0.85


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_read_back_on_a_gpu(channels):
    assert (off(pictures(60, channels, 28, 30), 25, "cuda") > 1).float().mean() < 0.04


def test_an_image_of_one_grey_is_read_back_as_it_is():
    grey = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    assert (JpegFormat(95).read_back(grey).int() - grey.int()).abs().max() <= 1
    assert torch.equal(JpegFormat(25).read_back(grey)[:, 0, 0, 0], JpegFormat(25).read_back(grey)[:, 0, 5, 7])


def test_two_channels_are_refused():
    with pytest.raises(JpegError, match="grey or colour images, not 2 channels"):
        JpegFormat(25).read_back(torch.zeros(1, 2, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(("quality", "scale"), [(50, 1), (25, 2)])
def test_coefficients_move_toward_zero_by_so_many_steps(quality, scale):
    changes = noise()
    sparser = JpegFormat(quality, 0.7).sparser(changes).numpy()
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
    torch.testing.assert_close(JpegFormat(25, 0.0).sparser(changes), changes, atol=1e-3, rtol=0)
    assert JpegFormat(25, 1e4).sparser(changes).abs().max() < 1e-6
    assert torch.equal(JpegFormat(25, 1.0).sparser(0 * changes), 0 * changes)


def test_changes_become_sparser_by_a_share():
    changes = noise()
    slow = JpegFormat(25, 0.6).sparser(changes, share=0.5)
    torch.testing.assert_close(slow, JpegFormat(25, 0.3).sparser(changes, share=1.0))
    assert not torch.allclose(slow, JpegFormat(25, 0.6).sparser(changes, share=1.0))


def test_images_do_not_depend_on_each_other():
    changes = noise(3, 3)
    alone = torch.cat([JpegFormat(25, 0.3).sparser(change[None]) for change in changes])
    torch.testing.assert_close(JpegFormat(25, 0.3).sparser(changes), alone)


def test_grey_changes_of_colour_images_are_those_of_grey_ones():
    """Then there are no colour differences."""
    changes = noise(2, 1)
    grey = JpegFormat(25, 0.5).sparser(changes)
    found = JpegFormat(25, 0.5).sparser(changes.expand(-1, 3, -1, -1))
    torch.testing.assert_close(found, grey.expand(-1, 3, -1, -1), rtol=0, atol=1e-5)


def test_changes_of_colour_alone_are_held_to_the_coarser_steps_of_colour():
    """Such a change leaves the luminance as it is."""
    wave = 30.0 * torch.cos(torch.arange(16, dtype=torch.float64) * torch.pi / 4).expand(1, 1, 16, 16)
    colour = wave * torch.tensor([1.0, 0.0, -0.299 / 0.114], dtype=torch.float64)[:, None, None]
    grey = wave.expand(1, 3, 16, 16)
    kept = [float(JpegFormat(25, 0.5).sparser(each).norm() / each.norm()) for each in (grey, colour)]
    assert 0 < kept[1] < kept[0] < 1


@pytest.mark.parametrize("channels", [1, 3])
def test_sparser_changes_make_smaller_files(channels):
    """Changes of smooth pictures by noise, as a distillation makes them."""
    picture = torch.linspace(40, 200, 32, dtype=torch.float64).expand(4, channels, 32, 32)
    sizes = []
    for amount in (0.0, 0.5, 2.0):
        images = picture + JpegFormat(25, amount).sparser(noise(4, channels, 32, 32, scale=15.0))
        sizes.append(sum(map(len, encode(images.round().clamp(0, 255).to(torch.uint8), 25))))
    assert sizes[0] > sizes[1] > sizes[2]
