"""Mixtures of distilled and real images, and what the choice between them is made on."""

import math

import pytest
import torch

from iid_cl.config.distill import DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.jpeg import JpegError, decode, encode, header_length
from iid_cl.methods.mixing import (
    _beside_real,
    condensable,
    held_out_losses,
    hold_out,
    hybrid_jpeg,
    mean_loss,
    mix,
    significantly_best,
    suited_partitions,
    trial_network,
)


def flat(*values, side=8):
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, side, side).contiguous()


def values(memory):
    return memory.images[:, 0, 0, 0].tolist()


def test_kinds_alternate_by_hand():
    distilled = ExemplarSet.from_classes({0: flat(1, 2), 5: flat(6, 7)}, {"method": "distilled"})
    real = ExemplarSet.from_classes({5: flat(160, 170), 0: flat(110, 120)})
    mixed = mix(distilled, real)
    assert mixed.labels.tolist() == [0] * 4 + [5] * 4
    assert values(mixed) == [1, 110, 2, 120, 6, 160, 7, 170]
    assert mixed.metadata == {"method": "distilled"}


@pytest.mark.parametrize(("some", "others"), [(1, 9), (3, 7), (5, 5), (8, 2), (4, 1)])
def test_the_first_images_keep_the_share(some, others):
    distilled = ExemplarSet.from_classes({0: flat(*[1] * some)})
    mixed = values(mix(distilled, ExemplarSet.from_classes({0: flat(*[2] * others)})))
    for length in range(1, len(mixed) + 1):
        assert abs(mixed[:length].count(1) - length * some / (some + others)) <= 1


def test_one_kind_alone_stays_as_it_is():
    one = ExemplarSet.from_classes({0: flat(1, 2)})
    assert mix(one, None) is mix(None, one) is one


def test_none_or_two_ways_of_storing_are_not_mixed():
    one, grid = (ExemplarSet.from_classes({0: flat(1)}, partition=f) for f in (1, 2))
    for pair, shown in (((None, None), "one kind at least"), ((one, grid), "in the same way")):
        with pytest.raises(ValueError, match=shown):
            mix(*pair)


@pytest.mark.parametrize(
    ("settings", "height", "width", "expected"),
    [
        ({}, 24, 32, [2, 1]),
        ({}, 22, 32, [1]),  # parts of eleven pixels
        ({}, 32, 25, [1]),  # an odd side
        ({}, 25, 32, [1]),
        ({}, 8, 8, [1]),
        ({"partition": 1}, 32, 32, [1]),
        ({"partition": 4}, 8, 8, [4]),
        ({"objective": "idm"}, 8, 8, [2]),
        ({"objective": "ncfm"}, 32, 32, [2]),
        ({"objective": "idm", "partition": 1}, 32, 32, [1]),
    ],
    ids=str,
)
def test_partitions_follow_the_images_where_none_is_asked_for(settings, height, width, expected):
    assert suited_partitions(DistillConfig(**settings), height, width) == expected


def test_a_tenth_of_each_class_is_held_out():
    groups = {4: flat(*range(30)), 1: flat(*range(100, 119)), 2: flat(*range(200, 209))}
    rest, held = hold_out(groups, torch.Generator().manual_seed(0))
    assert {c: len(images) for c, images in rest.items()} == {4: 27, 1: 18, 2: 9}
    assert held.labels.bincount().tolist() == [0, 1, 0, 0, 3]
    for label, images in groups.items():
        both = torch.cat([rest[label], held.images[held.labels == label]])[:, 0, 0, 0]
        assert sorted(both.tolist()) == images[:, 0, 0, 0].tolist()


def test_at_most_200_images_of_a_class_are_held_out():
    images = torch.zeros(2500, 1, 1, 1, dtype=torch.uint8)
    rest, held = hold_out({0: images}, torch.Generator().manual_seed(0))
    assert (len(rest[0]), len(held)) == (2300, 200)


def judged(candidates, held, *, beside=None, seed=0):
    return held_out_losses(
        candidates,
        held,
        NetworkConfig(width=4, depth=1, norm="none"),
        beside=beside,
        normalization=Normalization((0.5,), (0.5,)),
        augmentations=(),
        device="cpu",
        generator=torch.Generator().manual_seed(seed),
    )


def test_a_trials_network_is_the_embedder_but_no_wider_than_was_measured():
    assert trial_network(EmbedderConfig(width=128, depth=2)) == EmbedderConfig(width=32, depth=2)
    for other in (EmbedderConfig(width=16, norm="group"), EmbedderConfig(name="mlp")):
        assert trial_network(other) == other


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


def test_memory_alone_is_all_that_networks_see_where_it_is_not_replayed():
    """Real images with wrong labels do harm beside it, and none otherwise."""
    memory = ExemplarSet.from_classes({0: flat(0, 10), 3: flat(250, 240)})
    held = LabelledImages(flat(5, 245), torch.tensor([0, 3]))
    wrong = {0: flat(245, 250, 240), 3: flat(5, 0, 10)}
    alone, beside = judged({"a": memory}, held)["a"], judged({"a": memory}, held, beside=wrong)["a"]
    assert alone.mean() < 0.5 < beside.mean()


# --- as JPEG


