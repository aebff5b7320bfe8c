"""The distillation loop, on tiny settings and scikit-learn's digits: what it makes, repeats, sees and lowers."""

import json
import math
import random
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from iid_cl.config import (
    CentralizationConfig,
    CovarianceConfig,
    DistillConfig,
    EmbedderConfig,
    NetworkConfig,
)
from iid_cl.data.images import Normalization
from iid_cl.distill import distill, embedders, engine
from iid_cl.distill.trained import TrainedNetwork, train_networks
from iid_cl.distill.engine import loss_terms
from iid_cl.errors import UserError
from iid_cl.nets import ConvNet, build_network

CPU = torch.device("cpu")
GREY = Normalization((0.3,), (0.4,))
NAMES = ("color", "crop", "cutout", "scale", "rotate")
SMALL = {"name": "convnet", "width": 8, "depth": 2}


@cache
def digits():
    bundle = load_digits()
    images = torch.from_numpy(np.round(bundle.images * 15).astype(np.uint8))[:, None]
    return images, torch.from_numpy(bundle.target)


PLAIN = {"scale": "published", "lr": 2.0}  # the losses as METHOD.md states them


def images_of(*classes, count=30):
    images, labels = digits()
    return {c: images[labels == c][:count].clone() for c in classes}


def settings(*, cm=0.0, cc=0.0, cc_options=None, **options):
    values = {"iterations": 8, "real_batch": 8, "lr": 0.02, "scale": "relative", "augment": None, **options}
    return DistillConfig(
        **values,
        embedder=EmbedderConfig(**SMALL),
        cm=CovarianceConfig(weight=cm),
        cc=CentralizationConfig(
            **{"weight": cc, "network": NetworkConfig(**SMALL), "trainings": 1, "epochs": 2, "snapshots": 2}
            | (cc_options or {})
        ),
    )


def condense(groups, config, *, seed=0, ipc=3, augmentations=NAMES, **options):
    options = {"device": "cpu", "normalization": GREY} | options
    generator = torch.Generator().manual_seed(seed)
    return distill(groups, config, ipc=ipc, generator=generator, augmentations=augmentations, **options)


def initial_images(groups, config, **options):
    """What the run starts from: a learning rate that moves no pixel by a grey level."""
    return condense(groups, config.model_copy(update={"lr": 1e-12}), **options)


def pool(groups, **options):
    network = NetworkConfig(**SMALL)
    config = CentralizationConfig(**{"network": network, "trainings": 2, "epochs": 2, "snapshots": 2} | options)
    return train_networks(groups, config, seed=5, device=CPU, normalization=GREY, augmentations=["crop", "scale"])


