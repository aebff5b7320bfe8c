"""Classes of unequal size: each gives as many images as it has, as if it were distilled among its equals."""

import pytest
import torch

from iid_cl.data.classes import Classes
from iid_cl.distill.job import DistillJob
from iid_cl.distill.uneven import distill_each
from iid_cl.distill.watch import Watch
from iid_cl.errors import UserError
from iid_cl.seeding import draw_seed
from tests.distill.helpers import LENS, condense, images_of, settings


def each(groups, ipc, seed=0, weights=None):
    job = DistillJob(
        Classes(groups, weights or {}),
        ipc,
        settings(iterations=2),
        LENS,
        draw_seed(torch.Generator().manual_seed(seed)),
    )
    return distill_each(job, Watch())


def test_every_class_gives_as_many_as_it_has():
    groups = {3: images_of(3, count=2)[3], 5: images_of(5, count=9)[5], 1: images_of(1, count=3)[1]}
    memory = each(groups, 4)
    assert memory.labels.tolist() == [1] * 3 + [3] * 2 + [5] * 4
    assert memory.metadata["ipc"] == 4


def test_a_class_comes_out_as_it_does_alone():
    groups = {3: images_of(3, count=2)[3], 5: images_of(5, count=9)[5]}
    memory = each(groups, 4).by_class()
    for label, count in ((3, 2), (5, 4)):
        alone = condense({label: groups[label]}, settings(iterations=2), ipc=count)
        assert torch.equal(memory[label], alone.images)


def test_weights_go_to_their_classes():
    groups = {3: images_of(3, count=2)[3], 5: images_of(5, count=9)[5]}
    weights = {3: torch.tensor([3.0, 1.0], dtype=torch.float64)}
    with_weights, without = each(groups, 4, weights=weights).by_class(), each(groups, 4).by_class()
    assert torch.equal(with_weights[5], without[5])
    assert not torch.equal(with_weights[3], without[3])


def test_no_classes_are_refused():
    with pytest.raises(UserError, match="no classes to condense"):
        each({}, 2)
