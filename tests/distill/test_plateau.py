"""Early stopping: what is held out, the loss against NumPy, and when enough is enough."""

import math

import numpy as np
import pytest
import torch

from iid_cl.config.distill import EarlyStoppingConfig, EmbedderConfig
from iid_cl.distill.plateau import NETWORKS, Plateau, hold_out
from iid_cl.errors import UserError
from iid_cl.memory.partition import expand
from iid_cl.nets import build_network
from iid_cl.seeding import make_generator
from tests.distill.helpers import GREY, LENS, SMALL, images_of, settings


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count):
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)


def numbers(images):
    return images.flatten().tolist()


# --- what is held out


@pytest.mark.parametrize(("count", "held"), [(20, 2), (29, 2), (30, 3), (200, 20)])
def test_a_tenth_is_parted_from_the_rest_which_keeps_its_order(count, held):
    rest, out = hold_out({4: numbered(count)}, 0)
    assert rest.keys() == out.keys() == {4}
    assert len(out[4]) == held
    assert numbers(rest[4]) == sorted(set(range(count)) - set(numbers(out[4])))
    assert len(rest[4]) == count - held


def test_a_tenth_of_each_class_is_drawn():
    groups = {7: numbered(100), 3: numbered(50)}
    rest, out = hold_out(groups, 0)
    assert {c: len(images) for c, images in out.items()} == {3: 5, 7: 10}
    assert {c: len(images) for c, images in rest.items()} == {3: 45, 7: 90}
    seen = {tuple(sorted(numbers(hold_out({3: numbered(50)}, seed)[1][3]))) for seed in range(6)}
    assert len(seen) == 6
    again = hold_out(groups, 0)
    assert all(torch.equal(again[i][c], part[c]) for i, part in enumerate((rest, out)) for c in (3, 7))


def test_every_image_is_held_out_at_some_time():
    seen = [number for seed in range(400) for number in numbers(hold_out({0: numbered(20)}, seed)[1][0])]
    counts = np.bincount(seen, minlength=20)
    assert counts.sum() == 800
    assert np.abs(counts - 40).max() < 5 * math.sqrt(40 * 0.9)


def test_what_is_held_out_of_a_class_does_not_depend_on_the_others():
    alone = hold_out({3: numbered(50)}, 0)[1][3]
    assert torch.equal(hold_out({1: numbered(100), 3: numbered(50)}, 0)[1][3], alone)
    assert numbers(hold_out({4: numbered(50)}, 0)[1][4]) != numbers(alone)  # nor is it the same of each class


def test_images_passed_in_stay_as_they_are():
    groups = {0: numbered(40)}
    hold_out(groups, 0)
    assert numbers(groups[0]) == list(range(40))


def test_too_few_images_to_hold_out_are_a_users_error():
    sentence = r"^distill\.early_stopping: class 6 has 19 images, too few to hold a tenth out; use null for patience\.$"
    with pytest.raises(UserError, match=sentence):
        hold_out({2: numbered(20), 6: numbered(19)}, 0)


# --- the loss


def plateau(groups, seed=5, patience=2, every=3, **options):
    config = settings(early_stopping=EarlyStoppingConfig(patience=patience, every=every), **options)
    return Plateau(groups, config, seed, LENS)


def stored(count=3, classes=2, seed=0):
    return torch.randn(classes, count, 1, 8, 8, generator=generator(seed))


def numpy_loss(groups, synthetic, *, cm, scale, seed=5, factor=1):
    draws, total = make_generator(seed, "plateau"), []
    for _ in range(NETWORKS):
        network = build_network(EmbedderConfig(**SMALL), (1, 8, 8), 1, draws)
        for label, images in zip(sorted(groups), synthetic, strict=True):
            with torch.no_grad():
                x, y = (
                    network.embed(z).flatten(2).double().numpy()
                    for z in (GREY.apply(groups[label]), expand(images, factor))
                )
            centred = [z - z.mean(0) for z in (x, y)]
            sigma = [np.einsum("nap,nbp->ab", z, z) / len(z) for z in centred]
            match = ((x.mean(0) - y.mean(0)) ** 2).sum()
            distance = ((sigma[0] - sigma[1]) ** 2).sum()
            if scale == "relative":
                match /= (centred[0] ** 2).sum() / len(x)
                distance /= (sigma[0] ** 2).sum()
            total.append(match + cm * distance)
    return np.mean(total)


