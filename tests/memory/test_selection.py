"""Selection rules: herding against brute force in NumPy, the others by hand, and random draws."""

import numpy as np
import pytest
import torch

from iid_cl.data.classes import Classes
from iid_cl.memory.selection import (
    RULES,
    features_of,
    ordering,
    select_closest,
    select_herding,
    select_k_centre,
    select_random,
)


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def brute_force(features, count):
    """iCaRL's greedy rule, trying every remaining image and averaging from the start each time."""
    rows = [row / np.sqrt((row**2).sum()) for row in features.astype(np.float64)]
    target = sum(rows) / len(rows)
    picked = []
    for _ in range(count):
        best, least = None, np.inf
        for i, row in enumerate(rows):
            if i in picked:
                continue
            mean = (sum((rows[j] for j in picked), start=np.zeros_like(row)) + row) / (len(picked) + 1)
            distance = np.sqrt(((target - mean) ** 2).sum())
            if distance < least:
                best, least = i, distance
        picked.append(best)
    return picked


@pytest.mark.parametrize("seed", range(8))
def test_herding_equals_brute_force(seed):
    features = draw(seed, 25, 6) + 0.5
    assert select_herding(features, 12).tolist() == brute_force(features.numpy(), 12)


def test_herding_by_hand():
    # Unit vectors at 0, 90, 40 and 60 degrees: their mean points to 47.5 degrees with length 0.806.
    angles = torch.tensor([0.0, 90.0, 40.0, 60.0]).deg2rad()
    features = torch.stack([angles.cos(), angles.sin()], 1)
    # 40 is nearest. With it, 60 averages to 50 degrees and length 0.985 (0.18 away), 0 to 20 degrees and
    # length 0.940 (0.43), 90 to 65 degrees and length 0.906 (0.28).
    assert select_herding(features, 2).tolist() == [2, 3]


def test_first_pick_is_nearest_to_the_mean_of_unit_features():
    features = draw(20, 40, 5)
    unit = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    nearest = ((unit - unit.mean(0)) ** 2).sum(1).argmin()
    assert select_herding(features, 1).tolist() == [nearest]


def test_length_of_a_feature_does_not_matter():
    features = draw(21, 20, 5)
    scaled = features * torch.linspace(0.1, 9, 20, dtype=torch.float64)[:, None]
    assert torch.equal(select_herding(scaled, 8), select_herding(features, 8))


def test_picks_are_distinct_and_all_can_be_picked():
    assert sorted(select_herding(draw(22, 15, 4), 15).tolist()) == list(range(15))


def test_fewer_picks_are_a_prefix_of_more():
    features = draw(23, 30, 4)
    assert select_herding(features, 5).tolist() == select_herding(features, 11).tolist()[:5]


def test_ties_go_to_the_lowest_index():
    features = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert select_herding(features, 3).tolist() == [1, 2, 4]  # all on the diagonal, as is the mean


def test_equal_images_are_picked_in_order():
    assert select_herding(torch.ones(5, 3), 5).tolist() == [0, 1, 2, 3, 4]


def test_features_of_any_shape_are_flattened():
    features = draw(24, 12, 2, 3, 2)
    assert torch.equal(select_herding(features, 5), select_herding(features.reshape(12, 12), 5))


def test_features_of_zero_do_not_break_it():
    assert select_herding(torch.zeros(3, 4), 2).tolist() == [0, 1]


def test_features_are_extracted_from_images_as_stored():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    features = features_of(images, lambda batch: (batch.float() - 127.5) / 63.75)
    torch.testing.assert_close(features, torch.tensor([[-2.0] * 4, [2.0] * 4]))