def noise(count, seed=0):
    return torch.randint(256, (count, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


REAL = {4: noise(12, 1), 1: noise(12, 2)}


def last_first(images, weights):
    return lambda label, count: torch.arange(11, 11 - count, -1)


def as_jpeg(room, share, ordering=last_first, real=REAL, quality=30, **named):
    """With flat images in place of distilled ones; and how many of each class were asked for."""
    asked = []

    def distil(images, weights, count, start):
        asked.append(count)
        return ExemplarSet.from_classes({c: flat(*range(count), side=16) for c in images}, {"made": "here"})

    memory = hybrid_jpeg(real, {}, room, share, quality, distil=distil, ordering=ordering, paying=len(real), **named)
    return memory, asked


def read(files, shape=(1, 16, 16)):
    return torch.stack([decode(file, shape) for file in files])


def sizes(images, quality=30):
    files = encode(images, quality)
    return header_length(files[0]), [len(file) - header_length(file) + 6 for file in files]


def test_as_many_are_distilled_as_fit_of_the_class_that_weighs_most():
    room = 1200
    header, _ = sizes(REAL[4])
    expected = min((room - -(-header // 2)) / (sum(sizes(images)[1]) / 12) for images in REAL.values())
    memory, asked = as_jpeg(room, 1.0, None)
    assert asked == [int(expected)]
    assert 3 < asked[0] < 12
    flat_ones = read(encode(flat(*range(asked[0]), side=16), 30))
    for images in memory.by_class().values():  # which weigh less than noise, so all fit
        assert torch.equal(images, flat_ones)
    assert memory.metadata == {"made": "here"}


def test_real_ones_fill_what_is_left_in_their_order():
    room = 1200
    for share in (0.5, 1.0):
        memory, asked = as_jpeg(room, share)
        count = asked[0]
        header, flat_sizes = sizes(flat(*range(count), side=16))
        for label, images in memory.by_class().items():
            assert torch.equal(images[:count], read(encode(flat(*range(count), side=16), 30)))
            behind = REAL[label].flip(0).roll(-count, 0)  # distilled ones start from the first, which come last
            rest = read(encode(behind, 30))[: len(images) - count]
            assert torch.equal(images[count:], rest)
            left = room - -(-header // 2) - sum(flat_sizes)
            fitting = torch.tensor(sizes(behind)[1]).cumsum(0)
            assert len(rest) == int((fitting <= left).sum()) > 0


@pytest.mark.parametrize("ordering", [last_first, None])
def test_distilled_ones_start_from_the_first_in_the_order_of_real_ones(ordering):
    given = []

    def distil(images, weights, count, start):
        given.append((count, start))
        return ExemplarSet.from_classes({c: flat(*range(count), side=16) for c in images})

    hybrid_jpeg(REAL, {}, 1200, 1.0, 30, distil=distil, ordering=ordering, paying=2)
    ((count, start),) = given
    if ordering is None:
        assert start is None
    else:
        assert 3 < count < 12
        assert {c: images.tolist() for c, images in start.items()} == {
            c: images.flip(0)[:count].tolist() for c, images in REAL.items()
        }


def test_a_class_that_fits_twice_is_stored_distilled_and_then_real():
    """Flat images weigh so little that every one is distilled; then real ones have room as well."""
    real = {0: flat(*range(3), side=16)}
    made = flat(100, 110, 120, side=16)
    memory = hybrid_jpeg(
        real, {}, 5000, 1.0, 30, paying=1,
        distil=lambda images, weights, count, start: ExemplarSet.from_classes({0: made[: min(count, 3)]}),
        ordering=lambda images, weights: lambda label, count: torch.tensor([2, 0, 1])[:count],
    )  # fmt: skip
    assert torch.equal(memory.by_class()[0], read(encode(torch.cat([made, real[0][[2, 0, 1]]]), 30)))


def test_a_share_of_none_is_real_and_nothing_is_distilled():
    memory, asked = as_jpeg(1200, 0.0)
    assert asked == []
    for label, images in memory.by_class().items():
        assert torch.equal(images, read(encode(REAL[label].flip(0), 30))[: len(images)])


def test_what_weighs_more_than_expected_is_left_out():
    real = {0: flat(*range(30), side=16)}  # a few bytes each
    heavy = hybrid_jpeg(
        real, {}, 900, 1.0, 30, ordering=None, paying=1,
        distil=lambda images, weights, count, start: ExemplarSet.from_classes({0: noise(count, 3)}),
    )  # fmt: skip
    assert 0 < len(heavy) < 30
    assert heavy.nbytes <= 900
    assert torch.equal(heavy.by_class()[0], read(encode(noise(30, 3), 30))[: len(heavy)])


def test_one_is_distilled_where_none_is_expected_to_fit():
    header, one = sizes(flat(0, side=16))
    fits = -(-header // 2) + one[0]
    memory, asked = as_jpeg(fits, 1.0, None)
    assert (asked, len(memory)) == ([1], 2)
    with pytest.raises(JpegError, match="no image of class"):
        as_jpeg(fits - 1, 1.0, None)


@pytest.mark.parametrize(("count", "expected"), [(0, False), (1, False), (2, True), (4, True), (5, False)])
def test_condensing_is_worth_a_try_up_to_half_of_the_smallest_class(count, expected):
    assert condensable(count, {0: flat(*range(9)), 1: flat(*range(8))}) is expected
