"""Siamese augmentation: each transformation against NumPy, METHOD's ranges, and what moves together."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from iid_cl.data.augmentation import UNIFORMS, Parameters, augment, augment_each, make_parameters

ALL = ["color", "crop", "cutout", "flip", "scale", "rotate"]
every_name = pytest.mark.parametrize("name", ALL)
SIZES = [(8, 8), (6, 10), (11, 7)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniforms(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, UNIFORMS, dtype=torch.float64, generator=generator)


def nothing(groups=1):
    """The identity, written by hand."""
    one = torch.ones(groups, dtype=torch.float64)
    affine = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=torch.float64).repeat(groups, 1, 1)
    return Parameters(0 * one, one, one, affine, torch.zeros(groups, 4, dtype=torch.float64))


def affine(rows):
    return replace(nothing(), affine=torch.tensor([rows], dtype=torch.float64))


def bilinear(picture, matrix):
    """Output pixel centres in [-1, 1] go through ``matrix`` to where ``picture`` is read; 0 outside of it."""
    height, width = picture.shape[1:]
    out = np.zeros_like(picture)
    for i in range(height):
        for j in range(width):
            x, y = matrix @ [(2 * j + 1) / width - 1, (2 * i + 1) / height - 1, 1]
            column, row = ((x + 1) * width - 1) / 2, ((y + 1) * height - 1) / 2
            for r in (math.floor(row), math.floor(row) + 1):
                for c in (math.floor(column), math.floor(column) + 1):
                    if 0 <= r < height and 0 <= c < width:
                        out[:, i, j] += (1 - abs(row - r)) * (1 - abs(column - c)) * picture[:, r, c]
    return out


# --- each transformation, from parameters given by hand


@every_size
def test_identity_parameters_change_nothing(size):
    images = draw(0, 2, 3, 3, *size)
    torch.testing.assert_close(augment(images, nothing(2)), images)


def test_brightness_is_added():
    images = draw(1, 1, 2, 3, 4, 5)
    parameters = replace(nothing(), brightness=torch.tensor([0.25], dtype=torch.float64))
    torch.testing.assert_close(augment(images, parameters), images + 0.25)


def test_saturation_scales_the_distance_to_the_pixels_grey():
    images = draw(2, 1, 2, 3, 4, 5)
    parameters = replace(nothing(), saturation=torch.tensor([1.7], dtype=torch.float64))
    expected = np.zeros((2, 3, 4, 5))
    for n, i, j in np.ndindex(2, 4, 5):
        pixel = images[0, n, :, i, j].numpy()
        grey = (pixel[0] + pixel[1] + pixel[2]) / 3
        expected[n, :, i, j] = grey + 1.7 * (pixel - grey)
    np.testing.assert_allclose(augment(images, parameters)[0].numpy(), expected, atol=1e-12)


def test_contrast_scales_the_distance_to_the_images_mean():
    images = draw(3, 1, 2, 3, 4, 5)
    parameters = replace(nothing(), contrast=torch.tensor([0.6], dtype=torch.float64))
    expected = np.zeros((2, 3, 4, 5))
    for n in range(2):
        picture = images[0, n].numpy()
        level = sum(picture[index] for index in np.ndindex(3, 4, 5)) / 60
        expected[n] = level + 0.6 * (picture - level)
    np.testing.assert_allclose(augment(images, parameters)[0].numpy(), expected, atol=1e-12)


def test_saturation_leaves_grey_pictures_alone():
    images = draw(4, 1, 2, 1, 4, 5)
    parameters = replace(nothing(), saturation=torch.tensor([0.0], dtype=torch.float64))
    torch.testing.assert_close(augment(images, parameters), images)


@every_size
def test_flip_is_an_exact_mirror(size):
    images = draw(5, 1, 2, 3, *size)
    moved = augment(images, affine([[-1.0, 0, 0], [0, 1, 0]]))
    torch.testing.assert_close(moved, images.flip(-1), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("down", "right"), [(0, 1), (2, 0), (-1, 2), (1, -3)])
def test_shift_by_whole_pixels_is_exact_with_zeros_moving_in(down, right):
    height, width = 6, 10
    images = draw(6, 1, 2, 3, height, width)
    moved = augment(images, affine([[1, 0, -2 * right / width], [0, 1, -2 * down / height]]))
    expected = np.zeros((2, 3, height, width))
    for i, j in np.ndindex(height, width):
        if 0 <= i - down < height and 0 <= j - right < width:
            expected[:, :, i, j] = images[0, :, :, i - down, j - right].numpy()
    np.testing.assert_allclose(moved[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["crop", "flip", "scale", "rotate"])
@every_size
def test_drawn_motions_are_bilinear_and_zero_outside(name, size):
    parameters = make_parameters(uniforms(7, 4), [name], size)
    images = draw(8, 4, 2, 2, *size)
    moved = augment(images, parameters)
    for g in range(4):
        for n in range(2):
            expected = bilinear(images[g, n].numpy(), parameters.affine[g].numpy())
            np.testing.assert_allclose(moved[g, n].numpy(), expected, atol=1e-10)


def test_cutout_zeroes_the_box_and_nothing_else():
    images = draw(9, 1, 2, 3, 6, 10)
    box = torch.tensor([[1, -2, 4, 3]], dtype=torch.float64)  # rows 1..3, columns 0..2
    expected = images.clone()
    expected[..., 1:4, 0:3] = 0
    torch.testing.assert_close(augment(images, replace(nothing(), cutout=box)), expected)


# --- what is drawn


def drawn(name, size, count=4000, names=None):
    """Parameters of ``count`` groups as NumPy arrays by field; the corners of the unit cube come first."""
    corners = torch.tensor([[0.0] * UNIFORMS, [1 - 2.0**-24] * UNIFORMS], dtype=torch.float64)
    numbers = torch.cat([corners, uniforms(10, count)])
    parameters = make_parameters(numbers, names or [name], size)
    fields = ("brightness", "saturation", "contrast", "affine", "cutout")
    return {field: getattr(parameters, field).numpy() for field in fields}


def assert_fills(values, low, high):
    """Values lie in [low, high] and are spread evenly over it: each fifth of it gets 16 % to 24 %."""
    assert values.min() >= low - 1e-9
    assert values.max() <= high + 1e-9
    shares = np.histogram(values, bins=5, range=(low, high))[0] / len(values)
    assert shares.min() > 0.16
    assert shares.max() < 0.24


def test_color_ranges():
    color = drawn("color", (8, 8))
    assert_fills(color["brightness"], -0.5, 0.5)
    assert_fills(color["saturation"], 0.0, 2.0)
    assert_fills(color["contrast"], 0.5, 1.5)


def test_color_draws_its_three_numbers_apart():
    color = drawn("color", (8, 8))
    together = np.corrcoef([color["brightness"], color["saturation"], color["contrast"]])
    assert np.abs(together - np.eye(3)).max() < 0.1


@every_size
def test_scale_range_in_both_directions(size):
    matrix = drawn("scale", size)["affine"]
    assert_fills(matrix[:, 0, 0], 1 / 1.2, 1.2)
    assert_fills(matrix[:, 1, 1], 1 / 1.2, 1.2)
    assert abs(np.corrcoef(matrix[:, 0, 0], matrix[:, 1, 1])[0, 1]) < 0.1
    assert not matrix[:, [0, 0, 1, 1], [1, 2, 0, 2]].any()


def test_rotation_range():
    matrix = drawn("rotate", (8, 8))["affine"]
    assert_fills(np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])), -15, 15)
    assert not matrix[:, :, 2].any()


def test_rotation_of_a_square_keeps_lengths_and_orientation():
    turn = drawn("rotate", (8, 8))["affine"][:, :, :2]
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.broadcast_to(np.eye(2), turn.shape), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-6)


def test_flip_mirrors_half_of_the_time():
    matrix = drawn("flip", (8, 8))["affine"]
    mirrored = matrix[:, 0, 0] < 0
    expected = np.where(mirrored[:, None, None], [[-1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(matrix, expected)
    assert 0.46 < mirrored.mean() < 0.54


@pytest.mark.parametrize(("size", "reach"), [((32, 32), (4, 4)), ((8, 8), (1, 1)), ((16, 64), (2, 8))], ids=str)
def test_crop_shifts_by_every_whole_pixel_up_to_an_eighth(size, reach):
    matrix = drawn("crop", size)["affine"]
    assert np.array_equal(matrix[:, :, :2], np.broadcast_to(np.eye(2), (len(matrix), 2, 2)))
    for axis, side, most in ((0, size[1], reach[1]), (1, size[0], reach[0])):
        pixels = matrix[:, axis, 2] * side / 2
        np.testing.assert_allclose(pixels, pixels.round(), atol=1e-6)
        values, counts = np.unique(pixels.round(), return_counts=True)
        assert values.tolist() == list(range(-most, most + 1))
        assert counts.min() > 0.7 * len(pixels) / len(values)
    assert abs(np.corrcoef(matrix[:, 0, 2], matrix[:, 1, 2])[0, 1]) < 0.1


def test_crop_of_28_pixels_rounds_the_eighth_to_a_whole_pixel():
    pixels = drawn("crop", (28, 28))["affine"][:, 0, 2] * 14
    assert np.abs(pixels).max() <= 28 / 8 + 0.5 + 1e-6


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (28, 28)], ids=str)
def test_cutout_hole_is_half_the_side_and_centred_in_the_image(size):
    top, left, bottom, right = drawn("cutout", size)["cutout"].T
    for low, high, side in ((top, bottom, size[0]), (left, right, size[1])):
        assert (high - low == side // 2).all()
        assert (low == low.round()).all()
        assert low.min() >= -side / 4 - 0.5  # at most half of the hole hangs over the edge
        assert high.max() <= side + side / 4 + 0.5
        assert len(np.unique(low)) >= side  # every position
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.1


@pytest.mark.parametrize("size", [(8, 8), (6, 10)], ids=str)
def test_cutout_leaves_a_rectangle_of_zeros(size):
    height, width = size
    parameters = make_parameters(uniforms(11, 200), ["cutout"], size)
    kept = augment(torch.ones(200, 1, 1, *size, dtype=torch.float64), parameters)[:, 0, 0].numpy()
    for picture in kept:
        hole = picture == 0
        rows, columns = hole.any(1), hole.any(0)
        np.testing.assert_array_equal(hole, np.outer(rows, columns))
        np.testing.assert_allclose(picture[~hole], 1)
        assert height // 4 <= rows.sum() <= height // 2
        assert width // 4 <= columns.sum() <= width // 2
    assert (kept == 0).sum((1, 2)).max() == (height // 2) * (width // 2)


def transformations_in(parameters):
    """Names of the transformations that are not at their identity, one set per group."""
    found = []
    for g in range(len(parameters.brightness)):
        matrix = parameters.affine[g].numpy()
        top, left, bottom, right = parameters.cutout[g].tolist()
        names = set()
        color = parameters.brightness[g], parameters.saturation[g] - 1, parameters.contrast[g] - 1
        if any(float(x) != 0 for x in color):
            names.add("color")
        if matrix[:, 2].any():
            names.add("crop")
        if matrix[0, 0] < 0:
            names.add("flip")
        if matrix[0, 1] or matrix[1, 0]:
            names.add("rotate")
        elif abs(matrix[0, 0]) != 1 or matrix[1, 1] != 1:
            names.add("scale")
        if min(bottom, 16) > max(top, 0) and min(right, 16) > max(left, 0):
            names.add("cutout")
        found.append(names)
    return found


def test_each_group_undergoes_exactly_one_transformation():
    found = transformations_in(make_parameters(uniforms(12, 3000), ALL, (16, 16)))
    assert max(len(names) for names in found) == 1
    shares = {name: sum(names == {name} for names in found) / 3000 for name in ALL}
    # a flip mirrors half of the time, a crop of 16 pixels moves in 24 of 25 cases
    expected = dict.fromkeys(ALL, 1 / 6) | {"flip": 1 / 12, "crop": 24 / 25 / 6}
    for name in ALL:
        assert shares[name] == pytest.approx(expected[name], abs=0.03)


@pytest.mark.parametrize("left_out", ALL)
def test_names_not_listed_are_never_drawn(left_out):
    names = [name for name in ALL if name != left_out]
    found = transformations_in(make_parameters(uniforms(13, 600), names, (16, 16)))
    assert set().union(*found) == set(names)


@every_size
def test_no_names_means_no_change(size):
    images = draw(14, 5, 2, 3, *size)
    torch.testing.assert_close(augment(images, make_parameters(uniforms(15, 5), [], size)), images)


def test_parameters_keep_the_leading_shape_and_index_by_step():
    numbers = uniforms(16, 7, 3)
    all_steps = make_parameters(numbers, ALL, (8, 12))
    assert all_steps.affine.shape == (7, 3, 2, 3)
    assert all_steps.cutout.shape == (7, 3, 4)
    step, alone = all_steps[4], make_parameters(numbers[4], ALL, (8, 12))
    for field in ("brightness", "saturation", "contrast", "affine", "cutout"):
        assert torch.equal(getattr(step, field), getattr(alone, field))


def test_parameters_move_to_a_device():
    moved = make_parameters(uniforms(17, 3), ALL, (8, 8)).to("cpu")
    assert moved.affine.shape == (3, 2, 3)
    assert {moved.brightness.device.type, moved.cutout.device.type} == {"cpu"}


# --- what moves together


def drawn_groups(count=60, size=(8, 10), names=ALL):
    return make_parameters(uniforms(18, count), names, size)


def test_equal_images_of_a_group_stay_equal():
    images = draw(19, 60, 1, 3, 8, 10).expand(60, 4, 3, 8, 10)
    moved = augment(images, drawn_groups())
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved), rtol=0, atol=0)


def test_image_does_not_depend_on_the_others_of_its_group():
    images = draw(20, 60, 3, 3, 8, 10)
    others = torch.cat([images[:, :1], draw(21, 60, 4, 3, 8, 10)], 1)
    torch.testing.assert_close(augment(images, drawn_groups())[:, 0], augment(others, drawn_groups())[:, 0])


def test_group_does_not_depend_on_other_groups():
    images, parameters = draw(22, 60, 2, 3, 8, 10), drawn_groups()
    other = torch.cat([images[:1], draw(23, 59, 2, 3, 8, 10)])
    torch.testing.assert_close(augment(images, parameters)[0], augment(other, parameters)[0])


def test_groups_keep_their_order():
    numbers, images = uniforms(24, 20), draw(25, 20, 2, 3, 8, 10)
    backwards = augment(images.flip(0), make_parameters(numbers.flip(0), ALL, (8, 10)))
    torch.testing.assert_close(backwards.flip(0), augment(images, make_parameters(numbers, ALL, (8, 10))))


def test_groups_move_apart():
    images = draw(26, 1, 1, 3, 8, 10).expand(60, 1, 3, 8, 10)
    moved = augment(images, drawn_groups(names=["color"])).flatten(1)
    assert torch.pdist(moved).min() > 1e-3


def test_channels_are_not_mixed_by_motion():
    images = draw(27, 10, 2, 3, 8, 10)
    images[:, :, 1] = 0
    moved = augment(images, drawn_groups(10, names=["crop", "scale", "rotate", "flip", "cutout"]))
    assert not moved[:, :, 1].any()
    assert moved[:, :, 0].any()


# --- gradients


@every_name
def test_gradient_agrees_with_finite_differences(name):
    parameters = make_parameters(uniforms(28, 2), [name], (4, 6))
    images = draw(29, 2, 2, 2, 4, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augment(x, parameters), (images,))


def test_cut_out_pixels_get_no_gradient():
    images = draw(30, 1, 1, 1, 4, 4).requires_grad_()
    box = torch.tensor([[0, 0, 2, 2]], dtype=torch.float64)
    augment(images, replace(nothing(), cutout=box)).sum().backward()
    expected = torch.ones(4, 4, dtype=torch.float64)
    expected[:2, :2] = 0
    torch.testing.assert_close(images.grad[0, 0, 0], expected)


# --- one transformation per image


def test_augment_each_draws_for_every_image():
    images = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(31)).expand(40, 3, 8, 10)
    moved = augment_each(images, ["color"], torch.Generator().manual_seed(32))
    assert moved.shape == images.shape
    assert torch.pdist(moved.flatten(1)).min() > 1e-4


def test_augment_each_repeats_for_a_seed_and_leaves_global_randomness():
    images = torch.rand(6, 3, 8, 10, generator=torch.Generator().manual_seed(33))
    before = torch.get_rng_state()
    first, again, other = (augment_each(images, ALL, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_augment_each_without_names_returns_the_images_and_draws_nothing():
    images, generator = torch.rand(3, 1, 8, 8), torch.Generator().manual_seed(34)
    before = generator.get_state()
    assert torch.equal(augment_each(images, [], generator), images)
    assert torch.equal(generator.get_state(), before)


def test_turning_a_wide_picture_keeps_right_angles():
    """In pixels, the map from output to input coordinates is a rotation: orthonormal columns."""
    height, width = 8, 32
    uniforms = torch.rand(50, UNIFORMS, generator=torch.Generator().manual_seed(0))
    affine = make_parameters(uniforms, ["rotate"], (height, width)).affine[:, :, :2].double()
    half = torch.diag(torch.tensor([width / 2, height / 2], dtype=torch.float64))
    in_pixels = half @ affine @ half.inverse()
    torch.testing.assert_close(in_pixels.transpose(1, 2) @ in_pixels, torch.eye(2).double().expand(50, 2, 2))
    assert (in_pixels[:, 0, 1].abs() > 0.05).any()