def assert_nearly_equal(a, b):
    difference = (a.int() - b.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01


def changed_share(a, b):
    return float((a != b).float().mean())


# --- what comes out


def test_result_is_uint8_with_ipc_images_of_each_class():
    memory = condense(images_of(2, 5, 7), settings(cm=0.1), ipc=4)
    assert memory.images.dtype == torch.uint8
    assert memory.images.shape == (12, 1, 8, 8)
    assert memory.labels.tolist() == [2] * 4 + [5] * 4 + [7] * 4


def test_metadata_tells_method_and_settings_in_plain_json():
    config = settings(cm=0.1)
    metadata = json.loads(json.dumps(dict(condense(images_of(2, 5), config).metadata)))
    assert metadata["method"] == "distilled"
    assert metadata["ipc"] == 3
    assert DistillConfig.model_validate(metadata["distill"]) == config


def test_images_start_as_distinct_real_images_of_their_class():
    groups = images_of(2, 5)
    start = initial_images(groups, settings()).by_class()
    for label, images in start.items():
        real = [tuple(x.flatten().tolist()) for x in groups[label]]
        chosen = [tuple(x.flatten().tolist()) for x in images]
        assert set(chosen) <= set(real)
        assert len(set(chosen)) == 3


def test_images_move_from_where_they_started():
    groups, config = images_of(2, 5), settings()
    moved = condense(groups, config).images
    assert changed_share(moved, initial_images(groups, config).images) > 0.2


def test_color_images_that_are_not_square_are_condensed():
    generator = torch.Generator().manual_seed(1)
    groups = {c: torch.randint(256, (9, 3, 8, 12), dtype=torch.uint8, generator=generator) for c in (0, 1)}
    normalization = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    names = ("color", "crop", "cutout", "flip", "scale", "rotate")
    memory = condense(groups, settings(cm=0.1), augmentations=names, normalization=normalization)
    assert memory.images.shape == (6, 3, 8, 12)


def test_real_batch_may_exceed_the_class():
    memory = condense(images_of(3, 4, count=5), settings(cm=0.1), ipc=5)
    assert len(memory) == 10


# --- randomness


def test_a_seed_repeats_to_the_byte_and_another_does_not():
    groups, config = images_of(2, 5), settings(cm=0.1, cc=0.1)
    first, again, other = (condense(groups, config, seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert changed_share(first, other) > 0.2


def test_one_number_is_drawn_from_the_generator():
    generator, twin = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    distill(images_of(2, 5), settings(cc=0.1), ipc=2, generator=generator, device="cpu", normalization=GREY)
    torch.randint(2**63 - 1, (1,), generator=twin)
    assert torch.equal(torch.rand(4, generator=generator), torch.rand(4, generator=twin))


def test_global_randomness_is_untouched():
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    condense(images_of(2, 5), settings(cm=0.1, cc=0.1))
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_global_randomness_has_no_influence():
    torch.manual_seed(1)
    first = condense(images_of(2, 5), settings(cm=0.1, cc=0.1)).images
    torch.manual_seed(2)
    assert torch.equal(condense(images_of(2, 5), settings(cm=0.1, cc=0.1)).images, first)


def test_order_in_which_classes_are_given_does_not_matter():
    groups, config = images_of(2, 5, 7), settings(cm=0.1, cc=0.1)
    backwards = {c: groups[c] for c in (7, 5, 2)}
    assert torch.equal(condense(backwards, config).images, condense(groups, config).images)


# --- classes do not mix


def test_classes_condensed_together_or_one_by_one_give_the_same_images():
    groups, config = images_of(1, 4, 8), settings(cm=0.1, iterations=10)
    together = condense(groups, config).by_class()
    for label in groups:
        assert_nearly_equal(condense({label: groups[label]}, config).images, together[label])


def test_the_same_holds_with_centralization_under_given_networks():
    groups, config = images_of(1, 4, 8), settings(cm=0.1, cc=0.3, iterations=10)
    trained = pool(groups)
    together = condense(groups, config, trained=trained).by_class()
    assert changed_share(torch.cat(list(together.values())), condense(groups, settings(cm=0.1, iterations=10)).images)
    for index, label in enumerate(groups):
        own = [TrainedNetwork(t.network, t.spread[index : index + 1]) for t in trained]
        assert_nearly_equal(condense({label: groups[label]}, config, trained=own).images, together[label])


# --- what it sees


def test_only_the_images_passed_in_are_used():
    images, labels = digits()
    results = []
    for filling in (0, 255):
        everything = images.clone()
        mine = {c: (labels == c).nonzero()[:20, 0] for c in (2, 5)}
        others = torch.ones(len(images), dtype=torch.bool)
        others[torch.cat(list(mine.values()))] = False
        everything[others] = filling
        groups = {c: everything[rows] for c, rows in mine.items()}
        results.append(condense(groups, settings(cm=0.1, cc=0.1)).images)
    assert torch.equal(*results)


def test_images_passed_in_are_not_changed():
    groups = images_of(2, 5)
    condense(groups, settings(cm=0.1, cc=0.1))
    for label, original in images_of(2, 5).items():
        assert torch.equal(groups[label], original)


@pytest.fixture
def trainings(monkeypatch):
    """Every training that centralization starts: its images as stored, its labels and its settings."""
    seen = []
    genuine = embedders.train_classifier

    def recorded(network, images, labels, **options):
        seen.append((GREY.invert(images), labels.clone(), options))
        genuine(network, images, labels, **options)

    monkeypatch.setattr(embedders, "train_classifier", recorded)
    return seen


def test_centralization_trains_on_the_given_images_only(trainings):
    groups = images_of(2, 5, count=20)
    condense(groups, settings(cc=0.1))
    ((images, labels, _),) = trainings
    assert len(images) == 40
    for index, label in enumerate((2, 5)):
        shown = sorted(tuple(x.flatten().tolist()) for x in images[labels == index])
        assert shown == sorted(tuple(x.flatten().tolist()) for x in groups[label])


@pytest.mark.parametrize(
    ("groups", "ipc", "cc"), [((2, 5), 3, 0.0), ((2, 5), 1, 0.1), ((2,), 3, 0.1)], ids=["off", "ipc 1", "one class"]
)
def test_nothing_is_trained_where_centralization_has_no_say(trainings, groups, ipc, cc):
    condense(images_of(*groups), settings(cc=cc), ipc=ipc)
    assert trainings == []


def test_nothing_is_trained_when_networks_are_given(trainings):
    groups = images_of(2, 5)
    trained = pool(groups)
    trainings.clear()
    condense(groups, settings(cc=0.1), trained=trained)
    assert trainings == []


# --- what it lowers


def match_on_fixed_networks(groups, memory, networks=8):
    """Squared distance of mean features under networks of this test's own, averaged over them; per class."""
    values = dict.fromkeys(groups, 0.0)
    stored = memory.by_class()
    for seed in range(networks):
        network = build_network(EmbedderConfig(**SMALL), (1, 8, 8), 1, torch.Generator().manual_seed(100 + seed))
        for label in groups:
            with torch.no_grad():
                real, synthetic = (
                    network.embed(GREY.apply(x)).flatten(1).double().numpy() for x in (groups[label], stored[label])
                )
            values[label] += float(np.sum((real.mean(0) - synthetic.mean(0)) ** 2)) / networks
    return values


def test_matching_loss_falls_for_every_class():
    groups = images_of(2, 5, 7)
    config = settings(**PLAIN, iterations=60, real_batch=30)
    before = match_on_fixed_networks(groups, initial_images(groups, config, augmentations=()))
    after = match_on_fixed_networks(groups, condense(groups, config, augmentations=()))
    for label in groups:
        assert after[label] < 0.6 * before[label]


@pytest.mark.parametrize("options", [PLAIN, {}], ids=["published", "relative"])
def test_reported_match_falls(options):
    reports = {}
    config = settings(**options, iterations=60, real_batch=30)
    condense(images_of(2, 5), config, augmentations=(), on_step=lambda i, terms: reports.update({i: terms}))
    values = [reports[i]["match"] for i in sorted(reports)]
    assert max(reports) == 60
    assert np.mean(values[-5:]) < 0.6 * np.mean(values[:5])


def reported_terms(config, **options):
    seen = {}
    condense(images_of(2, 5), config, on_step=lambda i, terms: seen.update({i: terms}), **options)
    return seen


def test_reports_name_the_terms_in_use_with_finite_values():
    reports = reported_terms(settings(cm=0.1, cc=0.1))
    assert sorted(reports) == list(range(1, 9))
    for terms in reports.values():
        assert terms.keys() == {"match", "cm", "cc"}
        assert all(math.isfinite(value) and value > 0 for value in terms.values())
    assert reported_terms(settings())[8].keys() == {"match"}


def test_single_images_have_nothing_to_centralize_or_correlate():
    assert reported_terms(settings(cm=0.1, cc=0.1), ipc=1)[8].keys() == {"match"}


def feature_spread(network, images):
    with torch.no_grad():
        features = network.features(GREY.apply(images)).double().numpy()
    return float(((features - features.mean(0)) ** 2).sum(1).mean())


def test_centralization_draws_features_of_a_class_together():
    groups = images_of(2, 5)
    trained = pool(groups, trainings=1, snapshots=1, epochs=4)
    with_cc, without = (
        condense(groups, settings(cc=w, iterations=40, **PLAIN), ipc=6, trained=trained, augmentations=()).by_class()
        for w in (0.1, 0.0)
    )
    for label in groups:
        network = trained[0].network
        assert feature_spread(network, with_cc[label]) < 0.6 * feature_spread(network, without[label])


def covariance_gap(groups, memory, networks=8):
    """Squared distance of local covariances relative to the real one, averaged over classes and networks."""
    gaps = []
    for seed in range(networks):
        network = build_network(EmbedderConfig(**SMALL), (1, 8, 8), 1, torch.Generator().manual_seed(200 + seed))
        for label, images in memory.by_class().items():
            sigmas = []
            for x in (groups[label], images):
                with torch.no_grad():
                    local = network.embed(GREY.apply(x)).flatten(2).double().numpy()
                local = local - local.mean(0)
                sigmas.append(np.einsum("nap,nbp->ab", local, local) / len(local))
            gaps.append(((sigmas[0] - sigmas[1]) ** 2).sum() / (sigmas[0] ** 2).sum())
    return float(np.mean(gaps))


def test_covariance_matching_brings_covariances_closer():
    groups = images_of(2, 5)
    with_cm, without = (
        condense(groups, settings(cm=w, iterations=40, real_batch=30, **PLAIN), ipc=6, augmentations=())
        for w in (10.0, 0.0)
    )
    assert covariance_gap(groups, with_cm) < 0.7 * covariance_gap(groups, without)


def test_real_and_synthetic_images_share_their_augmentation():
    # As many images per class as there are: they are the real batch in another order, and nothing is to match.
    config = settings(cm=0.5, lr=1e-12, real_batch=30, iterations=20)
    for terms in reported_terms(config, ipc=30).values():
        assert terms["match"] < 1e-6
        assert terms["cm"] < 1e-6


def test_images_stay_between_black_and_white_on_the_way():
    # Under a network without norms, images that outgrow white would outgrow every bound from step to step.
    config = settings(scale="published", lr=1e4, momentum=0.0, iterations=6)
    config = config.model_copy(update={"embedder": EmbedderConfig(**SMALL, norm="none")})
    matches = [terms["match"] for terms in reported_terms(config, augmentations=()).values()]
    assert max(matches) < 10


def test_embedder_is_drawn_anew_in_every_iteration():
    config = settings(lr=1e-12, real_batch=30, iterations=20)  # the images stay, the real batch is the class
    values = [terms["match"] for terms in reported_terms(config, augmentations=()).values()]
    assert np.diff(np.sort(values)).min() > 1e-5 * np.mean(values)


# --- loss terms and their scales


def local_features(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def numpy_terms(real, synthetic):
    """match, covariance distance, real covariance's squared norm and real spread of each class, in NumPy."""
    rows = []
    for r, s in zip(real.numpy(), synthetic.numpy(), strict=True):
        match = ((r.mean(0) - s.mean(0)) ** 2).sum()
        centred = [x - x.mean(0) for x in (r, s)]
        sigma = [sum(f @ f.T for f in x) / len(x) for x in centred]
        distance = ((sigma[0] - sigma[1]) ** 2).sum()
        rows.append((match, distance, (sigma[0] ** 2).sum(), (centred[0] ** 2).sum() / len(r)))
    return np.array(rows).T


def test_published_terms_are_the_plain_sums():
    real, synthetic = local_features(0, 3, 6, 4, 5), local_features(1, 3, 2, 4, 5)
    match, distance, _, _ = numpy_terms(real, synthetic)
    terms = loss_terms(real, synthetic, settings(cm=0.01, scale="published"), with_cm=True)
    np.testing.assert_allclose(terms["match"].numpy(), match, rtol=1e-10)
    np.testing.assert_allclose(terms["cm"].numpy(), 0.01 * distance, rtol=1e-10)


def test_relative_terms_are_in_units_of_the_real_images():
    real, synthetic = local_features(2, 3, 6, 4, 5), local_features(3, 3, 2, 4, 5)
    match, distance, norm, real_spread = numpy_terms(real, synthetic)
    terms = loss_terms(real, synthetic, settings(cm=0.3, scale="relative"), with_cm=True)
    np.testing.assert_allclose(terms["match"].numpy(), match / real_spread, rtol=1e-10)
    np.testing.assert_allclose(terms["cm"].numpy(), 0.3 * distance / norm, rtol=1e-10)


def test_covariance_is_left_out_where_not_asked_for():
    real = local_features(4, 2, 3, 4, 5)
    assert loss_terms(real, real, settings(cm=0.3), with_cm=False).keys() == {"match"}


@pytest.mark.parametrize(("scale", "match", "cm"), [("relative", 1.0, 1.0), ("published", 9.0, 81.0)])
def test_terms_when_all_features_triple(scale, match, cm):
    real, synthetic = local_features(5, 2, 6, 4, 5), local_features(6, 2, 3, 4, 5)
    config = settings(cm=0.1, scale=scale)
    plain = loss_terms(real, synthetic, config, with_cm=True)
    tripled = loss_terms(3 * real, 3 * synthetic, config, with_cm=True)
    np.testing.assert_allclose((tripled["match"] / plain["match"]).numpy(), match, rtol=1e-10)
    np.testing.assert_allclose((tripled["cm"] / plain["cm"]).numpy(), cm, rtol=1e-10)


def test_relative_terms_of_real_images_without_deviation_are_finite():
    real, synthetic = torch.ones(2, 3, 4, 5), torch.ones(2, 2, 4, 5, requires_grad=True)
    terms = loss_terms(real, synthetic, settings(cm=0.3, scale="relative"), with_cm=True)
    sum(term.sum() for term in terms.values()).backward()
    assert all(torch.isfinite(term).all() for term in terms.values())
    assert torch.isfinite(synthetic.grad).all()


class Louder(ConvNet):
    """A ConvNet whose features are four times as large."""

    def embed(self, images):
        return 4 * super().embed(images)


@pytest.mark.parametrize("scale", ["relative", "published"])
def test_balance_of_centralization_when_the_trained_features_quadruple(scale):
    groups, config = (
        images_of(2, 5),
        settings(cc=0.1, scale=scale, lr=0.02 if scale == "relative" else 1.0, iterations=5),
    )
    quiet = pool(groups, trainings=1, snapshots=1)
    loud = Louder((1, 8, 8), 2, width=8, depth=2).requires_grad_(False).eval()
    loud.load_state_dict(quiet[0].network.state_dict())
    plain = condense(groups, config, trained=quiet).images
    scaled = condense(groups, config, trained=[TrainedNetwork(loud, 16 * quiet[0].spread)]).images
    assert torch.equal(plain, scaled) == (scale == "relative")


def test_published_centralization_is_the_plain_sum_over_the_images():
    groups, config = images_of(2, 5), settings(cc=0.05, scale="published", iterations=1)
    trained = pool(groups, trainings=1, snapshots=1)
    start = initial_images(groups, config, trained=trained, augmentations=()).by_class()
    sums = [3 * feature_spread(trained[0].network, images) for images in start.values()]  # of 3 images each
    reported = reported_terms(config, trained=trained, augmentations=())[1]["cc"]
    assert reported == pytest.approx(0.05 * np.mean(sums), rel=1e-4)


def test_relative_centralization_is_a_mean_in_units_of_the_real_images():
    groups, config = images_of(2, 5), settings(cc=0.05, scale="relative", iterations=1)
    trained = pool(groups, trainings=1, snapshots=1)
    start = initial_images(groups, config, trained=trained, augmentations=()).by_class()
    network = trained[0].network
    shares = [feature_spread(network, start[c]) / feature_spread(network, groups[c]) for c in groups]
    reported = reported_terms(config, trained=trained, augmentations=())[1]["cc"]
    assert reported == pytest.approx(0.05 * np.mean(shares), rel=1e-4)


# --- augmentations


def test_configured_augmentations_stand_before_those_of_the_data_set():
    groups = images_of(2, 5)
    named = condense(groups, settings(augment=["crop"]), augmentations=NAMES).images
    assert torch.equal(named, condense(groups, settings(augment=["crop"]), augmentations=()).images)
    assert torch.equal(named, condense(groups, settings(), augmentations=("crop",)).images)
    assert changed_share(named, condense(groups, settings(), augmentations=("rotate",)).images)


def test_an_empty_list_switches_augmentation_off():
    groups = images_of(2, 5)
    off = condense(groups, settings(augment=[]), augmentations=NAMES).images
    assert torch.equal(off, condense(groups, settings(), augmentations=()).images)
    assert changed_share(off, condense(groups, settings(), augmentations=NAMES).images)


# --- mistakes


def test_no_classes_is_a_users_error():
    with pytest.raises(UserError, match=r"^there are no classes to condense; the experience is empty\.$"):
        condense({}, settings())


def test_a_class_without_images_is_a_users_error():
    groups = {**images_of(2), 6: torch.empty(0, 1, 8, 8, dtype=torch.uint8)}
    with pytest.raises(UserError, match=r"^class 6 has no images; remove it from the stream\.$"):
        condense(groups, settings())


def test_more_images_than_a_class_has_is_a_users_error():
    groups = {**images_of(2), 6: images_of(6, count=4)[6]}
    sentence = r"^memory\.ipc: 5 images are asked of class 6, which has 4; use at most 4\.$"
    with pytest.raises(UserError, match=sentence):
        condense(groups, settings(), ipc=5)
    assert len(condense(groups, settings(), ipc=4)) == 8


# --- the trained networks of class centralization


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


# --- on a GPU


@pytest.mark.gpu
def test_condensing_on_cuda_gives_the_same_kind_of_memory_on_the_cpu():
    groups, config = images_of(1, 4, 8), settings(cm=0.1, cc=0.1, iterations=20)
    memory = condense(groups, config, device="cuda")
    assert memory.images.device.type == "cpu"
    assert memory.images.dtype == torch.uint8
    assert memory.labels.tolist() == [1] * 3 + [4] * 3 + [8] * 3
    start = initial_images(groups, config, device="cuda").images
    assert torch.equal(start, initial_images(groups, config).images)
    assert changed_share(memory.images, start) > 0.2


def test_a_class_of_equal_images_stays_what_it_is():
    """Nothing to match beyond the start: the relative scale must not divide by a spread of zero."""
    image = torch.randint(256, (1, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    config = DistillConfig(iterations=20, real_batch=4, embedder=EmbedderConfig(width=8, depth=2))
    memory = distill(
        {0: image.repeat(5, 1, 1, 1)},
        config,
        ipc=1,
        generator=torch.Generator().manual_seed(1),
        device="cpu",
        normalization=Normalization((0.3,), (0.4,)),
    )
    assert torch.equal(memory.images, image)


def test_images_that_are_no_numbers_are_refused(monkeypatch):
    monkeypatch.setattr(engine, "mean_matching", lambda real, synthetic: synthetic.sum((1, 2)) * math.nan)
    images = {0: torch.zeros(8, 1, 8, 8, dtype=torch.uint8)}
    config = DistillConfig(iterations=2, real_batch=4, lr=0.25, embedder=EmbedderConfig(width=8, depth=2))
    with pytest.raises(UserError, match=r"distill\.lr: 0\.25 makes the images diverge"):
        distill(
            images,
            config,
            ipc=1,
            generator=torch.Generator().manual_seed(1),
            device="cpu",
            normalization=Normalization((0.3,), (0.4,)),
        )
