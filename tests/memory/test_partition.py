"""Partition and expand: orders by hand, resampling against loops in NumPy float64, gradients, refusals."""

import numpy as np
import pytest
import torch

from iid_cl.errors import UserError
from iid_cl.memory.partition import cut, expand, expand_bytes, join, pack

FACTORS = pytest.mark.parametrize("factor", [1, 2, 4])
SIZES = pytest.mark.parametrize("size", [(8, 8), (4, 12), (12, 4)], ids=str)


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loop_cut(images, factor):
    """Parts in row-major order, image by image, by slicing."""
    count, _, height, width = images.shape
    h, w = height // factor, width // factor
    return np.stack(
        [
            images[n, :, row * h : (row + 1) * h, column * w : (column + 1) * w]
            for n in range(count)
            for row in range(factor)
            for column in range(factor)
        ]
    )


def neighbours(position, size, target):
    """The two source pixels and the weight of the second, where pixel centres of both sizes cover one interval."""
    source = max((position + 0.5) * size / target - 0.5, 0.0)
    first = min(int(np.floor(source)), size - 1)
    return first, min(first + 1, size - 1), source - first


def loop_bilinear(image, height, width):
    """(C, h, w) to (C, height, width), pixel by pixel."""
    out = np.zeros((image.shape[0], height, width))
    for i in range(height):
        top, bottom, down = neighbours(i, image.shape[1], height)
        for j in range(width):
            left, right, across = neighbours(j, image.shape[2], width)
            upper = (1 - across) * image[:, top, left] + across * image[:, top, right]
            lower = (1 - across) * image[:, bottom, left] + across * image[:, bottom, right]
            out[:, i, j] = (1 - down) * upper + down * lower
    return out


def loop_expand(images, factor):
    height, width = images.shape[2:]
    return np.stack([loop_bilinear(part, height, width) for part in loop_cut(images, factor)])