@pytest.mark.parametrize("scale", ["relative", "published"])
@pytest.mark.parametrize("objective", ["dm", "idm", "ncfm"])
def test_the_loss_is_the_mean_match_of_the_decoded_images_under_fixed_networks(objective, scale):
    groups, synthetic = images_of(2, 5, count=12), stored()
    factor = 1 if objective == "dm" else 2
    for cm in (0.0, 0.4):
        value = plateau(groups, objective=objective, cm=cm, scale=scale).loss(synthetic)
        expected = numpy_loss(groups, synthetic, cm=cm, scale=scale, factor=factor)
        assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("objective", ["dm", "idm", "ncfm"])
def test_a_partition_asked_for_is_cut_whatever_the_objective(objective):
    groups, synthetic = images_of(2, 5, count=12), stored()
    value = plateau(groups, objective=objective, partition=2, cm=0.4).loss(synthetic)
    assert value == pytest.approx(numpy_loss(groups, synthetic, cm=0.4, scale="relative", factor=2), rel=1e-4)


def test_a_network_of_ones_own_is_what_embeds():
    """Redrawn each time, and left as it is."""
    own = build_network(EmbedderConfig(name="convnet", width=5, depth=1), (1, 8, 8), 1, generator(9))
    before = {name: value.clone() for name, value in own.state_dict().items()}
    groups, synthetic = images_of(2, 5, count=12), stored()
    config = settings(early_stopping=EarlyStoppingConfig(patience=2, every=3), cm=0.4)
    value = Plateau(groups, config, 5, LENS, own).loss(synthetic)
    same = config.model_copy(update={"embedder": EmbedderConfig(name="convnet", width=5, depth=1)})
    assert value == pytest.approx(Plateau(groups, same, 5, LENS).loss(synthetic))
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())


def test_the_held_out_images_themselves_leave_nothing_to_match():
    groups = images_of(2, 5, count=6)
    watch = plateau(groups, cm=0.4)
    same = torch.stack([GREY.apply(groups[label]).flip(0) for label in (2, 5)])
    assert watch.loss(same) < 1e-9
    assert watch.loss(same.flip(0)) > 0.1  # each class has its own


def test_the_loss_repeats_and_draws_nothing():
    groups, synthetic, before = images_of(2, 5), stored(), torch.get_rng_state()
    watch, twin = plateau(groups), plateau(groups)
    assert watch.loss(synthetic) == watch.loss(synthetic) == twin.loss(synthetic)
    assert watch.loss(synthetic) != plateau(groups, seed=6).loss(synthetic)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_single_image_without_a_covariance_has_a_loss():
    groups, synthetic = images_of(2, 5), stored(count=1)
    expected = plateau(groups, cm=0.0).loss(synthetic)
    assert plateau(groups, cm=0.4).loss(synthetic) == pytest.approx(expected)


# --- when to stop


def stops_at(losses, iterations=60, **options):
    """The iteration at which a run with these losses, check by check, would stop; and how many checks it took."""
    watch, checks = plateau(images_of(2, count=20), **options), iter(losses)
    taken = []
    watch.loss = lambda synthetic: taken.append(synthetic) or next(checks)
    for iteration in range(1, iterations + 1):
        if watch.reached(iteration, stored(classes=1)):
            return iteration, len(taken)
    return None, len(taken)


@pytest.mark.parametrize(
    ("losses", "patience", "stop"),
    [
        ([5.0, 4.0, 4.5, 4.2], 2, 12),
        ([5.0, 4.0, 4.0, 4.0], 2, 12),  # equal is no better
        ([5.0, 6.0], 1, 6),
        ([5.0, 6.0, 4.0, 4.5, 3.0, 3.5, 3.4], 2, 21),  # a better one starts the count again
        ([5.0, 6.0, 5.5, 5.2, 5.1], 4, 15),  # better than the last is not better than the best
        ([math.nan, math.nan], 2, 6),
        ([5.0, math.inf, math.nan], 2, 9),
    ],
)
def test_it_stops_after_so_many_checks_without_a_better_loss(losses, patience, stop):
    assert stops_at(losses, patience=patience, every=3) == (stop, len(losses))


def test_it_goes_on_while_the_loss_falls():
    assert stops_at([1 / (i + 1) for i in range(12)], patience=1, every=5) == (None, 12)


def test_it_looks_every_so_often_only():
    assert stops_at([1.0] * 60, patience=60, every=7) == (None, 8)
    assert stops_at([1.0] * 60, patience=3, every=1) == (4, 4)
