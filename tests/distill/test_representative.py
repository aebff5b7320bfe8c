"""Groups of similar images: of one size, alike within, and batches that take one of each."""

import math
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch

from iid_cl.data.classes import Classes
from iid_cl.distill.representative import similar_groups
from iid_cl.distill.sampling import BLOCK, ClassSampler
from tests.distill.helpers import LENS, images_of


def numbered(*values):
    """Flat images of 2x3 pixels."""
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 3).contiguous()


def noise(count, seed=0):
    return torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# --- groups


@pytest.mark.parametrize(
    ("count", "parts"), [(1, 1), (7, 1), (7, 7), (10, 4), (64, 8), (30, 7), (100, 33), (61, 60), (50, 26), (45, 32)]
)
def test_groups_part_the_class_evenly(count, parts):
    groups = similar_groups(noise(count), parts)
    assert sorted(torch.cat(groups).tolist()) == list(range(count))
    sizes = Counter(len(group) for group in groups)
    # with a rest of r, r groups have one more
    small, rest = divmod(count, parts)
    assert sizes == Counter({small: parts - rest, small + 1: rest}) - Counter({small + 1: 0})


@pytest.mark.parametrize("parts", [2, 3, 4, 6, 12])
def test_flat_images_are_grouped_by_their_level(parts):
    levels = [200, 3, 90, 41, 7, 160, 250, 33, 120, 66, 15, 231]
    groups = similar_groups(numbered(*levels), parts)
    shown = sorted(sorted(levels[row] for row in group.tolist()) for group in groups)
    size = 12 // parts
    assert shown == [sorted(levels)[i : i + size] for i in range(0, 12, size)]


def test_pictures_of_four_kinds_part_by_kind():
    """Bright in one of four corners, in noise: the kinds differ in two directions, so one cut is not enough."""
    images = noise(40) // 8
    kinds = torch.arange(40) % 4
    for row, kind in enumerate(kinds.tolist()):
        images[row, :, 4 * (kind // 2) : 4 * (kind // 2) + 4, 4 * (kind % 2) : 4 * (kind % 2) + 4] += 200
    groups = similar_groups(images, 4)
    assert sorted(kinds[group].unique().tolist() for group in groups) == [[0], [1], [2], [3]]


def scatter(images, groups):
    """Mean squared distance of pixels to their group's mean."""
    pixels = images.flatten(1).double().numpy()
    return np.mean([((pixels[g] - pixels[g].mean(0)) ** 2).sum(1).mean() for g in (group.numpy() for group in groups)])


def test_images_of_a_group_are_alike():
    images = images_of(3, count=160)[3]
    similar = scatter(images, similar_groups(images, 16))
    order = torch.randperm(160, generator=torch.Generator().manual_seed(0))
    assert similar < 0.7 * scatter(images, order.split(10))


def test_groups_repeat_and_draw_nothing():
    images, before = noise(50), torch.get_rng_state()
    first, again = similar_groups(images, 7), similar_groups(images, 7)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_equal_images_are_grouped_somehow():
    groups = similar_groups(numbered(*[9] * 11), 4)
    assert sorted(torch.cat(groups).tolist()) == list(range(11))
    assert sorted(len(group) for group in groups) == [2, 3, 3, 3]


# --- batches


def sampler(groups, batch, representative=True, seed=0):
    return ClassSampler(Classes(groups), batch, LENS, seed, representative)


def batches(groups, batch, count, **options):
    """Rows of each batch of the first class."""
    return [rows[0].tolist() for rows, _ in sampler(groups, batch, **options).draws(count)]


def test_a_batch_takes_one_image_of_each_group():
    images = noise(48)
    groups = [set(group.tolist()) for group in similar_groups(images, 8)]
    for rows in batches({0: images}, 8, 2 * BLOCK):
        assert [len(group & set(rows)) for group in groups] == [1] * 8


@pytest.mark.parametrize(("count", "batch"), [(48, 8), (45, 8), (15, 8), (30, 16)])
def test_every_image_is_as_likely_as_any_other(count, batch):
    """The batches differ from uniform ones, the distribution does not, whether or not the batch divides the class."""
    drawn = np.bincount(list(chain.from_iterable(batches({0: noise(count)}, batch, 2000))), minlength=count)
    expected = 2000 * batch / count
    assert np.abs(drawn - expected).max() < 5 * math.sqrt(expected)


def test_batches_change_from_pass_to_pass():
    drawn = [tuple(sorted(rows)) for rows in batches({0: noise(48)}, 8, 60)]
    assert len(set(drawn)) == 60


def test_batch_means_scatter_less_than_uniform_ones():
    images = images_of(3, count=160)[3]
    pixels = images.flatten(1).double().numpy()
    scatters, centres, limits = [], [], []
    for representative in (True, False):
        means = np.stack(
            [pixels[rows].mean(0) for rows in batches({0: images}, 16, 300, representative=representative)]
        )
        scatters.append(means.var(0).sum())
        centres.append(means.mean(0))
        # ten batches to a pass: 300 uniform ones are 30 passes over the class; the others come near it
        limits.append(1e-9 + 5 * representative * means.std(0).max() / math.sqrt(300))
    assert scatters[0] < 0.7 * scatters[1]
    for centre, limit in zip(centres, limits, strict=True):
        np.testing.assert_allclose(centre, pixels.mean(0), atol=limit)


def test_a_class_smaller_than_the_batch_is_drawn_as_ever():
    groups = {0: noise(30)}
    assert batches(groups, 31, 20) == batches(groups, 31, 20, representative=False)
    assert batches(groups, 30, 20) != batches(groups, 30, 20, representative=False)
    assert [sorted(rows) for rows in batches(groups, 30, 20)] == [list(range(30))] * 20


def test_each_class_has_groups_of_its_own_and_draws_as_if_alone():
    groups = {1: noise(24, 1), 4: noise(5, 2), 7: noise(32, 3)}
    many = [rows for rows, _ in sampler(groups, 8).draws(70)]
    for index, offset in ((0, 0), (1, 24), (2, 29)):
        label = sorted(groups)[index]
        alone = [rows[0] + offset for rows, _ in sampler({label: groups[label]}, 8).draws(70)]
        assert torch.equal(torch.stack([rows[index] for rows in many]), torch.stack(alone))


def test_images_start_the_same_whatever_the_sampling():
    plain, grouped = (sampler({0: noise(48)}, 8, representative=r) for r in (False, True))
    assert torch.equal(plain.initial(5), grouped.initial(5))


def test_a_seed_repeats_and_another_does_not():
    groups = {0: noise(48)}
    assert batches(groups, 8, 20, seed=1) == batches(groups, 8, 20, seed=1)
    assert batches(groups, 8, 20, seed=1) != batches(groups, 8, 20, seed=2)
