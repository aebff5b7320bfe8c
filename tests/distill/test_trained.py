"""The networks trained on an experience: what they see, what is kept of them, and what they say of images."""

import numpy as np
import torch

from iid_cl.distill.trained import TrainedNetwork, add_soft_labels
from iid_cl.memory.exemplars import ExemplarSet
from tests.distill.helpers import CPU, GREY, feature_spread, images_of, pool


def test_pool_holds_every_snapshot_of_every_training():
    assert len(pool(images_of(2, 5), trainings=3, epochs=4, snapshots=2)) == 6


def test_pool_has_no_more_snapshots_than_epochs():
    assert len(pool(images_of(2, 5), trainings=2, epochs=1, snapshots=4)) == 2


def test_networks_of_the_pool_are_frozen_and_distinct():
    networks = [t.network for t in pool(images_of(2, 5))]
    weights = [n.classifier.weight for n in networks]
    assert all(not n.training for n in networks)
    assert not any(p.requires_grad for n in networks for p in n.parameters())
    assert all(not torch.equal(weights[i], weights[j]) for i in range(4) for j in range(i))


def test_pool_measures_the_spread_of_each_class_on_real_images():
    groups = images_of(2, 5, 7)
    for trained in pool(groups):
        expected = [feature_spread(trained.network, groups[c]) for c in groups]
        np.testing.assert_allclose(trained.spread.numpy(), expected, rtol=1e-4)


def test_pool_repeats_for_a_seed():
    first, again = pool(images_of(2, 5)), pool(images_of(2, 5))
    for a, b in zip(first, again, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.network.parameters(), b.network.parameters(), strict=True))


def test_networks_of_the_pool_have_learned_their_classes():
    groups = images_of(0, 1)
    trained = pool(groups, trainings=1, snapshots=1, epochs=15)[0]
    hits = [
        (trained.network(GREY.apply(images)).argmax(1) == index).float().mean()
        for index, images in enumerate(groups.values())
    ]
    assert min(hits) > 0.8


def test_snapshots_are_evenly_spaced_along_a_training():
    """Networks of shorter trainings are the earlier snapshots of a longer one, as the rate does not drop."""
    groups = images_of(2, 5)
    snapshots = pool(groups, trainings=1, epochs=4, snapshots=2)
    for snapshot, epochs in zip(snapshots, (2, 4), strict=True):
        (alone,) = pool(groups, trainings=1, epochs=epochs, snapshots=1)
        pairs = zip(snapshot.network.parameters(), alone.network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


# --- soft labels


class Fixed(torch.nn.Module):
    """The same scores for every image, shifted by its mean pixel."""

    def __init__(self, *scores):
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, images):
        return self.scores * images.mean((1, 2, 3))[:, None]


def levels(*values):
    """Flat images of 2x2 pixels at normalised values, as bytes."""
    return torch.tensor([round(255 * (0.3 + 0.4 * value)) for value in values], dtype=torch.uint8).view(
        -1, 1, 1, 1
    ).expand(-1, 1, 2, 2)  # fmt: skip


def test_soft_labels_average_probabilities_and_not_scores_by_hand():
    memory = ExemplarSet.from_classes({3: levels(1.0), 8: levels(-0.5)})
    networks = [TrainedNetwork(Fixed(*scores), torch.ones(2)) for scores in ((0.0, np.log(3.0)), (np.log(4.0), 0.0))]
    soft = add_soft_labels(memory, networks, GREY, CPU).soft_labels
    exact = []
    for value in (round(255 * 0.7) / 255, round(255 * 0.1) / 255):
        x = (value - 0.3) / 0.4
        first = [1 / (1 + 3**x), 4**x / (1 + 4**x)]
        exact.append([sum(first) / 2, 1 - sum(first) / 2])
    np.testing.assert_allclose(soft.probabilities.double().numpy(), exact, atol=5e-4)
    assert soft.columns.tolist() == [[3, 8], [3, 8]]


def test_without_networks_an_image_of_the_one_class_is_certain():
    soft = add_soft_labels(ExemplarSet.from_classes({6: levels(0.0, 1.0)}), [], GREY, CPU).soft_labels
    assert soft.probabilities.tolist() == [[1.0], [1.0]]
    assert soft.columns.tolist() == [[6]]
