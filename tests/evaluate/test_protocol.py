"""Training from scratch on a memory of digits: repeatable, above chance, judged on the memory's classes."""

import threading
from contextlib import contextmanager, nullcontext
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from iid_cl.compute.arithmetic import EAGER
from iid_cl.compute.classifier import Training, train_classifier
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import EvaluateConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.evaluate import protocol as scratch
from iid_cl.evaluate.protocol import Judgement, judge
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.nets import build_network
from iid_cl.seeding import make_generator

GREY = Normalization((0.3,), (0.4,))
AUGMENTATIONS = ("crop", "scale", "rotate")
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


def judged(memory, test=None, *, seed=0, epochs=40, networks=1, norm="instance", transfer=(), **options):
    network = NetworkConfig(name="convnet", width=8, depth=2, norm=norm)
    config = EvaluateConfig(
        network=options.pop("network", network),
        epochs=epochs,
        batch_size=16,
        networks=networks,
        transfer=list(transfer),
    )
    return judge(
        memory, test or digits()[1], config,
        normalization=GREY, augmentations=AUGMENTATIONS, seed=seed, device=CPU, **options,
    )  # fmt: skip


def accuracies_of(*args, **options):
    """Those of the only architecture."""
    (judgement,) = judged(*args, **options)
    return judgement.accuracies


def test_learns_well_above_chance():
    (accuracy,) = accuracies_of(memory_of(0, 1, 4))
    assert 0.75 < accuracy <= 1.0


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_learns_with_other_norms(norm):
    assert accuracies_of(memory_of(0, 1, 4), norm=norm, epochs=60)[0] > 0.6


def test_untrained_networks_know_little():
    accuracies = accuracies_of(memory_of(*range(10), count=1), epochs=1, networks=3)
    assert max(accuracies) < 0.5


