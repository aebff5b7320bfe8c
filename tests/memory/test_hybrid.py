"""Mixtures of distilled and real images, and what the choice between them is made on."""

import pytest
import torch

from iid_cl.config import DistillConfig, NetworkConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.hybrid import held_out_losses, hold_out, mix, significantly_best, suited_partition


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
        ({}, 24, 32, 2),
        ({}, 22, 32, 1),  # parts of eleven pixels
        ({}, 32, 25, 1),  # an odd side
        ({}, 8, 8, 1),
        ({"partition": 1}, 32, 32, 1),
        ({"partition": 4}, 8, 8, 4),
        ({"objective": "idm"}, 8, 8, 2),
    ],
    ids=str,
)
def test_the_partition_follows_the_images_where_none_is_asked_for(settings, height, width, expected):
    assert suited_partition(DistillConfig(**settings), height, width) == expected


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


def test_a_memory_that_teaches_the_classes_has_the_lower_loss():
    good = ExemplarSet.from_classes({0: flat(0, 10, side=8), 3: flat(250, 240, side=8)})
    bad = ExemplarSet.from_classes({0: flat(250, 240, side=8), 3: flat(0, 10, side=8)})
    held = LabelledImages(flat(5, 245), torch.tensor([0, 3]))
    losses = held_out_losses(
        {"bad": bad, "good": good, "again": good},
        held,
        NetworkConfig(width=4, depth=1, norm="none"),
        normalization=Normalization((0.5,), (0.5,)),
        augmentations=(),
        device="cpu",
        generator=torch.Generator().manual_seed(0),
    )
    assert losses["good"].shape == (2,)
    assert losses["good"].mean() < 0.5 < losses["bad"].mean()
    assert torch.equal(losses["good"], losses["again"])  # the same weights and draws for each


def test_the_first_stays_unless_another_is_better_by_two_standard_errors():
    first = torch.tensor([1.0, 1.0, 1.0, 1.0])
    # gains of 0.1 to 0.3: mean 0.2 with a standard error of 0.041; of -0.4 to 0.8: 0.2 with 0.29
    clear, vague = first - torch.tensor([0.1, 0.2, 0.2, 0.3]), first - torch.tensor([-0.4, 0.2, 0.2, 0.8])
    assert significantly_best({"a": first, "b": clear}) == "b"
    assert significantly_best({"a": first, "b": vague}) == "a"
    assert significantly_best({"a": first, "b": first + 1, "c": clear, "d": first - 0.01}) == "c"
    assert significantly_best({"a": clear, "b": first}) == "a"
