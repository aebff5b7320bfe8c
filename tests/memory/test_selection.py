"""Selection rules: herding against brute force in NumPy, and random draws."""

import numpy as np
import pytest
import torch

from iid_cl.data.images import Normalization
from iid_cl.memory.selection import herded_images, random_images, select_herding

UNIT = Normalization((0.0,), (1.0,))


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


def test_herded_images_herds_each_class_on_its_own():
    generator = torch.Generator().manual_seed(1)
    groups = {c: torch.randint(256, (n, 1, 2, 3), dtype=torch.uint8, generator=generator) for c, n in ((4, 20), (2, 9))}
    chosen = herded_images(groups, 5, lambda x: x - 0.5, UNIT, "cpu")
    for label, images in groups.items():
        features = images.numpy().reshape(len(images), -1) / 255 - 0.5
        assert torch.equal(chosen[label], images[brute_force(features, 5)])


def test_herded_images_extracts_from_normalised_images():
    seen = []

    def extract(batch):
        seen.append(batch)
        return batch.flatten(1)

    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    herded_images({0: images}, 1, extract, Normalization((0.5,), (0.25,)), "cpu")
    torch.testing.assert_close(seen[0][:, 0, 0, 0], torch.tensor([-2.0, 2.0]))


def test_herded_images_of_a_class_larger_than_a_batch():
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(256, (600, 1, 1, 2), dtype=torch.uint8, generator=generator)
    chosen = herded_images({0: images}, 3, lambda x: x - 0.5, UNIT, "cpu")[0]
    assert torch.equal(chosen, images[brute_force(images.numpy().reshape(600, 2) / 255 - 0.5, 3)])


def numbered(count):
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)


def test_random_images_are_distinct_and_of_their_class():
    groups = {0: numbered(40), 3: 100 + numbered(40)}
    chosen = random_images(groups, 10, torch.Generator().manual_seed(0))
    for label, low in ((0, 0), (3, 100)):
        drawn = chosen[label].flatten().tolist()
        assert len(set(drawn)) == 10
        assert set(drawn) <= set(range(low, low + 40))


def test_random_images_repeat_for_a_seed_only():
    first, again, other = (
        random_images({0: numbered(200)}, 20, torch.Generator().manual_seed(s))[0].flatten().tolist() for s in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_random_images_are_uniform():
    generator = torch.Generator().manual_seed(3)
    counts = np.zeros(8)
    for _ in range(800):
        counts[random_images({0: numbered(8)}, 2, generator)[0].flatten().numpy()] += 1
    assert counts.sum() == 1600
    assert np.abs(counts - 200).max() < 60  # 200 expected each, a standard deviation of about 12


def test_random_images_leave_global_randomness():
    before = torch.get_rng_state()
    random_images({0: numbered(9)}, 2, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
