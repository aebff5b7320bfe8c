"""What the choice between memories is made on: held-out images and networks trained beside real ones."""

import math

import pytest
import torch

from iid_cl.config.distill import EmbedderConfig, NetworkConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.data.lens import Lens
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.methods import judging
from iid_cl.methods.judging import (
    _beside_real,
    held_out_losses,
    mean_loss,
    part_held_out,
    significantly_best,
    trial_network,
)


def flat(*values, side=8):
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, side, side).contiguous()


def test_a_tenth_of_each_class_is_held_out():
    groups = {4: flat(*range(30)), 1: flat(*range(100, 119)), 2: flat(*range(200, 209))}
    rest, held = part_held_out(groups, torch.Generator().manual_seed(0))
    assert {c: len(images) for c, images in rest.items()} == {4: 27, 1: 18, 2: 9}
    assert held.labels.bincount().tolist() == [0, 1, 0, 0, 3]
    for label, images in groups.items():
        both = torch.cat([rest[label], held.images[held.labels == label]])[:, 0, 0, 0]
        assert sorted(both.tolist()) == images[:, 0, 0, 0].tolist()


def test_at_most_200_images_of_a_class_are_held_out():
    images = torch.zeros(2500, 1, 1, 1, dtype=torch.uint8)
    rest, held = part_held_out({0: images}, torch.Generator().manual_seed(0))
    assert (len(rest[0]), len(held)) == (2300, 200)


@pytest.fixture
def few_updates(monkeypatch):
    """Enough for black and white."""
    monkeypatch.setattr(judging, "UPDATES", 60)


def judged(candidates, held, *, beside=None, seed=0):
    return held_out_losses(
        candidates,
        held,
        NetworkConfig(width=4, depth=1, norm="none"),
        beside=beside,
        lens=Lens(Normalization((0.5,), (0.5,)), (), torch.device("cpu")),
        generator=torch.Generator().manual_seed(seed),
    )


def test_a_trials_network_is_the_embedder_but_no_wider_than_was_measured():
    assert trial_network(EmbedderConfig(width=128, depth=2)) == EmbedderConfig(width=32, depth=2)
    for other in (EmbedderConfig(width=16, norm="group"), EmbedderConfig(name="mlp")):
        assert trial_network(other) == other


@pytest.mark.usefixtures("few_updates")
def test_a_memory_that_teaches_the_classes_has_the_lower_loss():
    good = ExemplarSet.from_classes({0: flat(0, 10, side=8), 3: flat(250, 240, side=8)})
    bad = ExemplarSet.from_classes({0: flat(250, 240, side=8), 3: flat(0, 10, side=8)})
    held = LabelledImages(flat(5, 245), torch.tensor([0, 3]))
    losses = judged({"bad": bad, "good": good, "again": good}, held)
    assert losses["good"].shape == (2,)
    assert losses["good"].mean() < 0.5 < losses["bad"].mean()
    assert torch.equal(losses["good"], losses["again"])  # the same weights and draws for each


def test_the_first_stays_unless_another_is_better_by_two_standard_errors():
    first = torch.tensor([1.0, 1.0, 1.0, 1.0])
    # gains of 0.1 to 0.3: mean 0.2 with a standard error of 0.041; of -0.4 to 0.8: 0.2 with 0.245
    clear, vague = first - torch.tensor([0.1, 0.2, 0.2, 0.3]), first - torch.tensor([-0.4, 0.2, 0.2, 0.8])
    assert significantly_best({"a": first, "b": clear}, "a") == "b"
    assert significantly_best({"a": first, "b": vague}, "a") == "a"
    assert significantly_best({"b": vague, "a": first}, "a") == "a"  # wherever it stands
    assert significantly_best({"a": first, "b": first + 1, "c": clear, "d": first - 0.01}, "a") == "c"
    assert significantly_best({"a": clear, "b": first}, "a") == "a"
    # 0.2 with standard errors of 0.0943 and 0.1061, on either side of a half of it
    near, far = (first - 0.2 - torch.tensor([-d, 0.0, 0.0, d]) for d in (0.231, 0.26))
    assert significantly_best({"a": first, "b": near}, "a") == "b"
    assert significantly_best({"a": first, "b": far}, "a") == "a"


def test_networks_that_diverged_lose():
    broken, fine = torch.tensor([math.nan, 1.0]), torch.tensor([3.0, 3.0])
    assert mean_loss(broken) == math.inf
    assert mean_loss(fine) == 3.0
    assert significantly_best({"a": broken, "b": fine, "c": fine + 1}, "a") == "b"
    assert significantly_best({"a": broken, "b": fine}, "b") == "b"
    assert significantly_best({"a": broken, "b": broken}, "b") == "b"


def test_each_class_is_judged_once_from_memory_and_once_from_real_images():
    memory = ExemplarSet.from_classes({c: flat(c, 10 + c) for c in (0, 1, 4)})
    real = {c: flat(*range(100 + 10 * c, 105 + 10 * c)) for c in (0, 1, 4)}
    for turn, own, others in ((0, (0, 4), (1,)), (1, (1,), (0, 4))):
        mixed = _beside_real(memory, real, turn, torch.Generator().manual_seed(0))
        values = mixed.images[:, 0, 0, 0]
        kept = values < 50
        assert set(values[kept].tolist()) == {value for c in own for value in (c, 10 + c)}
        assert sorted(values[~kept].tolist()) == [100 + 10 * c + i for c in others for i in range(5)]
        assert int(kept.sum()) == int((~kept).sum()) == 5 * len(others)
        assert mixed.labels[kept].tolist() == [int(value) % 10 for value in values[kept]]
        assert mixed.labels[~kept].tolist() == [(int(value) - 100) // 10 for value in values[~kept]]


def test_a_memory_larger_than_what_is_beside_it_meets_each_real_image_again():
    memory = ExemplarSet.from_classes({0: flat(1, 2), 1: flat(3)}, partition=2)  # eight images of class 0
    mixed = _beside_real(memory, {0: flat(100), 1: flat(101, 102, 103)}, 0, torch.Generator().manual_seed(0))
    assert mixed.labels.tolist() == [0] * 8 + [1] * 8
    assert sorted(mixed.images[8:, 0, 0, 0].bincount()[101:].tolist()) == [2, 3, 3]


def test_no_more_real_images_are_seen_than_the_updates_have_room_for():
    real = {0: torch.zeros(9, 1, 8, 8, dtype=torch.uint8), 1: torch.zeros(5000, 1, 8, 8, dtype=torch.uint8)}
    mixed = _beside_real(ExemplarSet.from_classes({0: flat(1), 1: flat(2)}), real, 0, torch.Generator().manual_seed(0))
    assert mixed.labels.bincount().tolist() == [4800, 4800]  # 300 updates of 32, by halves


@pytest.mark.usefixtures("few_updates")
def test_memory_alone_is_all_that_networks_see_where_it_is_not_replayed():
    """Real images with wrong labels do harm beside it, and none otherwise."""
    memory = ExemplarSet.from_classes({0: flat(0, 10), 3: flat(250, 240)})
    held = LabelledImages(flat(5, 245), torch.tensor([0, 3]))
    wrong = {0: flat(245, 250, 240), 3: flat(5, 0, 10)}
    alone, beside = judged({"a": memory}, held)["a"], judged({"a": memory}, held, beside=wrong)["a"]
    assert alone.mean() < 0.5 < beside.mean()
