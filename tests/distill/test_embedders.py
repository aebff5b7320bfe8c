"""Embedders: drawn afresh, or a queue whose members come, train a little and leave."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from iid_cl.compute.arithmetic import EAGER
from iid_cl.config.distill import DistillConfig, NetworkConfig, QueueConfig
from iid_cl.data.classes import Classes
from iid_cl.data.images import Normalization
from iid_cl.data.lens import Lens
from iid_cl.distill.draws import make_embedders
from iid_cl.distill.embedders import EmbedderQueue, FreshEmbedders
from iid_cl.distill.sampling import ClassSampler
from iid_cl.errors import UserError
from iid_cl.nets import NamedLayer, build_network

SHAPE = (1, 4, 4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small(seed=0, classes=2):
    return build_network(NetworkConfig(width=4, depth=1), SHAPE, classes, generator(seed))


def weights_of(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


# --- with trained weights


def test_a_kept_embedder_is_the_same_in_each_draw_and_normalises_each_image_by_itself():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    module[1].running_mean.fill_(0.25)
    with pytest.raises(UserError, match="or pretrained=True"):
        NamedLayer(module, "2")
    images = torch.randn(3, *SHAPE, generator=generator())
    classes = Classes({0: torch.zeros(4, *SHAPE, dtype=torch.uint8)})
    lens = Lens(Normalization((0.5,), (0.25,)), (), torch.device("cpu"))
    sampler = ClassSampler(classes, 2, lens, seed=0)
    own = NamedLayer(module, "2", pretrained=True)
    embedders = make_embedders(DistillConfig(objective="idm"), sampler, own, EAGER, lens, 0)
    expected = (functional.conv2d(images, module[0].weight, module[0].bias) - 0.25) / (1 + 1e-5) ** 0.5
    for _ in range(2):
        network, accuracy = embedders.draw()
        assert accuracy is None
        torch.testing.assert_close(network.train().embed(images), expected)
    assert not any(parameter.requires_grad for parameter in network.parameters())


# --- drawn afresh


def test_fresh_embedders_differ_from_draw_to_draw():
    embedders = FreshEmbedders(small(), generator())
    drawn = []
    for _ in range(4):
        network, accuracy = embedders.draw()
        assert accuracy is None
        drawn.append(network.blocks[0].weight.clone())
    assert all(not torch.equal(drawn[i], drawn[j]) for i in range(4) for j in range(i))


def test_fresh_embedders_repeat_for_a_seed_whatever_they_held_before():
    first, again, other = (FreshEmbedders(small(start), generator(seed)) for start, seed in ((1, 7), (2, 7), (1, 8)))
    for _ in range(3):
        a, b, c = (weights_of(embedders.draw()[0]) for embedders in (first, again, other))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_a_fresh_embedder_is_frozen_and_drawn_within_the_default_bounds():
    network, _ = FreshEmbedders(small(), generator()).draw()
    assert not any(parameter.requires_grad for parameter in network.parameters())
    weight = network.blocks[0].weight  # 1 input channel of 3x3: uniform in +-1/3
    assert 0.25 < weight.abs().max() <= 1 / 3


# --- the queue


class Source:
    """Toy pictures of two classes: bright above, or bright below, in noise. Remembers batches of 16."""

    def __init__(self, seed=0, noise=0.3):
        self.generator, self.noise, self.batches = generator(seed), noise, []

    def __call__(self, count):
        labels = torch.randint(2, (count,), generator=self.generator)
        images = self.noise * torch.randn(count, *SHAPE, generator=self.generator)
        images[labels == 0, :, :2] += 1
        images[labels == 1, :, 2:] += 1
        self.batches += zip(images.split(16), labels.split(16), strict=True)
        return images, labels


class Recorded(EmbedderQueue):
    """A queue together with every network that it was made with, in order."""

    def __init__(self, *, seed=0, source=None, size=3, every=2, **options):
        self.SIZE, self.EVERY = size, every
        self.made, self.source = [], source or Source(seed)
        config = QueueConfig(**{"networks": 1, "steps": 2, "batch_size": 16} | options)

        def make():
            self.made.append(small(seed=100 + 10 * seed + len(self.made)))
            return self.made[-1]

        super().__init__(config, make, self.source, generator(seed))

    def changed_by_draw(self):
        """Indices of the networks whose weights the draw changed, and what was drawn."""
        before = [weights_of(network) for network in self.made]
        drawn = self.draw()
        after = [weights_of(network) for network in self.made]
        newborn = weights_of(small(seed=100 + len(before)))  # as it was made, for seed 0
        before += [newborn] * (len(after) - len(before))
        return [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if not torch.equal(a, b)], drawn


def test_queue_is_empty_before_the_first_draw():
    queue = Recorded()
    assert (len(queue), queue.ages, queue.made) == (0, [], [])


def test_networks_join_every_so_often_and_the_oldest_leaves():
    queue = Recorded(size=3, every=2)
    ages = []
    for _ in range(9):
        queue.draw()
        ages.append(queue.ages)
    # one joins in the iterations 1, 3, 5, 7 and 9 and is an iteration old when that is over
    assert ages == [[1], [2], [3, 1], [4, 2], [5, 3, 1], [6, 4, 2], [5, 3, 1], [6, 4, 2], [5, 3, 1]]
    assert len(queue) == 3
    assert len(queue.made) == 5


def test_only_members_are_drawn():
    queue = Recorded(size=2, every=1, networks=1)
    for iteration in range(12):
        drawn = queue.draw()[0]
        assert any(drawn is member for member in queue.made[max(0, iteration - 1) :])


def test_every_member_is_drawn_at_some_time():
    queue = Recorded(size=3, every=1, steps=1, batch_size=2)
    for _ in range(3):
        queue.draw()
    older = len(queue.made)
    positions = []
    for _ in range(40):
        network = queue.draw()[0]
        members = queue.made[-3:]
        positions.append(next(i for i, member in enumerate(members) if member is network))
    assert older == 3
    assert set(positions) == {0, 1, 2}


@pytest.mark.parametrize("networks", [1, 2])
def test_so_many_networks_train_in_an_iteration_and_no_other_changes(networks):
    queue = Recorded(size=4, every=1, networks=networks, steps=2)
    ever = set()
    for iteration in range(10):
        changed, _ = queue.changed_by_draw()
        assert len(changed) == min(networks, iteration + 1)
        assert min(changed) >= iteration - 3  # those that left train no more
        ever.update(iteration - index for index in changed)
    assert len(ever) >= 3  # of every age
    trained = sum(min(networks, iteration + 1) for iteration in range(10))
    assert [len(labels) for _, labels in queue.source.batches] == [16] * (trained * 2)


def test_a_training_is_sgd_with_momentum_and_decay_on_cross_entropy():
    queue = Recorded(size=1, every=100, networks=1, steps=3)
    network = copy.deepcopy(small(seed=100))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for iteration in range(2):  # momentum goes on from one iteration to the next
        drawn, accuracy = queue.draw()
        hits = 0
        for images, labels in queue.source.batches[3 * iteration :]:
            scores = network(images)
            hits += int((scores.argmax(1) == labels).sum())
            optimizer.zero_grad()
            functional.cross_entropy(scores, labels).backward()
            optimizer.step()
        torch.testing.assert_close(weights_of(drawn), weights_of(network))
        assert accuracy.item() == pytest.approx(hits / 48, abs=1e-6)
        assert accuracy.shape == ()
        assert not accuracy.requires_grad


class Fixed:
    """The same batch of eight again and again: three pictures of class 0, five of class 1."""

    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])

    def __call__(self, count):
        return torch.zeros(count, *SHAPE), self.labels.repeat(count // 8)


def test_accuracy_of_a_network_that_says_one_class_by_hand():
    config = QueueConfig(networks=1, steps=2, batch_size=8)

    def decided():
        network = small()
        with torch.no_grad():
            network.classifier.weight.zero_()
            network.classifier.bias.copy_(torch.tensor([0.0, 9.0]))
        return network

    assert EmbedderQueue(config, decided, Fixed(), generator()).draw()[1].item() == pytest.approx(5 / 8)


def test_a_network_that_never_trained_has_no_accuracy():
    """With many newcomers and one training per iteration some are drawn untrained."""
    queue = Recorded(size=8, every=1, networks=1, steps=1)
    trained, seen = set(), {True: [], False: []}
    for _ in range(40):
        changed, (network, accuracy) = queue.changed_by_draw()
        trained.update(changed)
        index = next(i for i, made in enumerate(queue.made) if made is network)
        seen[index in trained].append(accuracy.item())
    assert len(seen[False]) > 2
    assert set(seen[False]) == {0.0}
    assert all(0 <= value <= 1 for value in seen[True])
    assert max(seen[True]) > 0


def test_networks_come_out_frozen():
    queue = Recorded(size=3, every=1, networks=2)
    for _ in range(5):
        queue.draw()
        assert not any(parameter.requires_grad for network in queue.made for parameter in network.parameters())


def test_a_seed_repeats_and_another_does_not():
    runs = []
    for seed in (1, 1, 2):
        queue = Recorded(seed=seed)
        drawn = [queue.draw() for _ in range(7)]
        runs.append([(weights_of(network), accuracy) for network, accuracy in drawn])
    assert all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(runs[0], runs[1], strict=True))
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(runs[0], runs[2], strict=True))


def test_a_separable_problem_is_learned():
    queue = Recorded(size=1, every=100, networks=1, steps=10, batch_size=32)
    first = queue.draw()[1].item()
    for _ in range(15):
        network, accuracy = queue.draw()
    assert accuracy.item() > max(0.95, first)
    images, labels = Source(seed=9)(200)
    assert (network(images).argmax(1) == labels).float().mean() > 0.95


def test_global_randomness_is_untouched():
    before = torch.get_rng_state()
    queue = Recorded()
    for _ in range(3):
        queue.draw()
    FreshEmbedders(small(), generator()).draw()
    assert torch.equal(torch.get_rng_state(), before)
