"""Training from scratch on a memory of digits: repeatable, above chance, judged on the memory's classes."""

from functools import cache

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from iid_cl.config import EvaluateConfig, NetworkConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.evaluate.scratch import train_from_scratch
from iid_cl.memory.exemplars import ExemplarSet

GREY = Normalization((0.3,), (0.4,))
CPU = torch.device("cpu")


@cache
def digits():
    bundle = load_digits()
    images = torch.from_numpy(np.round(bundle.images * 15).astype(np.uint8))[:, None]
    labels = torch.from_numpy(bundle.target).long()
    return LabelledImages(images[:900], labels[:900]), LabelledImages(images[900:], labels[900:])


def memory_of(*classes, count=10):
    train = digits()[0].by_class()
    return ExemplarSet.from_classes({c: train[c][:count] for c in classes})


def judge(memory, test=None, *, seed=0, epochs=40, networks=1, norm="instance", lr=0.02, **options):
    network = NetworkConfig(name="convnet", width=8, depth=2, norm=norm)
    config = EvaluateConfig(
        network=network,
        epochs=epochs,
        batch_size=16,
        lr=lr,
        momentum=0.9,
        weight_decay=5e-4,
        networks=networks,
    )
    return train_from_scratch(
        memory, test or digits()[1], config,
        normalization=GREY, augmentations=("crop", "scale", "rotate"), seed=seed, device=CPU, **options,
    )  # fmt: skip


def test_learns_well_above_chance():
    (accuracy,) = judge(memory_of(0, 1, 4))
    assert 0.75 < accuracy <= 1.0


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_learns_with_other_norms(norm):
    assert judge(memory_of(0, 1, 4), norm=norm, epochs=60)[0] > 0.6


def test_untrained_networks_know_little():
    accuracies = judge(memory_of(*range(10), count=1), epochs=1, networks=3)
    assert max(accuracies) < 0.5


def test_a_seed_repeats_and_another_does_not():
    memory = memory_of(0, 1, 4, 8)
    first, again, other = (judge(memory, seed=s, epochs=5, networks=3) for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_each_network_has_weights_of_its_own():
    untrained = judge(memory_of(*range(10)), epochs=1, networks=4, lr=1e-12)
    assert len(set(untrained)) > 1


def test_a_network_does_not_depend_on_how_many_are_trained():
    memory = memory_of(0, 1, 4)
    assert judge(memory, epochs=4, networks=3)[:2] == judge(memory, epochs=4, networks=2)


def test_only_the_memorys_classes_are_judged():
    memory = memory_of(1, 4)
    everything = digits()[1]
    only = everything.of_classes([1, 4])
    assert 0 < len(only) < len(everything)
    assert judge(memory, everything) == judge(memory, only)
    assert judge(memory)[0] > 0.7  # counting the other eight classes it would be at most a fifth


def test_accuracy_is_a_share_of_the_memorys_test_images():
    memory, test = memory_of(1, 4), digits()[1]
    few = LabelledImages(test.images[:40], test.labels[:40])
    count = int(((few.labels == 1) | (few.labels == 4)).sum())
    right = judge(memory, few, epochs=3)[0] * count
    assert right == pytest.approx(round(right), abs=1e-4)


def test_test_images_do_not_take_part_in_training():
    memory, test = memory_of(1, 4), digits()[1].of_classes([1, 4])
    half = LabelledImages(test.images[::2], test.labels[::2])
    other = LabelledImages(test.images[1::2], test.labels[1::2])
    counts = [judge(memory, part, epochs=4)[0] * len(part) for part in (half, other, test)]
    assert counts[0] + counts[1] == pytest.approx(counts[2], abs=1e-3)


def test_wrong_labels_are_learned_as_given():
    right = memory_of(0, 1)
    swapped = ExemplarSet(right.images, 1 - right.labels)
    assert judge(right)[0] > 0.8
    assert judge(swapped)[0] < 0.2


def test_every_network_is_reported():
    calls = []
    accuracies = judge(memory_of(0, 1), epochs=2, networks=3, on_network=lambda *call: calls.append(call))
    assert calls == [(number, accuracy) for number, accuracy in zip((1, 2, 3), accuracies, strict=True)]


def test_global_randomness_is_untouched():
    before = torch.get_rng_state()
    judge(memory_of(0, 1), epochs=2)
    assert torch.equal(torch.get_rng_state(), before)
