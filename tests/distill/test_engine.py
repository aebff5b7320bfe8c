"""The distillation loop, on tiny settings and scikit-learn's digits: what it makes, repeats, sees and lowers."""

import itertools
import json
import math
import random

import numpy as np
import pytest
import torch

from iid_cl.compute import arithmetic as acceleration
from iid_cl.config.distill import DistillConfig, EmbedderConfig, QueueConfig
from iid_cl.data.images import Normalization
from iid_cl.distill import distill, distillation, draws, matching, workload
from iid_cl.distill import trained as trained_module
from iid_cl.distill.trained import TrainedNetwork
from iid_cl.errors import UserError
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.nets import ConvNet, NamedLayer, Network, build_network
from tests.compiling import quiet_compiler
from tests.distill.helpers import (
    GREY,
    NAMES,
    PLAIN,
    SMALL,
    changed_share,
    condense,
    digits,
    feature_spread,
    images_of,
    initial_images,
    pool,
    reported_terms,
    settings,
)


def assert_nearly_equal(a, b):
    difference = (a.int() - b.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01


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


@pytest.mark.parametrize("count", [2, 3, 4])
def test_images_start_from_those_given_the_first_ones_again_where_there_are_few(count):
    groups = images_of(2, 5)
    given = {c: 255 - images[:count] for c, images in groups.items()}  # none of which is a real image
    start = initial_images(groups, settings(), start=given).by_class()
    rows = {2: [0, 1, 0], 3: [0, 1, 2], 4: [0, 1, 2]}[count]
    for label in groups:
        assert torch.equal(start[label], given[label][rows])


def test_a_partitioned_memory_starts_from_as_many_images_as_it_shows():
    groups = {c: images.repeat_interleave(2, 2).repeat_interleave(2, 3) for c, images in images_of(2, 5).items()}
    config = settings(objective="idm", partition=2, queue=QUEUE)
    start = initial_images(groups, config, ipc=2, start={c: images[10:18] for c, images in groups.items()})
    for label, images in start.by_class().items():  # in order, a grid after the other
        for number, grid in enumerate(images):
            for place in range(4):
                top, left = 8 * (place // 2), 8 * (place % 2)
                part = grid[:, top : top + 8, left : left + 8]
                assert torch.equal(part, images_of(label)[label][10 + 4 * number + place])


def test_images_move_from_those_given_and_classes_stay_independent():
    groups = images_of(2, 5)
    moved = condense(groups, settings(), start=groups).by_class()
    for label, images in moved.items():
        assert changed_share(images, groups[label][:3]) > 0.2
        alone = condense({label: groups[label]}, settings(), start=groups)
        assert_nearly_equal(images, alone.by_class()[label])


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({2: torch.zeros(3, 1, 8, 8, dtype=torch.uint8)}, "class 5 has none where"),
        (
            {2: torch.zeros(3, 1, 8, 8, dtype=torch.uint8), 5: torch.zeros(3, 1, 8, 8).long()},
            "5: has images of int64",
        ),
        ({c: torch.zeros(3, 1, 4, 8, dtype=torch.uint8) for c in (2, 5)}, r"class 2 .* shape \(1, 8, 8\) are needed"),
        ({c: torch.zeros(0, 1, 8, 8, dtype=torch.uint8) for c in (2, 5)}, "at least one of each"),
    ],
)
def test_a_start_that_does_not_fit_is_a_users_error(start, message):
    with pytest.raises(UserError, match=message):
        condense(images_of(2, 5), settings(), start=start)


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
    genuine = trained_module.train_classifier

    def recorded(network, images, labels, training, **options):
        seen.append((images.clone(), labels.clone(), options))
        genuine(network, images, labels, training, **options)

    monkeypatch.setattr(trained_module, "train_classifier", recorded)
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


def test_an_empty_list_of_networks_is_as_good_as_none(trainings):
    groups, config = images_of(2, 5), settings(cc=0.1)
    none = condense(groups, config, soft_labels=True)
    empty = condense(groups, config, trained=[], soft_labels=True)
    assert len(trainings) == 2
    assert torch.equal(empty.images, none.images)
    assert torch.equal(empty.soft_labels.probabilities, none.soft_labels.probabilities)
    assert empty.soft_labels.columns.tolist() == [[2, 5]] * 2
    assert empty.soft_labels.levels.amin() > 0  # seen by networks that are not certain of anything


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


def test_reports_name_the_terms_in_use_with_finite_values():
    reports = reported_terms(settings(cm=0.1, cc=0.1))
    assert sorted(reports) == list(range(1, 9))
    for terms in reports.values():
        assert terms.keys() == {"match", "cm", "cc"}
        assert all(math.isfinite(value) and value > 0 for value in terms.values())
    assert reported_terms(settings())[8].keys() == {"match"}


def test_single_images_have_nothing_to_centralize_or_correlate():
    assert reported_terms(settings(cm=0.1, cc=0.1), ipc=1)[8].keys() == {"match"}


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


# --- class centralization in both scales


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


