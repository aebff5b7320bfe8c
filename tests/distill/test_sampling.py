"""Draws per class: passes without replacement, even repeats, one stream per class."""

from collections import Counter
from itertools import chain, pairwise

import torch

from iid_cl.data.classes import Classes
from iid_cl.data.images import Normalization
from iid_cl.data.lens import Lens
from iid_cl.distill.sampling import BLOCK, ClassSampler

CPU = torch.device("cpu")
FIELDS = ("brightness", "saturation", "contrast", "affine", "cutout")
NAMES = ["color", "crop", "scale"]


def seeing(names):
    return Lens(Normalization((0.0,), (1.0,)), tuple(names), CPU)


def numbered(first, count):
    """``count`` images of 1x2x3 pixels that all hold their own number, from ``first``."""
    numbers = torch.arange(first, first + count, dtype=torch.uint8)
    return numbers.view(-1, 1, 1, 1).expand(-1, 1, 2, 3).contiguous()


def sampler(images_by_class, batch=4, seed=0, names=NAMES):
    return ClassSampler(Classes(images_by_class), batch, seeing(names), seed)


def steps_of(drawn, count):
    """Pairs of real images and augmentation parameters."""
    return ((drawn.real(rows), parameters) for rows, parameters in drawn.draws(count))


def numbers_drawn(images_by_class, steps, batch=4, seed=0):
    """The images' numbers, one list per class of one list per step."""
    rows = [real[:, :, 0, 0, 0] for real, _ in steps_of(sampler(images_by_class, batch, seed), steps)]
    return torch.stack(rows, dim=1).tolist()


def flat(steps):
    return list(chain.from_iterable(steps))


def test_shapes_and_types():
    draws = list(steps_of(sampler({3: numbered(0, 5), 8: numbered(5, 9)}, batch=4), 3))
    assert len(draws) == 3
    for real, parameters in draws:
        assert real.shape == (2, 4, 1, 2, 3)
        assert real.dtype == torch.uint8
        assert parameters.affine.shape == (2, 2, 3)
        assert parameters.brightness.shape == (2,)


def test_a_pass_shows_every_image_once():
    (steps,) = numbers_drawn({0: numbered(10, 12)}, steps=15, batch=4)
    for first in range(0, 15, 3):
        seen = flat(steps[first : first + 3])
        assert sorted(seen) == list(range(10, 22))


def test_a_pass_may_end_within_a_batch():
    (steps,) = numbers_drawn({0: numbered(0, 10)}, steps=15, batch=4)
    seen = flat(steps)
    for first in range(0, 60, 10):
        assert sorted(seen[first : first + 10]) == list(range(10))


def test_every_pass_has_its_own_order():
    (steps,) = numbers_drawn({0: numbered(0, 12)}, steps=10, batch=12)
    assert all(a != b for a, b in pairwise(steps))
    assert steps[0] != sorted(steps[0])


def test_small_class_repeats_evenly():
    (steps,) = numbers_drawn({0: numbered(0, 3)}, steps=6, batch=9)
    for batch in steps:
        assert Counter(batch) == {0: 3, 1: 3, 2: 3}


def test_small_class_that_does_not_divide_the_batch_repeats_as_evenly_as_it_can():
    (steps,) = numbers_drawn({0: numbered(0, 3)}, steps=7, batch=8)
    counts = Counter(flat(steps))
    assert sorted(counts.values()) == [18, 19, 19]  # 56 draws of 3 images


def test_a_single_image_fills_the_batch():
    (steps,) = numbers_drawn({0: numbered(7, 1)}, steps=2, batch=3)
    assert steps == [[7, 7, 7], [7, 7, 7]]


def test_each_row_holds_its_own_class():
    low, high = numbers_drawn({2: numbered(0, 6), 5: numbered(100, 7)}, steps=9, batch=5)
    assert set(flat(low)) == set(range(6))
    assert set(flat(high)) == set(range(100, 107))


