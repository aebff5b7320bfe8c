"""The networks trained on an experience: what they see, what is kept of them, and what they say of images."""

from dataclasses import replace

import numpy as np
import torch

from iid_cl.compute.arithmetic import EAGER, Arithmetic
from iid_cl.config.distill import CentralizationConfig, NetworkConfig
from iid_cl.data.classes import Classes
from iid_cl.distill import trained as module
from iid_cl.distill.trained import TrainedNetwork, _sample, add_soft_labels, train_networks
from iid_cl.memory.exemplars import ExemplarSet
from tests.distill.helpers import GREY, LENS, SMALL, feature_spread, images_of, pool


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


# --- images that stand for several


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_spread_is_that_of_what_images_stand_for():
    """Two images that stand for three and one: as if there were 192 and 64 of them, in the other class as ever."""
    groups = {2: images_of(2)[2][:2], 5: images_of(5)[5]}
    for trained in pool(groups, weights={2: doubles(3.0, 1.0)}):
        stood_for = torch.cat([groups[2][:1].expand(192, -1, -1, -1), groups[2][1:].expand(64, -1, -1, -1)])
        expected = [feature_spread(trained.network, stood_for), feature_spread(trained.network, groups[5])]
        np.testing.assert_allclose(trained.spread.numpy(), expected, rtol=1e-4)
        # by hand: (3/4) (1/4) d^2 of two points that are d apart
        first, second = trained.network.features(GREY.apply(groups[2])).detach().double()
        np.testing.assert_allclose(float(trained.spread[0]), 3 / 16 * float((first - second).square().sum()), rtol=1e-4)


def test_the_spread_of_many_images_is_taken_evenly_through_the_weights():
    """Ten exemplars that stand for 50 each, then 500 new images: half of what is looked at are exemplars."""
    old, new = images_of(2, count=10)[2], images_of(5, count=100)[5].repeat(5, 1, 1, 1)
    weights = torch.cat([torch.full((10,), 50.0), torch.ones(500)]).double()
    looked_at = _sample(torch.cat([old, new]), weights)
    assert len(looked_at) == 256
    counts = [int((looked_at == image).flatten(1).all(1).sum()) for image in old]
    assert sum(counts) == 128
    assert set(counts) <= {12, 13}  # 12.8 each


def test_networks_learn_an_image_as_often_as_it_weighs():
    """Digit 0 is in both classes; whom it belongs to is decided by what its images stand for."""
    shared = images_of(0)[0]
    groups = {3: torch.cat([shared, images_of(3)[3]]), 4: torch.cat([shared, images_of(4)[4]])}
    heavy, light = torch.cat([doubles(*[20.0] * 30), doubles(*[1.0] * 30)]), torch.ones(60, dtype=torch.float64)
    for index, label in enumerate((3, 4)):
        weights = {3: light, 4: light} | {label: heavy}
        (trained,) = pool(groups, weights, trainings=1, snapshots=1, epochs=10)
        assert (trained.network(GREY.apply(shared)).argmax(1) == index).float().mean() > 0.9


def test_no_weights_are_passes_over_all_images():
    groups = images_of(2, 5)
    plain, none = pool(groups), pool(groups, weights={})
    for a, b in zip(plain, none, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.network.parameters(), b.network.parameters(), strict=True))


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
    soft = add_soft_labels(memory, networks, LENS).soft_labels
    exact = []
    for value in (round(255 * 0.7) / 255, round(255 * 0.1) / 255):
        x = (value - 0.3) / 0.4
        first = [1 / (1 + 3**x), 4**x / (1 + 4**x)]
        exact.append([sum(first) / 2, 1 - sum(first) / 2])
    roots = np.sqrt(exact / np.max(exact, axis=1, keepdims=True))
    assert soft.levels.tolist() == np.rint(15 * roots).tolist()
    assert soft.columns.tolist() == [[3, 8], [3, 8]]


def test_without_networks_an_image_of_the_one_class_is_certain():
    soft = add_soft_labels(ExemplarSet.from_classes({6: levels(0.0, 1.0)}), [], LENS).soft_labels
    assert soft.probabilities.tolist() == [[1.0], [1.0]]
    assert soft.columns.tolist() == [[6]]


# --- number format and compilation


def test_networks_are_trained_in_the_lens_format_unless_told_otherwise(monkeypatch):
    asked, used = [], []

    def choose(network, shape, images, device, precision, compiling):
        asked.append((shape, images, precision, compiling))
        return EAGER

    monkeypatch.setattr(module, "for_training", choose)
    train = module.train_classifier
    monkeypatch.setattr(
        module, "train_classifier", lambda *rest, **named: (used.append(named["arithmetic"]), train(*rest, **named))
    )
    config = CentralizationConfig(network=NetworkConfig(**SMALL), trainings=1, epochs=2, snapshots=1)
    lens = replace(LENS, precision="bfloat16", compile=False)
    train_networks(Classes(images_of(2, 5)), config, lens, 0)
    assert asked == [((1, 8, 8), 2 * 60, "bfloat16", False)]
    given = Arithmetic(torch.float32)
    train_networks(Classes(images_of(2, 5)), config, lens, 0, given)
    assert len(asked) == 1
    assert used == [EAGER, given]