@pytest.mark.parametrize("objective", ["dm", "idm", "ncfm"])
def test_a_class_of_equal_images_stays_what_it_is(objective):
    """Nothing to match beyond the start: the relative scale must not divide by a spread of zero."""
    image = torch.randint(256, (1, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    config = extended(objective, partition=1, iterations=20, real_batch=4)
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
    monkeypatch.setattr(matching, "mean_matching", lambda real, synthetic: synthetic.sum((1, 2)) * math.nan)
    images = {0: torch.zeros(8, 1, 8, 8, dtype=torch.uint8)}
    config = settings(iterations=2, real_batch=4, lr=0.25)
    with pytest.raises(UserError, match=r"distill\.lr: 0\.25 makes the images diverge"):
        distill(
            images,
            config,
            ipc=1,
            generator=torch.Generator().manual_seed(1),
            device="cpu",
            normalization=Normalization((0.3,), (0.4,)),
        )


# --- the step on the images, worked out in closed form


class Pixels(Network):
    """An embedder whose features are the pixels themselves, so that every gradient is known."""

    def __init__(self):
        super().__init__()
        self.classifier = torch.nn.Linear(64, 1)

    def embed(self, images):
        return images


class Posterized:
    """A lossy format: four grey levels."""

    @staticmethod
    def read_back(images):
        return images // 64 * 64

    @staticmethod
    def sparser(changes, share):
        return changes.sign() * (changes.abs() - 0.3 * share).clamp_min(0)


@pytest.mark.parametrize("as_stored", [None, Posterized()])
@pytest.mark.parametrize("scale", ["published", "relative"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_images_follow_sgd_with_momentum_and_the_schedule(schedule, scale, as_stored):
    groups, count, made = images_of(2, 5, count=10), 6, 3
    config = settings(iterations=count, lr=0.2, momentum=0.5, lr_schedule=schedule, scale=scale, real_batch=10)
    if scale == "relative":
        config = config.model_copy(update={"lr": 0.002})
    start = condense(groups, config.model_copy(update={"iterations": 0}), augmentations=()).by_class()
    result = condense(groups, config, augmentations=(), embedder=Pixels(), as_stored=as_stored).by_class()
    for label, images in groups.items():
        black, white = -0.3 / 0.4, (1 - 0.3) / 0.4
        real = (images.double().numpy() / 255 - 0.3) / 0.4
        x = first = (start[label].double().numpy() / 255 - 0.3) / 0.4
        velocity = np.zeros_like(x)
        for step in range(count):
            seen = x if as_stored is None else (as_stored.read_back(np.round((x * 0.4 + 0.3) * 255)) / 255 - 0.3) / 0.4
            gradient = np.broadcast_to(2 / made * (seen.mean(0) - real.mean(0)), x.shape)
            if scale == "relative":  # in units of the spread, and per image and pixel
                gradient = gradient * made * 64 / ((real - real.mean(0)) ** 2).sum((1, 2, 3)).mean()
            velocity = 0.5 * velocity + gradient
            rate = config.lr * (0.5 * (1 + math.cos(math.pi * step / count)) if schedule == "cosine" else 1.0)
            x = x - rate * velocity
            if as_stored is not None:
                changes = (x - first) * 0.4 * 255
                limit = 0.3 * rate / config.lr / count
                x = first + np.sign(changes) * np.maximum(np.abs(changes) - limit, 0) / 0.4 / 255
            x = np.clip(x, black, white)
        grey = (x * 0.4 + 0.3) * 255
        assert np.abs(result[label].numpy() - grey).max() <= 0.51
        assert changed_share(result[label], start[label]) > 0.2


@pytest.mark.parametrize(("objective", "classes"), [("dm", (3, 2)), ("idm", (3, 2)), ("ncfm", (3,))])
def test_networks_see_what_storage_makes_of_the_images(objective, classes, monkeypatch):
    seen, gradient = [], distillation.ImageStep.gradient
    monkeypatch.setattr(
        distillation.ImageStep,
        "gradient",
        lambda self, images, draw: (seen.append(images), gradient(self, images, draw))[1],
    )
    groups = images_of(*classes)
    memory = condense(groups, extended(objective, partition=1), as_stored=Posterized())
    assert len(seen) == 8
    for images in seen:
        assert torch.isin(GREY.invert(images), torch.tensor([0, 64, 128, 192], dtype=torch.uint8)).all()
    assert changed_share(memory.images, Posterized.read_back(memory.images)) > 0.5  # they themselves lose nothing


# --- partition, queue and characteristic functions, end to end


QUEUE = QueueConfig(networks=1, steps=1, batch_size=16)
every_objective = pytest.mark.parametrize("objective", ["idm", "ncfm"])


def extended(objective="idm", **options):
    return settings(objective=objective, **{"queue": QUEUE} | options)


@every_objective
def test_a_partitioned_memory_comes_out(objective):
    memory = condense(images_of(2, 5, 7), extended(objective), ipc=2)
    assert memory.images.dtype == torch.uint8
    assert memory.images.shape == (6, 1, 8, 8)
    assert memory.partition == 2
    assert memory.nbytes == 6 * 64 + 6 * 2
    assert memory.labels.tolist() == [2, 2, 5, 5, 7, 7]
    assert memory.decoded().images.shape == (24, 1, 8, 8)
    assert DistillConfig.model_validate(json.loads(json.dumps(memory.metadata["distill"]))) == extended(objective)


def test_the_partition_asked_for_is_stored():
    assert condense(images_of(2, 5), settings()).partition == 1
    assert condense(images_of(2, 5), settings(partition=4)).partition == 4
    assert condense(images_of(2, 5), extended(partition=1)).partition == 1


@every_objective
def test_extensions_condense_color_images_that_are_not_square(objective):
    generator = torch.Generator().manual_seed(1)
    groups = {c: torch.randint(256, (9, 3, 8, 12), dtype=torch.uint8, generator=generator) for c in (0, 1)}
    normalization = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    names = ("color", "crop", "cutout", "flip", "scale", "rotate")
    config = extended(objective, cm=0.1, cc=0.1, iterations=3)
    memory = condense(groups, config, augmentations=names, normalization=normalization, soft_labels=True)
    assert memory.images.shape == (6, 3, 8, 12)
    assert memory.soft_labels.probabilities.shape == (24, 2)


@every_objective
def test_extensions_repeat_to_the_byte_for_a_seed(objective):
    groups, config = images_of(2, 5), extended(objective, cm=0.1, cc=0.1)
    first, again, other = (condense(groups, config, seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert changed_share(first, other) > 0.2


@every_objective
def test_extensions_leave_and_ignore_global_randomness(objective):
    groups, config = images_of(2, 5), extended(objective, cm=0.1, cc=0.1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = condense(groups, config, soft_labels=True)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = condense(groups, config, soft_labels=True)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.soft_labels.probabilities, second.soft_labels.probabilities)


@every_objective
def test_extensions_do_not_depend_on_the_order_of_classes(objective):
    groups, config = images_of(2, 5, 7), extended(objective, cc=0.1)
    backwards = {c: groups[c] for c in (7, 5, 2)}
    assert torch.equal(condense(backwards, config).images, condense(groups, config).images)


@every_objective
def test_with_own_embedders_classes_come_out_alone_as_among_others(objective):
    groups, config = images_of(1, 4, 8), extended(objective, cm=0.1)
    together = condense(groups, config, embedder=own_embedder()).by_class()
    for label in groups:
        alone = condense({label: groups[label]}, config, embedder=own_embedder())
        assert_nearly_equal(alone.images, together[label])


@every_objective
def test_extensions_move_images_from_where_they_started(objective):
    groups, config = images_of(2, 5), extended(objective)
    start = condense(groups, config.model_copy(update={"iterations": 0}))
    assert changed_share(condense(groups, config).images, start.images) > 0.2


@pytest.mark.parametrize(
    ("objective", "scale", "lr", "share"),
    [
        ("idm", "relative", 0.05, 0.7),
        ("idm", "published", 2.0, 0.7),
        ("ncfm", "relative", 0.01, 0.87),  # few images cannot have the distribution of many
        ("ncfm", "published", 4.0, 0.87),
    ],
)
def test_reported_match_of_the_extensions_falls(objective, scale, lr, share):
    config = extended(objective, scale=scale, lr=lr, iterations=60, real_batch=30)
    falls = []
    for rate in (lr, 1e-12):
        reports = reported_terms(config.model_copy(update={"lr": rate}), augmentations=(), embedder=own_embedder())
        values = [reports[i]["match"] for i in sorted(reports)]
        falls.append(np.mean(values[-10:]) / np.mean(values[:3]))
    assert falls[0] < share
    assert falls[1] > 0.95  # and not because of the networks that came


TERMS = [
    ({}, 3, {"match", "ce"}),
    ({"cm": 0.1, "cc": 0.1}, 3, {"match", "ce", "cm", "cc"}),
    ({"cm": 0.1, "cc": 0.1}, 1, {"match", "ce", "cm", "cc"}),  # a stored image is four
    ({"cm": 0.1, "cc": 0.1, "partition": 1}, 1, {"match", "ce"}),
    ({"queue": QUEUE.model_copy(update={"cross_entropy": 0.0})}, 3, {"match"}),
]


@every_objective
@pytest.mark.parametrize(("options", "ipc", "names"), TERMS)
def test_terms_of_the_extensions(objective, options, ipc, names):
    reports = reported_terms(extended(objective, **options), ipc=ipc)
    assert sorted(reports) == list(range(1, 9))
    assert all(terms.keys() == names for terms in reports.values())
    assert all(math.isfinite(value) and value >= 0 for terms in reports.values() for value in terms.values())
    assert all(terms["match"] > 0 for terms in reports.values())


@every_objective
def test_one_class_alone_has_no_queue_but_is_condensed(objective, monkeypatch):
    monkeypatch.setattr(draws, "EmbedderQueue", None)  # to make one would fail
    groups, config = images_of(5), extended(objective, cm=0.1, cc=0.1)
    reports = reported_terms(config, groups)
    assert reports[8].keys() == {"match", "cm"}
    memory = condense(groups, config)
    assert memory.labels.tolist() == [5, 5, 5]
    start = condense(groups, config.model_copy(update={"iterations": 0}))
    assert changed_share(memory.images, start.images) > 0.2


def test_a_partition_that_does_not_divide_the_images_is_a_users_error():
    for partition in (3, 16):
        with pytest.raises(UserError, match=rf"^distill\.partition: {partition} does not divide images of 8x8"):
            condense(images_of(2, 5), settings(partition=partition))


@pytest.fixture
def queues(monkeypatch):
    """Every queue made: its batches as bytes with their labels, and what it drew."""
    seen = []

    class Recorded(draws.EmbedderQueue):
        def __init__(self, config, make, batch, generator, arithmetic, sources):
            self.batches, self.drawn = [], []
            seen.append(self)

            def recorded(count):
                images, labels = batch(count)
                self.batches.append((GREY.invert(images), labels.clone()))
                return images, labels

            super().__init__(config, make, recorded, generator, arithmetic, sources)

        def draw(self):
            self.drawn.append(super().draw())
            return self.drawn[-1]

    monkeypatch.setattr(draws, "EmbedderQueue", Recorded)
    return seen


def rows_of(images):
    return [tuple(image.flatten().tolist()) for image in images]


def test_the_queue_trains_on_the_given_images_and_their_labels_only(queues):
    groups = images_of(2, 5, 7, count=12)
    condense(groups, extended(queue=QUEUE.model_copy(update={"batch_size": 64})), augmentations=())
    (queue,) = queues
    assert [len(labels) for _, labels in queue.batches] == [64] * 8  # one network, one step, eight iterations
    allowed = [set(rows_of(groups[label])) for label in sorted(groups)]
    shown = set()
    for images, labels in queue.batches:
        for row, label in zip(rows_of(images), labels.tolist(), strict=True):
            assert row in allowed[label]
            shown.add(row)
    assert shown == set.union(*allowed)  # 512 draws of 36: nothing is kept from it either


def test_the_queue_trains_on_augmented_images(queues):
    groups = images_of(2, 5, count=12)
    condense(groups, extended(), augmentations=("scale", "rotate"))
    real = {row for images in groups.values() for row in rows_of(images)}
    shown = [row for images, _ in queues[0].batches for row in rows_of(images)]
    assert sum(row in real for row in shown) < 0.1 * len(shown)


def test_only_the_images_passed_in_are_used_by_the_extensions():
    images, labels = digits()
    results = []
    for filling in (0, 255):
        everything = images.clone()
        mine = {c: (labels == c).nonzero()[:20, 0] for c in (2, 5)}
        others = torch.ones(len(images), dtype=torch.bool)
        others[torch.cat(list(mine.values()))] = False
        everything[others] = filling
        groups = {c: everything[rows] for c, rows in mine.items()}
        results.append(condense(groups, extended("ncfm", cm=0.1, cc=0.1), soft_labels=True))
    assert torch.equal(results[0].images, results[1].images)
    assert torch.equal(results[0].soft_labels.probabilities, results[1].soft_labels.probabilities)


def test_the_queues_networks_know_every_class_and_are_of_the_configured_kind(queues):
    condense(images_of(2, 5, 7), extended())
    for network, accuracy in queues[0].drawn:
        assert isinstance(network, ConvNet)
        assert network.classifier.out_features == 3
        assert network.blocks[0].out_channels == 8
        assert 0 <= accuracy <= 1
    assert len(queues[0].drawn) == 8


@pytest.mark.parametrize("scale", ["relative", "published"])
def test_reported_cross_entropy_is_that_of_the_decoded_images_under_the_drawn_network(queues, scale):
    groups = images_of(2, 5, 7)
    pace = QueueConfig(networks=1, steps=15, batch_size=64, cross_entropy=0.25)
    config = extended(queue=pace, iterations=1, lr=1e-12, scale=scale)
    memories = {}
    reported = reported_terms(
        config,
        groups,
        augmentations=(),
        ipc=2,
        snapshots=[0],
        on_snapshot=lambda i, memory: memories.update({i: memory}),
    )[1]["ce"]
    network, accuracy = queues[0].drawn[0]
    assert accuracy > 0.3
    decoded = memories[0].decoded()
    with torch.no_grad():
        scores = network(GREY.apply(decoded.images)).double().numpy()
    right = scores[np.arange(24), np.searchsorted([2, 5, 7], decoded.labels.numpy())]
    entropy = (np.log(np.exp(scores).sum(1)) - right).mean()
    # published: the mean over all images, spread over the three classes that the report averages
    factor = 1.0 if scale == "relative" else 100 / 3
    assert reported == pytest.approx(0.25 * float(accuracy) * factor * entropy, rel=0.01)


def test_parts_are_matched_at_full_size():
    groups = images_of(2, 5)
    own = build_network(EmbedderConfig(**SMALL), (1, 8, 8), 1, torch.Generator().manual_seed(0))
    config = extended(iterations=1, lr=1e-12, real_batch=30, scale="published")
    reported = reported_terms(config, groups, augmentations=(), embedder=own)[1]["match"]
    memory = condense(groups, config.model_copy(update={"iterations": 0}), augmentations=())
    decoded, gaps = memory.decoded().by_class(), []
    with torch.no_grad():  # the network is still that of the one iteration
        for label, images in groups.items():
            real, made = (own.embed(GREY.apply(x)).flatten(1).double().numpy() for x in (images, decoded[label]))
            gaps.append(((real.mean(0) - made.mean(0)) ** 2).sum())
    assert reported == pytest.approx(np.mean(gaps), rel=0.02)


@pytest.mark.parametrize("form", ["quadratic", "exponential"])
def test_parts_are_centralized_at_full_size(form):
    groups = images_of(2, 5)
    config = extended(iterations=1, lr=1e-12, cc_options={"weight": 0.05, "form": form, "beta": 1.2})
    networks = pool(groups, trainings=1, snapshots=1)
    reported = reported_terms(config, groups, augmentations=(), trained=networks)[1]["cc"]
    decoded = condense(groups, config.model_copy(update={"iterations": 0}), augmentations=()).decoded().by_class()
    terms = []
    for label, images in groups.items():
        with torch.no_grad():
            features = networks[0].network.features(GREY.apply(decoded[label])).double().numpy()
        distances = ((features - features.mean(0)) ** 2).sum(1) / feature_spread(networks[0].network, images)
        assert len(distances) == 12
        terms.append(np.mean(distances if form == "quadratic" else np.maximum(0, np.exp(distances) - 1.2)))
    assert reported == pytest.approx(0.05 * np.mean(terms), rel=0.02)


# --- no iterations


def test_no_iterations_store_distinct_real_images():
    groups = images_of(2, 5)
    memory = condense(groups, settings(iterations=0)).by_class()
    for label, images in memory.items():
        chosen = set(rows_of(images))
        assert chosen <= set(rows_of(groups[label]))
        assert len(chosen) == 3


def halved(images):
    """(n, H, W) at half the side: each pixel the mean of four."""
    images = images.double().numpy()
    return sum(images[:, a::2, b::2] for a in (0, 1) for b in (0, 1)) / 4


@every_objective
def test_no_iterations_pack_shrunk_real_images(objective):
    groups = images_of(2, 5, count=12)
    memory = condense(groups, extended(objective, iterations=0, cc=0.1), ipc=3)
    assert memory.partition == 2
    for label, images in memory.by_class().items():
        shrunk = halved(groups[label][:, 0])
        stored = images[:, 0].double().numpy()
        parts = np.concatenate([stored[:, a : a + 4, b : b + 4] for a in (0, 4) for b in (0, 4)])
        apart = np.abs(parts[:, None] - shrunk[None]).max((2, 3))
        found = apart <= 0.51  # rounded to grey levels
        # twelve parts for the class's twelve images: each is there once
        assert found.sum(0).tolist() == [1] * 12
        assert found.sum(1).tolist() == [1] * 12


def test_no_iterations_train_and_report_nothing(trainings, queues):
    reports = reported_terms(extended(iterations=0, cm=0.1, cc=0.1))
    assert reports == {}
    assert trainings == []
    assert [queue.batches for queue in queues] in ([], [[]])


@every_objective
def test_no_iterations_are_where_the_iterations_start(objective):
    groups, memories = images_of(2, 5), {}
    condense(groups, extended(objective), snapshots=[0], on_snapshot=lambda i, memory: memories.update({i: memory}))
    still = condense(groups, extended(objective, iterations=0))
    assert torch.equal(memories[0].images, still.images)


def test_a_partitioned_class_starts_from_images_more_than_once_where_it_has_too_few():
    memory = condense(images_of(2, 5, count=4), extended(iterations=0), ipc=4)
    for images in memory.by_class().values():
        stored = images[:, 0]
        parts = torch.cat([stored[:, a : a + 4, b : b + 4] for a in (0, 4) for b in (0, 4)])
        _, counts = parts.flatten(1).unique(dim=0, return_counts=True)
        assert counts.tolist() == [4, 4, 4, 4]


# --- snapshots


def test_the_length_follows_from_the_number_of_images():
    """Fewer iterations for many images; snapshots may depend on the length."""
    seen = []
    memory = condense(
        images_of(2, 5, count=40), settings(iterations="auto"), ipc=40,
        snapshots=lambda last: {0, last // 2, last}, on_snapshot=lambda i, _: seen.append(i),
    )  # fmt: skip
    assert (memory.metadata["iterations_done"], seen) == (100, [0, 50, 100])


@pytest.mark.parametrize("objective", ["dm", "idm"])
def test_snapshots_come_at_the_iterations_asked_for(objective):
    seen = []
    config = extended(objective)
    result = condense(
        images_of(2, 5), config, snapshots={8, 0, 3, 99}, on_snapshot=lambda i, memory: seen.append((i, memory))
    )
    assert [i for i, _ in seen] == [0, 3, 8]
    for iteration, memory in seen:
        assert memory.images.dtype == torch.uint8
        assert memory.partition == result.partition
        assert torch.equal(memory.labels, result.labels)
        assert dict(memory.metadata) == {**result.metadata, "iterations_done": iteration}
    assert torch.equal(seen[-1][1].images, result.images)
    for (_, earlier), (_, later) in itertools.pairwise(seen):
        assert changed_share(earlier.images, later.images) > 0.1


def test_snapshots_change_nothing():
    groups, config = images_of(2, 5), extended()
    watched = condense(groups, config, snapshots=range(9), on_snapshot=lambda i, memory: memory.images.zero_())
    assert torch.equal(watched.images, condense(groups, config).images)


def test_no_snapshot_unasked():
    condense(images_of(2, 5), settings(), on_snapshot=lambda i, memory: pytest.fail("nobody asked"))
    condense(images_of(2, 5), settings(), snapshots=[0, 1])  # nobody listens


def test_a_snapshot_is_what_a_constant_rate_would_have_stopped_at():
    groups, memories = images_of(2, 5), {}
    options = {"snapshots": [4], "on_snapshot": lambda i, memory: memories.update({i: memory})}
    condense(groups, settings(lr_schedule="constant"), augmentations=(), **options)
    stopped = condense(groups, settings(lr_schedule="constant", iterations=4), augmentations=())
    assert torch.equal(memories[4].images, stopped.images)


# --- an embedder of one's own


def own_embedder(seed=0):
    return build_network(EmbedderConfig(**SMALL), (1, 8, 8), 1, torch.Generator().manual_seed(seed))


def test_an_own_embedder_takes_the_place_of_the_configured_one():
    groups = images_of(2, 5)
    other = settings(embedder=EmbedderConfig(name="convnet", width=4, depth=1))
    expected = condense(groups, settings()).images
    assert torch.equal(condense(groups, other, embedder=own_embedder()).images, expected)
    assert changed_share(condense(groups, other).images, expected) > 0.1


def test_networks_of_class_centralization_know_what_images_stand_for(monkeypatch):
    import iid_cl.distill.distillation as module

    given = []
    real = module.train_networks
    monkeypatch.setattr(
        module, "train_networks", lambda classes, *rest: (given.append(classes.weights), real(classes, *rest))[1]
    )
    weights = {5: torch.linspace(1, 9, 30, dtype=torch.float64)}
    condense(images_of(2, 5), settings(cc=0.1), weights=weights)
    assert given == [weights]


def test_weights_of_an_own_embedder_are_drawn_anew():
    groups = images_of(2, 5)
    first, second = (condense(groups, settings(), embedder=own_embedder(seed)).images for seed in (3, 4))
    assert torch.equal(first, second)
    own = own_embedder()
    before = own.blocks[0].weight.clone()
    condense(groups, settings(iterations=1), embedder=own)
    assert not torch.equal(own.blocks[0].weight, before)


class Stripes(Network):
    """Nothing that the configuration could name: one wide kernel without padding, squared."""

    def __init__(self):
        super().__init__()
        self.kernel = torch.nn.Conv2d(1, 3, (7, 3))
        self.classifier = torch.nn.Linear(3 * 2 * 6, 1)
        self.seen = []

    def embed(self, images):
        self.seen.append(len(images))
        return self.kernel(images).square()


@pytest.mark.parametrize("objective", ["dm", "idm", "ncfm"])
def test_any_network_embeds(objective):
    groups, own = images_of(2, 5), Stripes()
    config = extended(objective, cm=0.1)
    memory = condense(groups, config, embedder=own)
    made = 3 * (1 if objective == "dm" else 4)
    probe, *seen = own.seen
    assert probe == 3
    assert sum(seen) == 8 * 2 * (8 + made)  # iterations, classes, real and synthetic images
    start = condense(groups, config.model_copy(update={"iterations": 0}))
    assert changed_share(memory.images, start.images) > 0.2


# --- soft labels


def mean_probabilities(networks, images):
    total = 0.0
    for one in networks:
        with torch.no_grad():
            scores = np.exp(one.network(GREY.apply(images)).double().numpy())
        total = total + scores / scores.sum(1, keepdims=True)
    return total / len(networks)


def assert_levels(levels, probabilities):
    """The levels next to fifteen times the root of each probability over the largest of its image."""
    roots = np.sqrt(probabilities / probabilities.max(1, keepdims=True))
    np.testing.assert_allclose(levels.numpy(), 15 * roots, atol=0.501)


@pytest.mark.parametrize("objective", ["dm", "idm"])
def test_soft_labels_are_the_mean_probabilities_under_the_trained_networks(objective):
    groups = images_of(2, 5, 7)
    networks = pool(groups, epochs=6)
    memory = condense(groups, extended(objective), trained=networks, soft_labels=True)
    rows, columns = memory.soft_labels.probabilities, memory.soft_labels.columns
    decoded = memory.decoded().images
    assert len(decoded) == (9 if objective == "dm" else 36)
    assert_levels(memory.soft_labels.levels, mean_probabilities(networks, decoded))
    np.testing.assert_allclose(rows.double().sum(1).numpy(), 1.0, atol=1e-6)
    assert columns.tolist() == [[2, 5, 7]] * 3
    assert rows.double().std(0).min() > 0.01  # images are told apart
    targets = memory.targets(10)
    assert not targets[:, [0, 1, 3, 4, 6, 8, 9]].any()
    torch.testing.assert_close(targets[:, [2, 5, 7]], rows)


def test_soft_labels_leave_the_images_as_they_are():
    groups = images_of(2, 5)
    plain, soft = (condense(groups, extended(cc=0.1), soft_labels=wanted) for wanted in (False, True))
    assert torch.equal(plain.images, soft.images)
    assert plain.soft_labels is None
    assert soft.nbytes == plain.nbytes + 24 + 2 * 2 * 2


@pytest.mark.parametrize("cc", [0.0, 0.1])
def test_soft_labels_and_centralization_share_one_training(trainings, cc):
    condense(images_of(2, 5), settings(cc=cc), soft_labels=True)
    assert len(trainings) == 1


def test_soft_labels_of_networks_trained_here_see_each_class():
    groups = images_of(0, 1)
    options = {"trainings": 1, "epochs": 15, "snapshots": 1}
    memory = condense(groups, settings(cc_options={"weight": 0.0, **options}, iterations=0), soft_labels=True)
    own = memory.soft_labels.probabilities.double().gather(1, torch.tensor([[0]] * 3 + [[1]] * 3))
    assert own.min() > 0.6


def test_soft_labels_without_iterations(trainings):
    memory = condense(images_of(2, 5), extended(iterations=0), soft_labels=True)
    assert memory.soft_labels.probabilities.shape == (24, 2)
    assert len(trainings) == 1


@pytest.mark.parametrize("objective", ["dm", "idm"])
def test_snapshots_have_soft_labels_of_their_own(objective, trainings):
    seen, groups = {}, images_of(2, 5)
    networks = pool(groups, epochs=6)
    trainings.clear()
    options = {"snapshots": [0, 4, 8], "on_snapshot": lambda i, memory: seen.update({i: memory})}
    result = condense(groups, extended(objective), trained=networks, soft_labels=True, **options)
    assert list(seen) == [0, 4, 8]
    for memory in seen.values():
        assert_levels(memory.soft_labels.levels, mean_probabilities(networks, memory.decoded().images))
        assert memory.soft_labels.columns.tolist() == [[2, 5]] * 2
        assert memory.nbytes == result.nbytes
    first, last = (seen[i].soft_labels.probabilities for i in (0, 8))
    assert not torch.equal(first, last)
    assert torch.equal(last, result.soft_labels.probabilities)
    assert trainings == []


def test_snapshots_of_networks_trained_here_share_their_training(trainings):
    seen = []
    condense(
        images_of(2, 5), settings(), soft_labels=True,
        snapshots=[0, 8], on_snapshot=lambda i, memory: seen.append(memory.soft_labels),
    )  # fmt: skip
    assert len(trainings) == 1
    assert [soft.probabilities.shape for soft in seen] == [(6, 2)] * 2


def test_one_class_alone_is_certain(trainings):
    memory = condense(images_of(5), extended(), soft_labels=True)
    assert memory.soft_labels.probabilities.tolist() == [[1.0]] * 12
    assert memory.soft_labels.columns.tolist() == [[5]]
    assert trainings == []


# --- formats, chunks and compilation


@pytest.mark.parametrize("objective", ["dm", "idm", "ncfm"])
def test_bfloat16_gives_nearly_the_same_images(objective):
    groups, config = images_of(2, 5), extended(objective, cm=0.1)
    start = condense(groups, config.model_copy(update={"iterations": 0})).images.double()
    exact, rough = (condense(groups, config, precision=p).images.double() for p in ("float32", "bfloat16"))
    assert 0 < (rough - exact).norm() < 0.2 * (exact - start).norm()


@pytest.mark.parametrize("objective", ["dm", "idm", "ncfm"])
def test_a_small_memory_gives_the_same_images(objective, monkeypatch):
    groups, config, chunks = images_of(1, 4, 8), extended(objective, cm=0.1, cc=0.1), []
    whole = condense(groups, config).images
    genuine = distillation.ImageStep

    def recorded(*arguments):
        step = genuine(*arguments)
        chunks.append(step.chunk)
        return step

    monkeypatch.setattr(distillation, "ImageStep", recorded)
    condense(groups, config)
    monkeypatch.setattr(acceleration, "CPU_MEMORY", 1)
    assert_nearly_equal(condense(groups, config).images, whole)
    assert chunks == [3, 1]


def test_more_classes_fit_the_less_is_kept_of_each(monkeypatch):
    sizes = []
    monkeypatch.setattr(workload, "classes_per_chunk", lambda size, device: sizes.append(size) or 2)
    groups = images_of(2, 5)
    trained = pool(groups)
    condense(groups, settings())
    for config, ipc in ((settings(), 6), (settings(partition=2), 3), (settings(real_batch=16), 3)):
        condense(groups, config, ipc=ipc)
    condense(groups, settings(cc=0.1), trained=trained)
    plain, double, partitioned, batch, centralized = sizes
    # what 3 images keep, real ones, the trained networks'
    kept = (double - plain) / 3
    assert partitioned == plain + 9 * kept
    assert centralized == plain + 3 * kept  # the trained networks are of the embedders' kind
    assert batch - plain == plain - 3 * kept
    # at least the two convolutions' outputs of each synthetic image, and the pixels and features of a real one
    assert kept >= 4 * (8 * 64 + 8 * 16)
    assert batch - plain >= 8 * 4 * (64 + 32)


@pytest.fixture
def choices(monkeypatch):
    """Precision, compilation, operations and ownership of every choice of arithmetic."""
    seen = []

    def recorded(precision, compiling, device, flops, own):
        seen.append((precision, compiling, flops, own))
        return acceleration.choose(precision, compiling, device, flops, own)

    monkeypatch.setattr(workload, "choose", recorded)
    return seen


@pytest.mark.parametrize(
    ("config", "images"),
    [
        # two classes, eight iterations: eight real images, and three synthetic ones forwards and backwards
        (settings(), 2 * 8 * (8 + 3 * 3)),
        (settings(partition=2), 2 * 8 * (8 + 3 * 12)),
        # and the training of a queue
        (extended(partition=1), 2 * 8 * (8 + 3 * 3) + 8 * 3 * 16),
    ],
    ids=["plain", "partition", "queue"],
)
def test_operations_are_counted_by_hand(config, images, choices):
    condense(images_of(2, 5), config)
    ((precision, compiling, flops, own),) = choices
    assert flops == images * (2 * 9 * 1 * 8 * 64 + 2 * 9 * 8 * 8 * 16)
    assert (precision, compiling, own) == ("auto", None, False)


def test_the_configuration_and_an_own_network_have_a_say_in_the_choice(choices):
    condense(images_of(2, 5), settings(), embedder=Pixels(), precision="bfloat16", compile=False)
    assert choices == [("bfloat16", False, 0.0, True)]


def test_a_short_distillation_is_not_compiled(monkeypatch):
    monkeypatch.setattr(acceleration, "_try_compiler", lambda device_type: pytest.fail("tried"))
    assert_nearly_equal(
        condense(images_of(2, 5), settings()).images,
        condense(images_of(2, 5), settings(), precision="float32", compile=False).images,
    )


def test_a_compiler_asked_for_in_vain_is_a_users_error(monkeypatch):
    monkeypatch.setattr(acceleration, "_try_compiler", lambda device_type: "no g++")
    with pytest.raises(UserError, match=r"^compile: true, but the compiler does not work \(no g\+\+\); use"):
        condense(images_of(2, 5), settings(), compile=True)


# --- all of it


@pytest.mark.parametrize("objective", ["dm", "idm", "ncfm"])
def test_bfloat16_repeats_to_the_byte_for_a_seed(objective):
    groups, config = images_of(2, 5), extended(objective, cm=0.1, cc=0.1)
    before = torch.get_rng_state()
    rough = {"precision": "bfloat16"}
    first, again, other = (condense(groups, config, seed=seed, **rough).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert changed_share(first, other) > 0.2
    assert torch.equal(torch.get_rng_state(), before)
    assert DistillConfig.model_validate(json.loads(config.model_dump_json())) == config


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


def on_gpu(test):
    """Marks a test that may compile on a GPU."""
    return pytest.mark.gpu(quiet_compiler(test))


def moved(memory, start):
    """How far images are from where they started."""
    return float((memory.images.double() - start.images.double()).norm())


def assert_same_kind(memory, expected, start):
    """Apart by little of the way that they went."""
    assert moved(expected, start) > 0
    assert moved(memory, expected) < 0.2 * moved(expected, start)


@on_gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_cuda_goes_the_way_of_the_cpu(compiled):
    """With an embedder without weights nothing is drawn on the device; idm draws its networks on the CPU."""
    groups, on_cuda = images_of(1, 4, 8), {"precision": "float32", "compile": compiled, "device": "cuda"}
    start, cpu = (condense(groups, settings(iterations=n, cm=0.1), embedder=Pixels()) for n in (0, 8))
    assert_same_kind(condense(groups, settings(cm=0.1), embedder=Pixels(), **on_cuda), cpu, start)
    start, cpu = (condense(groups, extended(iterations=n, cm=0.1)) for n in (0, 8))
    assert_same_kind(condense(groups, extended(cm=0.1), **on_cuda), cpu, start)


@on_gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_images_for_jpeg_go_the_way_of_the_cpu(compiled):
    groups, on_cuda = images_of(1, 4, 8), {"precision": "float32", "compile": compiled, "device": "cuda"}
    as_jpeg = {"embedder": Pixels(), "as_stored": JpegFormat(50)}
    start, cpu = (condense(groups, settings(iterations=n, cm=0.1), **as_jpeg) for n in (0, 8))
    assert_same_kind(condense(groups, settings(cm=0.1), **as_jpeg, **on_cuda), cpu, start)


@on_gpu
@pytest.mark.parametrize(("cc", "precision"), [(0.0, "float32"), (0.1, "bfloat16")])
@pytest.mark.parametrize("objective", ["dm", "idm", "ncfm"])
def test_compiled_steps_on_cuda_go_the_way_of_eager_ones(objective, cc, precision):
    groups, config = images_of(1, 4, 8), extended(objective, cm=0.1, cc=cc)
    eager, compiled = (
        condense(groups, config, device="cuda", precision=precision, compile=whether) for whether in (False, True)
    )
    start = condense(groups, config.model_copy(update={"iterations": 0}), device="cuda")
    assert_same_kind(compiled, eager, start)


@on_gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("objective", ["dm", "idm"])
def test_chunks_on_cuda_change_nothing(objective, compiled, monkeypatch):
    groups = images_of(1, 4, 8)
    on_cuda = {"precision": "float32", "compile": compiled, "device": "cuda"}
    whole, start = (condense(groups, extended(objective, iterations=n, cm=0.1, cc=0.1), **on_cuda) for n in (8, 0))
    for chunk in (2, 1):
        monkeypatch.setattr(workload, "classes_per_chunk", lambda size, device, chunk=chunk: chunk)
        assert_same_kind(condense(groups, extended(objective, cm=0.1, cc=0.1), **on_cuda), whole, start)


# --- a user's own module


def test_a_named_layer_of_a_users_module_is_an_embedder():
    """Its weights are drawn afresh: two modules that began differently give the same images."""

    def module():
        body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AvgPool2d(2))
        return torch.nn.Sequential(body, torch.nn.Flatten(), torch.nn.Linear(64, 3))

    config, groups = settings(iterations=3), images_of(0, 1)
    first, second = (condense(groups, config, embedder=NamedLayer(module(), "0")).images for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, condense(groups, config.model_copy(update={"iterations": 0})).images)


# --- a user's own objective


def squared_means(real, synthetic):
    """What DM says in the relative scale, written anew."""
    apart = (real.flatten(2).mean(1) - synthetic.flatten(2).mean(1)).square().sum(1)
    return apart / (real.flatten(2) - real.flatten(2).mean(1, keepdim=True)).square().sum(2).mean(1)


def still(real, synthetic):
    """Nothing to gain."""
    return 0 * synthetic.flatten(1).sum(1)


def test_an_own_objective_that_says_what_dm_says_gives_what_dm_gives():
    groups, config = images_of(0, 1), settings(cm=0.3)
    theirs, ours = condense(groups, config, objective=squared_means), condense(groups, config)
    assert changed_share(theirs.images, ours.images) < 0.05  # but for the order of roundings
    assert changed_share(ours.images, condense(groups, settings(cm=0.3, iterations=0)).images) > 0.5
    assert theirs.metadata["own_objective"] == "squared_means"
    assert "own_objective" not in ours.metadata


@pytest.mark.parametrize("base", ["dm", "idm", "ncfm"])
def test_an_own_objective_stands_in_for_the_matching_term_alone(base):
    groups, config = images_of(0, 1), extended(base, lr=1e-12)
    options = {"groups": groups, "objective": still}
    assert all(terms["match"] == 0 for terms in reported_terms(config, **options).values())
    with_both = reported_terms(extended(base, lr=1e-12, cm=0.3), **options)
    assert all(terms["cm"] > 0 for terms in with_both.values())
    assert all(("ce" in terms) == (base != "dm") for terms in with_both.values())


def test_an_own_objective_is_asked_class_by_class_where_memory_is_short(monkeypatch):
    seen = []

    def spy(real, synthetic):
        seen.append((tuple(real.shape[:2]), tuple(synthetic.shape[:2])))
        return squared_means(real, synthetic)

    groups, config = images_of(0, 1, 2), settings(iterations=2)
    whole = condense(groups, config, objective=spy)
    assert seen == [((3, 8), (3, 3))] * 2
    seen.clear()
    monkeypatch.setattr(workload, "classes_per_chunk", lambda size, device: 2)
    assert changed_share(condense(groups, config, objective=spy).images, whole.images) < 0.05
    assert seen == [((2, 8), (2, 3)), ((1, 8), (1, 3))] * 2
