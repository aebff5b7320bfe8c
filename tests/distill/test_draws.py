"""What is drawn, how often, and what of it is the same object again."""

import pytest
import torch

from iid_cl.compute.arithmetic import EAGER
from iid_cl.config.distill import EmbedderConfig, QueueConfig
from iid_cl.data.classes import Classes
from iid_cl.distill.draws import Draws, Sources, make_embedders
from iid_cl.distill.embedders import EmbedderQueue, FreshEmbedders
from iid_cl.distill.matching import OBJECTIVES, MeanMatching
from iid_cl.distill.sampling import ClassSampler
from iid_cl.nets import build_network
from tests.distill.helpers import LENS, SMALL, images_of, pool, settings

FEATURES = 7
QUEUE = QueueConfig(networks=1, steps=1, batch_size=8)
FIELDS = ("brightness", "saturation", "contrast", "affine", "cutout")

every_source = pytest.mark.parametrize("objective", ["dm", "ncfm"])  # drawn afresh, and a queue


def configured(**options):
    return settings(queue=QUEUE, **options)


def weights_of(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).clone()


def drawn(config, *, classes=(2, 5), seed=0, networks=(), in_place=False):
    groups = images_of(*classes)
    sampler = ClassSampler(Classes(groups), config.real_batch, LENS, seed)
    embedders = make_embedders(config, sampler, None, EAGER, LENS, seed)
    return iter(Draws(config.iterations, sampler, sources(config, embedders, networks), seed, in_place))


def sources(config, embedders, networks=()):
    return Sources(embedders, lambda draws: OBJECTIVES[config.objective](config, FEATURES, draws), networks)


@pytest.mark.parametrize("iterations", [8, 0, 1])
def test_there_are_as_many_draws_as_iterations(iterations):
    assert len(list(drawn(configured(iterations=iterations)))) == iterations


def test_rows_and_augmentation_are_the_samplers():
    config, sampler = configured(), ClassSampler(Classes(images_of(2, 5)), 8, LENS, 0)
    for draw, (rows, parameters) in zip(drawn(config), sampler.draws(8), strict=True):
        assert torch.equal(draw.rows, rows)
        for field in FIELDS:
            assert torch.equal(getattr(draw.parameters, field), getattr(parameters, field))


def test_fresh_embedders_come_anew_and_without_an_accuracy():
    weights = []
    for draw in drawn(configured()):
        assert draw.accuracy is None
        weights.append(weights_of(draw.psi))
    assert all(not torch.equal(weights[i], weights[j]) for i in range(8) for j in range(i))


def test_the_queue_moves_on_by_one_iteration_a_draw(monkeypatch):
    monkeypatch.setattr(EmbedderQueue, "SIZE", 2)
    monkeypatch.setattr(EmbedderQueue, "EVERY", 2)
    config = configured(objective="idm")
    sampler = ClassSampler(Classes(images_of(2, 5)), config.real_batch, LENS, 0)
    queue = make_embedders(config, sampler, None, EAGER, LENS, 0)
    ages = []
    for draw in Draws(8, sampler, sources(config, queue), 0, False):
        assert 0 <= draw.accuracy <= 1
        ages.append(queue.ages)
    # two networks at most, one joins in every second of the eight draws
    assert ages == [[1], [2], [3, 1], [4, 2], [3, 1], [4, 2], [3, 1], [4, 2]]


# --- frequencies


@pytest.mark.parametrize("objective", ["dm", "idm"])
def test_means_are_matched_alike_in_every_draw(objective):
    assert {draw.objective for draw in drawn(configured(objective=objective))} == {MeanMatching(relative=True)}


def test_frequencies_are_drawn_anew_for_all_classes_together():
    seen = [draw.objective.frequencies for draw in drawn(configured(objective="ncfm"), classes=(2, 5, 7))]
    assert [frequencies.shape for frequencies in seen] == [(1, 32, FEATURES)] * 8
    assert torch.cat(seen).unique().numel() == 8 * 32 * FEATURES
    alone = [draw.objective.frequencies for draw in drawn(configured(objective="ncfm"), classes=(5,))]
    assert torch.equal(torch.cat(seen), torch.cat(alone))


def test_a_seed_repeats_and_another_does_not():
    first, again, other = (
        torch.cat([draw.objective.frequencies for draw in drawn(configured(objective="ncfm"), seed=seed)])
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).all(-1).any()


# --- networks for class centralization


def test_networks_for_centralization_are_drawn_from_the_pool():
    networks = pool(images_of(2, 5))
    assert all(draw.phi is None for draw in drawn(configured()))
    chosen = []
    for draw in drawn(configured(iterations=40), networks=networks):
        (index,) = [i for i, one in enumerate(networks) if one.network is draw.phi.network]
        assert draw.phi.spread is networks[index].spread
        chosen.append(index)
    assert set(chosen) == {0, 1, 2, 3}
    assert chosen != sorted(chosen)


# --- at one address


@every_source
def test_in_place_networks_come_at_one_address_with_the_weights_they_would_have_had(objective):
    networks = pool(images_of(2, 5))
    config = configured(objective=objective)
    pairs = zip(drawn(config, networks=networks), drawn(config, networks=networks, in_place=True), strict=True)
    addresses = set()
    for free, fixed in pairs:
        assert torch.equal(weights_of(fixed.psi), weights_of(free.psi))
        assert torch.equal(weights_of(fixed.phi.network), weights_of(free.phi.network))
        assert torch.equal(fixed.phi.spread, free.phi.spread)
        assert fixed.accuracy == free.accuracy
        both = [fixed.psi, fixed.phi.network]
        assert not any(parameter.requires_grad for network in both for parameter in network.parameters())
        assert not any(fixed.phi.network is one.network for one in networks)  # whose weights stay
        addresses.add(tuple(parameter.data_ptr() for network in both for parameter in network.parameters()))
    assert len(addresses) == 1


def test_in_place_the_pool_keeps_its_weights():
    networks = pool(images_of(2, 5))
    before = [weights_of(one.network) for one in networks]
    list(drawn(configured(), networks=networks, in_place=True))
    assert all(torch.equal(weights_of(one.network), was) for one, was in zip(networks, before, strict=True))


def test_global_randomness_is_untouched():
    networks, before = pool(images_of(2, 5)), torch.get_rng_state()
    list(drawn(configured(objective="ncfm"), networks=networks))
    assert torch.equal(torch.get_rng_state(), before)


# --- sources of embedders


def embedders_of(config, classes=(2, 5), own=None):
    sampler = ClassSampler(Classes(images_of(*classes)), config.real_batch, LENS, 0)
    return make_embedders(config, sampler, own, EAGER, LENS, 0)


def test_the_configuration_names_the_source():
    assert isinstance(embedders_of(configured(objective="dm")), FreshEmbedders)
    queue = embedders_of(configured(objective="idm"), (2, 5, 7))
    assert isinstance(queue, EmbedderQueue)
    assert queue.draw()[0].classifier.out_features == 3


def test_one_class_alone_teaches_no_queue():
    assert isinstance(embedders_of(configured(objective="idm"), (5,)), FreshEmbedders)


def test_an_own_network_is_drawn_afresh_and_never_queued():
    own = build_network(EmbedderConfig(**SMALL), (1, 8, 8), 1, torch.Generator().manual_seed(9))
    before = weights_of(own)
    network, accuracy = embedders_of(configured(objective="dm"), own=own).draw()
    assert network is own
    assert accuracy is None
    assert not torch.equal(weights_of(own), before)
    assert embedders_of(configured(objective="idm"), own=own).draw() == (own, None)