def test_a_seed_repeats_and_another_does_not():
    memory = memory_of(0, 1, 4, 8)
    first, again, other = (accuracies_of(memory, seed=s, epochs=5, networks=3) for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_each_network_has_weights_of_its_own(monkeypatch):
    monkeypatch.setattr(scratch, "train_classifier", lambda *rest, **named: None)
    untrained = accuracies_of(memory_of(*range(10)), networks=4)
    assert len(set(untrained)) > 1


def test_a_network_does_not_depend_on_how_many_are_trained():
    memory = memory_of(0, 1, 4)
    assert accuracies_of(memory, epochs=4, networks=3)[:2] == accuracies_of(memory, epochs=4, networks=2)


def test_only_the_memorys_classes_are_judged():
    memory = memory_of(1, 4)
    everything = digits()[1]
    only = everything.of_classes([1, 4])
    assert 0 < len(only) < len(everything)
    assert accuracies_of(memory, everything) == accuracies_of(memory, only)
    assert accuracies_of(memory)[0] > 0.7  # counting the other eight classes it would be at most a fifth


def test_accuracy_is_a_share_of_the_memorys_test_images():
    memory, test = memory_of(1, 4), digits()[1]
    few = LabelledImages(test.images[:40], test.labels[:40])
    count = int(((few.labels == 1) | (few.labels == 4)).sum())
    right = accuracies_of(memory, few, epochs=3)[0] * count
    assert right == pytest.approx(round(right), abs=1e-4)


def test_test_images_do_not_take_part_in_training():
    memory, test = memory_of(1, 4), digits()[1].of_classes([1, 4])
    half = LabelledImages(test.images[::2], test.labels[::2])
    other = LabelledImages(test.images[1::2], test.labels[1::2])
    counts = [accuracies_of(memory, part, epochs=4)[0] * len(part) for part in (half, other, test)]
    assert counts[0] + counts[1] == pytest.approx(counts[2], abs=1e-3)


def test_wrong_labels_are_learned_as_given():
    right = memory_of(0, 1)
    swapped = ExemplarSet(right.images, 1 - right.labels)
    assert accuracies_of(right)[0] > 0.8
    assert accuracies_of(swapped)[0] < 0.2


def test_every_network_is_reported():
    calls = []
    (judgement,) = judged(memory_of(0, 1), epochs=2, networks=3, on_network=lambda *call: calls.append(call))
    assert calls == [(judgement.network, number + 1, judgement.accuracies[number]) for number in range(3)]


def test_global_randomness_is_untouched():
    before = torch.get_rng_state()
    accuracies_of(memory_of(0, 1), epochs=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_mean_of_a_judgement():
    assert Judgement(NetworkConfig(), [0.5, 0.25, 0.75, 0.7]).mean == pytest.approx(0.55)
    assert Judgement(NetworkConfig(), [0.3]).mean == 0.3


TINY = NetworkConfig(width=4, depth=1)
OTHER = NetworkConfig(width=6, depth=2, norm="batch")
MLP = NetworkConfig(name="mlp")


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def weights_of(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def trained_alone(memory, architecture, number, seed):
    """The network of this number, trained here and now; ``memory`` holds images and labels as they are trained on."""
    network = build_network(architecture, (1, 8, 8), 10, make_generator(seed, "scratch weights", number), CPU)
    train_classifier(
        network, GREY.apply(memory.images), memory.labels.long(), Training(3, batch_size=16),
        augmentations=AUGMENTATIONS, generator=make_generator(seed, "scratch training", number),
    )  # fmt: skip
    network.eval()
    test = digits()[1]
    return network, float((network(GREY.apply(test.images)).argmax(1) == test.labels).float().mean())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_side_by_side_each_network_is_the_one_trained_alone(count, monkeypatch):
    memory, found = memory_of(*range(10), count=4), []
    measure = scratch.accuracy

    def accuracy(network, *data):
        found.append(weights_of(network))
        return measure(network, *data)

    monkeypatch.setattr(scratch, "accuracy", accuracy)
    with threads(count):
        judgements = judged(memory, network=TINY, transfer=[OTHER], epochs=3, networks=3, seed=7)
    for architecture, judgement in zip((TINY, OTHER), judgements, strict=True):
        alone = [trained_alone(memory, architecture, number, 7) for number in range(3)]
        assert judgement.accuracies == pytest.approx([value for _, value in alone], abs=1e-7)
        for network, _ in alone:
            assert sum(torch.equal(weights_of(network), each) for each in found) == 1
    assert len(found) == 6


@pytest.mark.parametrize(
    ("options", "asked"),
    [({}, ("auto", None)), ({"precision": "bfloat16"}, ("bfloat16", None)), ({"compile": True}, ("auto", True))],
    ids=str,
)
def test_networks_train_in_the_arithmetic_asked_for(options, asked, monkeypatch):
    """All of an architecture share a compilation, which several threads must not make at a time."""
    found = []

    def choose(network, shape, images, device, precision, compiling):
        found.append((shape, images, precision, compiling, threading.current_thread() is threading.main_thread()))
        return EAGER

    monkeypatch.setattr(scratch, "for_training", choose)
    memory = memory_of(*range(10), count=2)
    with threads(2):
        judged(memory, epochs=3, networks=2, **options)
    assert found == [((1, 8, 8), 2 * 3 * 20, *asked, bool(options.get("compile")))] * 2


def test_a_seed_repeats_bit_for_bit_side_by_side():
    memory = memory_of(*range(10), count=3)
    with threads(2):
        first, again, other = (judged(memory, transfer=[MLP], epochs=3, networks=4, seed=s) for s in (3, 3, 4))
    assert first == again
    assert all(a.accuracies != b.accuracies for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_calling_threads_count_is_unchanged(count):
    with threads(count):
        judged(memory_of(0, 1), network=TINY, epochs=1, networks=3)
        assert torch.get_num_threads() == count


@pytest.mark.parametrize("fails", [False, True])
def test_threads_started_later_begin_with_the_count_of_before(fails, monkeypatch):
    """Each thread of the pool sets its own count, which PyTorch hands on to threads that start afterwards."""
    if fails:
        monkeypatch.setattr(scratch, "train_classifier", None)  # a TypeError inside the pool
    seen = []
    with threads(4):
        before = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        before.start()
        before.join()
        with pytest.raises(TypeError) if fails else nullcontext():
            judged(memory_of(0, 1), network=TINY, epochs=1, networks=2)
        after = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        after.start()
        after.join()
    assert seen == [4, 4]


def recorded(monkeypatch, act=lambda number: None):
    """Calls of train_classifier with their thread and its thread count; ``act`` is told the number of the call."""
    calls, lock = [], threading.Lock()

    def train(network, images, labels, training, **options):
        with lock:
            options["training"] = training
            calls.append((threading.get_ident(), torch.get_num_threads(), images, labels, options))
            number = len(calls)
        act(number)

    monkeypatch.setattr(scratch, "train_classifier", train)
    return calls


@pytest.mark.parametrize(
    ("available", "networks", "each"), [(2, 3, 1), (5, 2, 2), (3, 3, 1), (6, 2, 3), (4, 1, 4), (1, 3, 1)]
)
def test_threads_are_shared_among_the_networks(available, networks, each, monkeypatch):
    calls = recorded(monkeypatch)
    with threads(available):
        judged(memory_of(0, 1), network=TINY, networks=networks)
    assert [count for _, count, *_ in calls] == [each] * networks


def test_two_networks_train_at_once_with_two_threads(monkeypatch):
    meeting = threading.Barrier(2, timeout=20)  # breaks, with an error, unless two meet
    calls = recorded(monkeypatch, lambda number: meeting.wait())
    with threads(2):
        judged(memory_of(0, 1), network=TINY, networks=4)
    assert len({thread for thread, *_ in calls}) == 2
    assert threading.get_ident() not in {thread for thread, *_ in calls}


def test_one_thread_trains_where_it_was_called(monkeypatch):
    calls = recorded(monkeypatch)
    judged(memory_of(0, 1), network=TINY, networks=3)
    assert [thread for thread, *_ in calls] == [threading.get_ident()] * 3


def test_networks_are_reported_in_order_from_the_calling_thread(monkeypatch):
    second_is_done, measure = threading.Event(), scratch.accuracy

    def accuracy(network, *data):
        if torch.equal(weights_of(network), first):
            assert second_is_done.wait(20)
        else:
            second_is_done.set()
        return measure(network, *data)

    recorded(monkeypatch)  # untrained, so that the first network is known by its initial weights
    first = weights_of(build_network(TINY, (1, 8, 8), 2, make_generator(0, "scratch weights", 0), CPU))
    monkeypatch.setattr(scratch, "accuracy", accuracy)
    calls = []
    with threads(2):
        (judgement,) = judged(
            memory_of(0, 1),
            network=TINY,
            networks=2,
            on_network=lambda *call: calls.append((threading.get_ident(), *call)),
        )
    here = threading.get_ident()
    assert calls == [(here, TINY, 1, judgement.accuracies[0]), (here, TINY, 2, judgement.accuracies[1])]


def test_a_network_that_fails_is_heard(monkeypatch):
    def fail(number):
        if number == 2:
            raise RuntimeError("no more memory")

    recorded(monkeypatch, fail)
    with threads(2), pytest.raises(RuntimeError, match="no more memory"):
        judged(memory_of(0, 1), network=TINY, networks=3)


def test_further_architectures_are_judged_as_if_alone():
    memory, calls = memory_of(*range(10), count=3), []
    options = {"epochs": 3, "networks": 2, "seed": 5}
    found = judged(memory, transfer=[MLP, OTHER], on_network=lambda *call: calls.append(call[:2]), **options)
    first = NetworkConfig(width=8, depth=2)
    assert [judgement.network for judgement in found] == [first, MLP, OTHER]
    assert calls == [(network, number) for network in (first, MLP, OTHER) for number in (1, 2)]
    assert found[0].accuracies == accuracies_of(memory, **options)
    assert found[1].accuracies == accuracies_of(memory, network=MLP, **options)
    assert found[2].accuracies == accuracies_of(memory, network=OTHER, **options)


def test_networks_train_as_configured(monkeypatch):
    calls = recorded(monkeypatch)
    config = EvaluateConfig(network=TINY, epochs=7, batch_size=3, networks=2)
    judge(
        memory_of(1, 4), digits()[1], config,
        normalization=GREY, augmentations=("color",), seed=0, device=CPU,
    )  # fmt: skip
    for *_, images, labels, options in calls:
        assert options["training"] == Training(7, 3, lr=0.01, momentum=0.9, weight_decay=5e-4, lr_drop=True)
        assert tuple(options["augmentations"]) == ("color",)
        assert labels.tolist() == [1] * 10 + [4] * 10
        torch.testing.assert_close(images, (memory_of(1, 4).images / 255 - 0.3) / 0.4)
    draws = [torch.rand(1, generator=options["generator"]).item() for *_, options in calls]
    assert draws[0] != draws[1]


def test_soft_labels_are_what_is_trained_on(monkeypatch):
    calls = recorded(monkeypatch)
    rows = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.0, 1.0]])  # as levels hold them
    judged(memory_of(1, 4, count=2).with_soft_labels(rows, [1, 4]), network=TINY)
    ((*_, labels, _),) = calls
    expected = [[0, 0.9, 0, 0, 0.1], [0, 0.5, 0, 0, 0.5], [0, 0.1, 0, 0, 0.9], [0, 0, 0, 0, 1]]
    torch.testing.assert_close(labels, torch.tensor(expected))


def test_soft_labels_are_learned_against_the_class_of_an_image():
    memory = memory_of(0, 1)
    swapped = torch.tensor([[0.1, 0.9]] * 10 + [[0.9, 0.1]] * 10)
    assert accuracies_of(memory.with_soft_labels(1 - swapped, [0, 1]))[0] > 0.8
    assert accuracies_of(memory.with_soft_labels(swapped, [0, 1]))[0] < 0.2


def test_a_partitioned_memory_trains_on_each_part_at_full_size(monkeypatch):
    calls = recorded(monkeypatch)
    values = {1: (0, 51, 102, 153), 4: (204, 255, 51, 0)}  # of the quarters in reading order
    quarters = torch.tensor(list(values.values()), dtype=torch.uint8).view(2, 1, 2, 2)
    images = quarters.repeat_interleave(4, 2).repeat_interleave(4, 3)
    judged(ExemplarSet(images, torch.tensor([1, 4], dtype=torch.int16), partition=2), network=TINY)
    ((_, _, shown, labels, _),) = calls
    assert labels.tolist() == [1] * 4 + [4] * 4
    expected = torch.tensor([*values[1], *values[4]]).view(8, 1, 1, 1).expand(8, 1, 8, 8)
    torch.testing.assert_close(shown, (expected / 255 - 0.3) / 0.4)