def test_classes_come_in_ascending_order():
    real, _ = next(steps_of(sampler({9: numbered(90, 3), 1: numbered(10, 3), 4: numbered(40, 3)}), 1))
    assert (real[:, 0, 0, 0, 0] // 10).tolist() == [1, 4, 9]


def test_a_class_draws_the_same_alone_as_among_others():
    groups = {1: numbered(0, 5), 4: numbered(50, 9), 7: numbered(100, 20)}
    many, alone = sampler(groups), sampler({4: groups[4]})
    assert torch.equal(many.initial(3)[1], alone.initial(3)[0])
    for (real, parameters), (own, own_parameters) in zip(steps_of(many, 70), steps_of(alone, 70), strict=True):
        assert torch.equal(real[1], own[0])
        for field in FIELDS:
            assert torch.equal(getattr(parameters, field)[1], getattr(own_parameters, field)[0])


def test_classes_of_equal_size_draw_apart():
    a, b = numbers_drawn({0: numbered(0, 12), 1: numbered(0, 12)}, steps=6)
    assert a != b


def test_augmentations_change_from_step_to_step_and_class_to_class():
    draws = [p.brightness for _, p in steps_of(sampler({0: numbered(0, 5), 1: numbered(0, 5)}, names=["color"]), 9)]
    assert torch.stack(draws).unique().numel() == 18


def test_initial_images_are_distinct_and_of_their_class():
    groups = {0: numbered(0, 8), 6: numbered(60, 30)}
    initial = sampler(groups).initial(8)
    assert initial.shape == (2, 8, 1, 2, 3)
    assert initial.dtype == torch.uint8
    assert sorted(initial[0, :, 0, 0, 0].tolist()) == list(range(8))
    second = initial[1, :, 0, 0, 0].tolist()
    assert len(set(second)) == 8
    assert set(second) <= set(range(60, 90))


def test_more_initial_images_than_the_class_has_repeat_evenly():
    groups = {0: numbered(0, 4), 6: numbered(60, 30), 8: numbered(100, 1)}
    few, many, one = sampler(groups).initial(12)[:, :, 0, 0, 0].tolist()
    assert Counter(few) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert len(set(many)) == 12
    assert one == [100] * 12
    counts = Counter(sampler(groups).initial(10)[0, :, 0, 0, 0].tolist())
    assert sorted(counts.values()) == [2, 2, 3, 3]
    assert set(counts) == {0, 1, 2, 3}


def test_initial_images_are_repeated_as_late_as_can_be():
    few = sampler({0: numbered(0, 5)}).initial(12)[0, :, 0, 0, 0].tolist()
    for first in (0, 5):
        assert sorted(few[first : first + 5]) == [0, 1, 2, 3, 4]


def test_initial_images_are_drawn_and_not_the_first_ones():
    starts = [tuple(sorted(sampler({0: numbered(0, 30)}, seed=s).initial(4)[0, :, 0, 0, 0].tolist())) for s in range(6)]
    assert len(set(starts)) == 6


def test_a_seed_repeats_and_another_does_not():
    group = {0: numbered(0, 20)}
    assert numbers_drawn(group, 5, seed=3) == numbers_drawn(group, 5, seed=3)
    assert numbers_drawn(group, 5, seed=3) != numbers_drawn(group, 5, seed=4)


def test_steps_run_past_a_block():
    draws = list(steps_of(sampler({0: numbered(0, 5)}, names=["color"]), 2 * BLOCK + 3))
    assert len(draws) == 2 * BLOCK + 3
    assert torch.cat([p.brightness for _, p in draws]).unique().numel() == 2 * BLOCK + 3


def test_global_randomness_is_untouched():
    before = torch.get_rng_state()
    drawn = sampler({0: numbered(0, 5)})
    drawn.initial(2)
    list(steps_of(drawn, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pass_goes_on_across_blocks():
    """A class larger than a block of batches is seen whole before any image comes again."""
    images = {0: torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1)}
    sampler = ClassSampler(Classes(images), 2, seeing(()), 0)
    assert 2 * BLOCK < 200
    seen = torch.cat([real.flatten() for real, _ in steps_of(sampler, 100)])
    assert sorted(seen.tolist()) == list(range(200))


# --- batches of all classes


MIXED = {9: numbered(90, 6), 1: numbered(10, 3), 4: numbered(40, 1)}


def test_mixed_labels_number_the_classes_and_fit_the_images():
    images, labels = sampler(MIXED).mixed(200, torch.Generator().manual_seed(0))
    assert images.shape == (200, 1, 2, 3)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    classes = torch.tensor([1, 4, 9])  # in ascending order
    assert torch.equal(images[:, 0, 0, 0] // 10, classes[labels].to(torch.uint8))
    assert set(images[:, 0, 0, 0].tolist()) == {10, 11, 12, 40, *range(90, 96)}


def test_mixed_images_are_uniform_over_all_images():
    images, _ = sampler(MIXED).mixed(6000, torch.Generator().manual_seed(1))
    counts = Counter(images[:, 0, 0, 0].tolist())
    assert len(counts) == 10
    assert all(abs(count - 600) < 100 for count in counts.values())  # a standard deviation is 23


def test_mixed_batches_may_exceed_the_images_and_repeat_for_a_seed_only():
    first, again, other = (sampler(MIXED).mixed(25, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_mixed_batches_leave_the_draws_of_each_class():
    plain, mixing = sampler(MIXED), sampler(MIXED)
    draws, generator = steps_of(mixing, 5), torch.Generator().manual_seed(3)
    for real, _ in steps_of(plain, 5):
        mixing.mixed(7, generator)
        assert torch.equal(next(draws)[0], real)


def test_the_sampler_knows_how_many_classes_of_which_shape_it_has():
    assert sampler(MIXED).classes == 3
    assert sampler(MIXED).shape == (1, 2, 3)


# --- weights


def weighted(images_by_class, weights, batch=5, seed=0):
    return ClassSampler(Classes(images_by_class, weights), batch, seeing(NAMES), seed)


def test_a_class_with_weights_is_drawn_as_its_images_weigh():
    groups = {0: numbered(0, 4), 1: numbered(10, 4)}
    drawing = weighted(groups, {0: torch.tensor([7.0, 1.0, 1.0, 1.0], dtype=torch.float64)})
    rows = torch.stack([real[:, :, 0, 0, 0] for real, _ in steps_of(drawing, 400)])
    counts = Counter(rows[:, 0].flatten().tolist())
    assert sum(counts.values()) == 2000
    assert abs(counts[0] - 1400) < 90  # a standard deviation of 20
    assert all(abs(counts[i] - 200) < 60 for i in (1, 2, 3))
    assert Counter(rows[:, 1].flatten().tolist()) == {10: 500, 11: 500, 12: 500, 13: 500}  # without weights, in passes


def test_images_to_start_from_are_distinct_whatever_they_weigh():
    weights = {0: torch.tensor([100.0] + [1.0] * 7, dtype=torch.float64)}
    for seed in range(10):
        start = weighted({0: numbered(0, 8)}, weights, seed=seed).initial(8)
        assert sorted(start[0, :, 0, 0, 0].tolist()) == list(range(8))
        repeated = weighted({0: numbered(0, 8)}, weights, seed=seed).initial(16)[0, :, 0, 0, 0]
        assert set(Counter(repeated.tolist()).values()) == {2}


def test_mixed_images_follow_the_weights_of_all_classes():
    groups = {0: numbered(0, 2), 1: numbered(10, 2)}
    drawing = weighted(groups, {0: torch.tensor([5.0, 1.0], dtype=torch.float64)})
    images, labels = drawing.mixed(4000, torch.Generator().manual_seed(0))
    counts = Counter(images[:, 0, 0, 0].tolist())
    for value, expected in {0: 2500, 1: 500, 10: 500, 11: 500}.items():
        assert abs(counts[value] - expected) < 150  # standard deviations of 31 and 21
    assert ((images[:, 0, 0, 0] >= 10) == (labels == 1)).all()