def loop_shrink(image, factor):
    """(C, H, W) to (C, H / f, W / f): each new pixel is the mean of its block of f x f, summed one by one."""
    channels, height, width = image.shape
    out = np.zeros((channels, height // factor, width // factor))
    for i in range(height):
        for j in range(width):
            out[:, i // factor, j // factor] += image[:, i, j] / factor**2
    return out


# --- cut and join


@FACTORS
@SIZES
def test_cut_and_join_undo_each_other(factor, size):
    images = draw(0, 3, 2, *size)
    parts = cut(images, factor)
    assert parts.shape == (3 * factor**2, 2, size[0] // factor, size[1] // factor)
    assert torch.equal(join(parts, factor), images)
    other = draw(1, *parts.shape)
    assert torch.equal(cut(join(other, factor), factor), other)


@FACTORS
@SIZES
def test_cut_equals_slices(factor, size):
    images = draw(2, 3, 2, *size)
    np.testing.assert_array_equal(cut(images, factor).numpy(), loop_cut(images.numpy(), factor))


def test_parts_come_row_by_row_and_image_by_image_by_hand():
    first = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    images = torch.stack([first, 10 + first])[:, None]  # two of 2x4 pixels
    assert cut(images, 2).tolist() == [
        [[[0, 1]]], [[[2, 3]]], [[[4, 5]]], [[[6, 7]]],
        [[[10, 11]]], [[[12, 13]]], [[[14, 15]]], [[[16, 17]]],
    ]  # fmt: skip


def test_join_lays_parts_out_row_by_row_by_hand():
    parts = torch.arange(4).view(4, 1, 1, 1).expand(4, 1, 1, 2)
    assert join(parts, 2).tolist() == [[[[0, 0, 1, 1], [2, 2, 3, 3]]]]


def test_bytes_are_cut_as_bytes():
    images = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    assert cut(images, 2).dtype == torch.uint8
    assert torch.equal(join(cut(images, 2), 2), images)


@pytest.mark.parametrize(("factor", "size"), [(2, (8, 7)), (2, (7, 8)), (3, (8, 9)), (4, (8, 6))], ids=str)
def test_an_uneven_factor_is_a_users_error(factor, size):
    sentence = rf"^distill\.partition: {factor} does not divide images of {size[0]}x{size[1]}; use a factor of both"
    for function in (cut, expand, pack):
        with pytest.raises(UserError, match=sentence):
            function(torch.zeros(factor**2, 1, *size), factor)
    with pytest.raises(UserError, match=sentence):
        expand_bytes(torch.zeros(1, 1, *size, dtype=torch.uint8), factor)


# --- expand


@FACTORS
@SIZES
def test_expand_equals_loops(factor, size):
    images = draw(3, 2, 3, *size)
    expanded = expand(images, factor)
    assert expanded.shape == (2 * factor**2, 3, *size)
    np.testing.assert_allclose(expanded.numpy(), loop_expand(images.numpy(), factor), rtol=1e-12, atol=1e-14)


def test_expand_by_hand():
    # parts of 1x2: (0, 4) at positions -1/4, 1/4, 3/4, 5/4 of its two pixels, clamped at both ends
    image = torch.tensor([[[[0.0, 4.0, 8.0, 8.0], [1.0, 1.0, 2.0, 2.0]]]])
    rows = [[0.0, 1.0, 3.0, 4.0], [8.0] * 4, [1.0] * 4, [2.0] * 4]
    assert expand(image, 2).tolist() == [[[row, row]] for row in rows]


def test_expand_by_one_is_the_image_itself():
    images = draw(4, 2, 1, 5, 7)  # odd sides are no matter
    assert torch.equal(expand(images, 1), images)
    assert torch.equal(pack(images, 1), images)


def test_a_part_does_not_run_into_its_neighbours():
    images = torch.zeros(1, 1, 8, 8)
    images[..., :4, 4:] = 9.0
    expanded = expand(images, 2)
    assert expanded.flatten(1).amin(1).tolist() == [0.0, 9.0, 0.0, 0.0]
    assert expanded.flatten(1).amax(1).tolist() == [0.0, 9.0, 0.0, 0.0]


@pytest.mark.parametrize("factor", [2, 4])
def test_gradient_of_expand_agrees_with_central_differences(factor):
    images, weights = draw(5, 1, 1, 4, 8).requires_grad_(), draw(6, factor**2, 1, 4, 8)
    (expand(images, factor) * weights).sum().backward()
    step = 1e-4
    for index in np.ndindex(*images.shape):
        ends = []
        for sign in (1, -1):
            moved = images.detach().clone().numpy()
            moved[index] += sign * step
            ends.append((loop_expand(moved, factor) * weights.numpy()).sum())
        assert float(images.grad[index]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


# --- pack


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [(8, 8), (4, 12), (12, 4), (16, 8)], ids=str)
def test_pack_joins_shrunk_images_in_order(factor, size):
    images = draw(7, 3 * factor**2, 2, *size)
    packed = pack(images, factor)
    assert packed.shape == (3, 2, *size)
    expected = np.stack([loop_shrink(image, factor) for image in images.numpy()])
    np.testing.assert_allclose(loop_cut(packed.numpy(), factor), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("factor", [2, 4])
def test_constant_images_stay_constant(factor):
    values = torch.arange(2.0 * factor**2, dtype=torch.float64)
    images = values.view(-1, 1, 1, 1).expand(-1, 3, 8, 12)
    torch.testing.assert_close(cut(pack(images, factor), factor), images[..., : 8 // factor, : 12 // factor])
    torch.testing.assert_close(expand(pack(images, factor), factor), images)


def test_shrinking_averages_a_fine_pattern_away():
    # a step of four without an average would look at the two columns between the bright ones
    images = torch.zeros(16, 1, 16, 16)
    images[..., ::4] = 8.0
    torch.testing.assert_close(pack(images, 4), torch.full((1, 1, 16, 16), 2.0))


@pytest.mark.parametrize("size", [(12, 4), (4, 12)], ids=str)
def test_a_part_one_pixel_wide_is_a_mean_of_its_own_pixels(size):
    images = torch.zeros(16, 1, 12, 4)
    images[0, 0, :4] = torch.arange(16.0).view(4, 4)  # the first block: 0 to 15
    images[0, 0, 4:8] = 40.0
    images[1] = 3.0
    images = images if size == (12, 4) else images.mT
    first, second, *rest = cut(pack(images, 4), 4).flatten(1).tolist()
    assert first == [7.5, 40.0, 0.0]
    assert second == [3.0] * 3
    assert rest == [[0.0] * 3] * 14


def test_packed_images_have_no_darker_and_no_brighter_pixels():
    images = torch.rand(32, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(10))
    packed = cut(pack(images, 2), 2)
    assert (packed.amin((2, 3)) >= images.amin((2, 3))).all()
    assert (packed.amax((2, 3)) <= images.amax((2, 3))).all()
    torch.testing.assert_close(packed.mean((2, 3)), images.mean((2, 3)))  # nothing is lost or counted twice


# --- bytes


@pytest.mark.parametrize("factor", [2, 4])
def test_expanded_bytes_are_the_nearest_to_the_exact_values(factor):
    generator = torch.Generator().manual_seed(8)
    images = torch.randint(256, (2, 3, 8, 4), dtype=torch.uint8, generator=generator)
    images[0, 0] = 255  # whites stay white
    expanded = expand_bytes(images, factor)
    assert expanded.dtype == torch.uint8
    exact = loop_expand(images.double().numpy(), factor)
    assert np.abs(expanded.numpy() - exact).max() <= 0.5
    assert (expanded[: factor**2, 0] == 255).all()


def test_bytes_by_one_are_the_image_itself():
    images = torch.randint(256, (2, 1, 3, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(9))
    assert torch.equal(expand_bytes(images, 1), images)