def test_features_of_a_class_larger_than_a_batch():
    images = torch.randint(256, (600, 1, 1, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    sizes = []
    features = features_of(images, lambda x: (sizes.append(len(x)), x)[1])
    assert sizes == [256, 256, 88]
    torch.testing.assert_close(features, images.flatten(1))


# --- weights


def by_angle(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


@pytest.mark.parametrize("rule", ["herding", "closest", "k_centre"])
def test_weights_move_the_mean_that_the_first_pick_is_closest_to(rule):
    features = by_angle(0, 40, 90)  # mean at 43 degrees
    generator = torch.Generator()
    even, right = torch.ones(3, dtype=torch.float64), torch.tensor([1.0, 1.0, 30.0], dtype=torch.float64)
    assert RULES[rule](features, 1, even, generator).tolist() == [1]
    assert RULES[rule](features, 1, right, generator).tolist() == [2]


def test_weights_of_herding_stand_for_copies():
    features = draw(30, 8, 3)
    weights = torch.tensor([1, 3, 1, 1, 2, 1, 1, 4], dtype=torch.float64)
    copies = features.repeat_interleave(weights.long(), 0)
    units = (copies / copies.norm(dim=1, keepdim=True)).numpy()
    first = int(select_herding(features, 1, weights))
    nearest = ((units - units.mean(0)) ** 2).sum(1).argmin()
    assert first == int(torch.arange(8).repeat_interleave(weights.long())[nearest])


# --- closest and k-centre


def test_closest_by_hand():
    # the mean of unit vectors at 0, 90, 40 and 60 degrees points to 47.5: distances 47.5, 42.5, 7.5 and 12.5
    assert select_closest(by_angle(0, 90, 40, 60), 4).tolist() == [2, 3, 1, 0]


def test_closest_takes_ties_in_order():
    assert select_closest(torch.ones(4, 3), 3).tolist() == [0, 1, 2]


def test_k_centre_by_hand():
    # The mean of 0, 10, 20, 50 and 90 degrees points to 33 degrees: 20 is closest (13 against 17 of 50). Then the
    # farthest each time: 90 (70 away), 50 (30 from 20), 0 (20 from 20), 10.
    features = by_angle(0, 10, 20, 50, 90)
    assert select_k_centre(features, 5).tolist() == [2, 4, 3, 0, 1]


def test_k_centre_never_picks_twice_even_among_copies():
    assert sorted(select_k_centre(torch.ones(4, 2), 4).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_picks_distinct_images_and_a_prefix_of_more(rule):
    features, weights = draw(31, 20, 4), torch.ones(20, dtype=torch.float64)
    few, many = (RULES[rule](features, n, weights, torch.Generator().manual_seed(4)).tolist() for n in (6, 20))
    assert few == many[:6]
    assert sorted(many) == list(range(20))


# --- random


def numbered(count):
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)


def drawn(count, seed, n=40, weights=None):
    weights = torch.ones(n, dtype=torch.float64) if weights is None else weights
    return select_random(numbered(n), count, weights, torch.Generator().manual_seed(seed)).tolist()


def test_random_picks_repeat_for_a_seed_only():
    assert drawn(20, 1) == drawn(20, 1)
    assert drawn(20, 1) != drawn(20, 2)


def test_random_picks_are_uniform():
    generator = torch.Generator().manual_seed(3)
    counts = np.zeros(8)
    for _ in range(800):
        counts[select_random(numbered(8), 2, torch.ones(8), generator).numpy()] += 1
    assert counts.sum() == 1600
    assert np.abs(counts - 200).max() < 60  # 200 expected each, a standard deviation of about 12


def test_random_picks_follow_weights():
    generator = torch.Generator().manual_seed(5)
    weights = torch.tensor([6.0, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    counts = np.zeros(5)
    for _ in range(1000):
        counts[select_random(numbered(5), 1, weights, generator).numpy()] += 1
    assert abs(counts[0] - 600) < 80  # a standard deviation of 15.5
    assert np.abs(counts[1:] - 100).max() < 50


def test_weighted_random_picks_are_distinct():
    for seed in range(5):
        weights = torch.tensor([50.0] * 2 + [1.0] * 8, dtype=torch.float64)
        assert sorted(drawn(10, seed, 10, weights)) == list(range(10))


def test_random_picks_leave_global_randomness():
    before = torch.get_rng_state()
    select_random(numbered(9), 2, torch.ones(9), torch.Generator().manual_seed(0))
    select_random(numbered(9), 2, torch.arange(9) + 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


# --- orders


ANGLES = torch.tensor([[255, 0], [200, 160], [0, 255]], dtype=torch.uint8).view(3, 1, 1, 2)


def test_an_order_follows_its_rule_and_weights_of_each_class():
    weights = {1: torch.tensor([1.0, 1.0, 30.0], dtype=torch.float64)}
    classes = Classes({0: ANGLES, 1: ANGLES}, weights)
    order = ordering(classes, select_closest, lambda x: x, torch.Generator())
    assert order(0, 2).tolist() == [1, 0]  # at 38.7, 0 and 90 degrees, their mean at 42.8
    assert order(1, 1).tolist() == [2]


def test_an_order_follows_what_the_extractor_makes_of_the_images():
    # with black at -0.7 and white at 0.3 the images lie at -67, -41 and 157 degrees, their mean at -79
    order = ordering(Classes({0: ANGLES}), select_closest, lambda x: x / 255 - 0.7, torch.Generator())
    assert order(0, 3).tolist() == [0, 1, 2]


def test_an_order_without_features_hands_the_rule_the_images_and_its_draws():
    given = []

    def rule(features, count, weights, generator):
        given.append((features, count, weights.tolist(), generator))
        return torch.arange(count)

    draws = torch.Generator()
    assert ordering(Classes({4: ANGLES}), rule, None, draws)(4, 2).tolist() == [0, 1]
    ((features, count, weights, generator),) = given
    assert features is ANGLES
    assert (count, weights) == (2, [1.0] * 3)
    assert generator is draws
