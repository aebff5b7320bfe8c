"""Synthetic images of each class: what is planned, stored and shrunk."""

from typing import Any

import pytest
import torch

from iid_cl.budget import Budget
from iid_cl.config.distill import DistillConfig
from iid_cl.data.classes import Classes
from iid_cl.distill.job import DistillJob
from iid_cl.distill.watch import Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Jpeg, Whole
from iid_cl.methods import distilled as module
from iid_cl.methods.base import Arrival, PlannedDistillation, Work
from iid_cl.methods.distilled import Distilled

from .helpers import NORMALIZATION, TINY, Remembering, labelled, noise, real_ones

UNIT = 64 + 2  # a grey image of 8x8 and its label
GRID = TINY.model_copy(update={"partition": 2})
SAMPLE = Classes({0: noise(10), 3: noise(10, 1), 5: noise(10, 2)})


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[DistillJob, Watch]]:
    """All that is distilled from here on, and who looks on."""
    seen: list[tuple[DistillJob, Watch]] = []
    real = module.distill_each
    monkeypatch.setattr(module, "distill_each", lambda job, watch: (seen.append((job, watch)), real(job, watch))[1])
    return seen


# --- settings


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"shrink_by": "nested"}, r"^memory\.shrink: 'nested' is unknown; use cut or redistil\.$"),
        (
            {"config": GRID, "storage": Jpeg(50)},
            r"^memory\.jpeg: 50 stores images at full size; use distill\.partition 1",
        ),
        (
            {"storage": Whole(2)},
            r"^storage: Whole\(factor=2\) cannot hold images of distill\.partition 1; use the same",
        ),
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], shown: str) -> None:
    with pytest.raises(UserError, match=shown):
        Distilled(**settings)


def test_images_are_stored_in_the_grids_that_they_are_made_as() -> None:
    assert Distilled(TINY).stored == Whole(1)
    assert Distilled(GRID).stored == Whole(2)
    assert Distilled(TINY, Jpeg(30)).stored == Jpeg(30)


def test_a_distilled_memory_describes_its_distillation_and_its_quality() -> None:
    distill = TINY.model_dump(mode="json")
    assert Distilled(TINY).describe() == {"method": "distilled", "distill": distill}
    assert Distilled(TINY, Jpeg(30)).describe() == {"method": "distilled", "distill": distill, "jpeg": 30}


# --- what is planned


def space(classes: int, **budget: int) -> Space:
    whole = Budget(**budget)
    return Space(whole, whole.room(classes, 64), classes)


@pytest.mark.parametrize(
    ("method", "budget", "expected"),
    [
        (Distilled(TINY), {"ipc": 4}, Work(4, 1, True, (PlannedDistillation(2, 4),))),
        (Distilled(GRID), {"ipc": 4}, Work(4, 4, True, (PlannedDistillation(2, 4),))),
        # 12 images: 12 for a class, then 4 for each of three, so that the first is distilled anew
        (Distilled(TINY), {"mem_size": 12}, Work(4, 1, True, (PlannedDistillation(2, 4), PlannedDistillation(1, 4)))),
        (Distilled(TINY, shrink_by="cut"), {"mem_size": 12}, Work(4, 1, True, (PlannedDistillation(2, 4),))),
        (Distilled(TINY, soft_labels=True), {"mem_size": 12}, Work(4, 1, True, (PlannedDistillation(2, 4),))),
        # a byte for two probabilities with each image, and two columns for the class: (200 - 4) // 67
        (Distilled(TINY, soft_labels=True), {"class_bytes": 200}, Work(2, 1, True, (PlannedDistillation(2, 2),))),
    ],
    ids=str,
)
def test_work_by_hand(method: Distilled, budget: dict[str, int], expected: Work) -> None:
    """Classes 3 and 5 arrive, 0 was there."""
    arrival = Arrival(SAMPLE, {3: 40, 5: 40}, 2, space(1, **budget))
    assert method.work(arrival, space(3, **budget)) == expected


def test_a_first_experience_shrinks_nothing() -> None:
    work = Distilled(TINY).work(Arrival(SAMPLE.of([0]), {0: 40}, 1), space(1, mem_size=12))
    assert work == Work(12, 1, True, (PlannedDistillation(1, 12),))


def test_files_are_planned_by_a_sample() -> None:
    method = Distilled(TINY, Jpeg(30))
    count = Jpeg(30).count(SAMPLE.images, space(3, ipc=20))
    assert count > 1
    work = method.work(Arrival(SAMPLE, dict.fromkeys(SAMPLE.images, 40), 3), space(3, ipc=20))
    assert work == Work(count, 1, True, (PlannedDistillation(3, count, JpegFormat(30)),))


# --- what is distilled


def test_settings_reach_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(monkeypatch)
    memory = Remembering(
        Distilled(GRID, soft_labels=True), 3, normalization=NORMALIZATION, augmentations=("crop", "scale")
    )
    memory.meet({0: noise(12), 3: noise(12, 1)})
    ((job, _),) = seen
    assert (job.ipc, job.config, job.soft_labels, job.as_stored) == (3, GRID, True, None)
    assert (job.lens.normalization, job.lens.augmentations) == (NORMALIZATION, ("crop", "scale"))
    assert list(job.classes.images) == [0, 3]
    assert memory.exemplars is not None
    assert memory.exemplars.soft_labels is not None
    assert len(memory.exemplars.decoded()) == 2 * 3 * 4


@pytest.mark.parametrize(("shrink_by", "again"), [("redistil", 1), ("cut", 0)])
def test_older_classes_are_distilled_anew_or_cut(monkeypatch: pytest.MonkeyPatch, shrink_by: Any, again: int) -> None:
    memory = Remembering(Distilled(TINY, shrink_by=shrink_by), Budget(mem_size=8)).meet({0: noise(20)})
    before = memory.exemplars
    assert isinstance(before, ExemplarSet)
    seen = spied(monkeypatch)
    arriving, older = Watch(snapshots=(1,)), Watch(snapshots=(2,))
    memory.update(labelled({3: noise(20, 1)}), watch=arriving, older=older)
    assert [(list(job.classes.images), job.ipc) for job, _ in seen] == [([3], 4), ([0], 4)][: 1 + again]
    assert [watch.snapshots for _, watch in seen] == [(1,), (2,)][: 1 + again]
    assert memory.exemplars is not None
    kept = memory.exemplars.by_class()[0]
    assert len(kept) == 4
    assert real_ones(kept, {0: before.images[:4]}) == [not again] * 4


def test_where_all_images_fit_nothing_is_distilled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of two images has no more to give."""
    memory = Remembering(Distilled(TINY), Budget(mem_size=8)).meet({0: noise(2)})
    seen = spied(monkeypatch)
    memory.meet({3: noise(20)})
    assert [list(job.classes.images) for job, _ in seen] == [[3]]


def test_soft_labels_are_as_wide_as_the_largest_experience_so_far() -> None:
    method = Distilled(TINY, soft_labels=True)
    old = ExemplarSet.from_classes({0: noise(2)}).with_soft_labels(torch.full((2, 3), 0.25), [0, 1, 2])
    room = space(3, ipc=2)
    assert method.soft_width(2, room) == 2
    assert method.soft_width(2, Space(room.budget, room.room, 0, old)) == 3
    assert method.soft_width(5, Space(room.budget, room.room, 0, old)) == 5
    assert Distilled(DistillConfig()).soft_width(5, room) == 0
