"""Hybrid memories: distilled and real images in one."""

import pytest
import torch

from iid_cl.budget import Budget
from iid_cl.config.distill import DistillConfig
from iid_cl.distill import trained
from iid_cl.distill.job import DistillJob
from iid_cl.errors import UserError
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.memory.storage import Jpeg, Storage
from iid_cl.methods import distilled as module
from iid_cl.methods.base import Method
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.mixed import Mixed
from iid_cl.methods.real import Real

from .helpers import NORMALIZATION, TINY, Remembering, noise, real_ones

GRID = TINY.model_copy(update={"partition": 2})


def storage(quality: int | None) -> Storage | None:
    return None if quality is None else Jpeg(quality)


def hybrid(share: float, config: DistillConfig = TINY, jpeg: int | None = None, **budget: int) -> Remembering:
    return Remembering(Mixed(share, Distilled(config, storage(jpeg))), Budget(**(budget or {"ipc": 4})))


def herding(ipc: int, jpeg: int | None = None) -> Remembering:
    return Remembering(Real("herding") if jpeg is None else Real("herding", Jpeg(jpeg)), Budget(ipc))


def spied(monkeypatch: pytest.MonkeyPatch) -> list[DistillJob]:
    """All that is distilled from here on."""
    jobs: list[DistillJob] = []
    real = module.distill_each
    monkeypatch.setattr(module, "distill_each", lambda job, watch: (jobs.append(job), real(job, watch))[1])
    return jobs


GROUPS = {0: noise(12), 3: noise(12, 1)}


def test_a_share_is_distilled_and_the_rest_is_herded() -> None:
    memory = hybrid(0.25)
    memory.meet(GROUPS)
    assert memory.exemplars.labels.tolist() == [0] * 4 + [3] * 4
    assert real_ones(memory.exemplars.images, GROUPS).count(True) == 6
    herded = herding(3)
    herded.meet(GROUPS)
    for label, images in herded.exemplars.by_class().items():
        mixed = memory.exemplars.by_class()[label]
        assert torch.equal(mixed[real_ones(mixed, GROUPS)], images)  # in their order


def test_without_distilled_images_it_is_herding() -> None:
    one, other = hybrid(0.0), herding(4)
    for memory in (one, other):
        memory.meet({0: noise(12), 1: noise(12, 1)}, {1: noise(12, 101), 2: noise(12, 102)})
    assert torch.equal(one.exemplars.images, other.exemplars.images)


def test_distilled_images_alone_are_distilled_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = spied(monkeypatch)
    memory = hybrid(1.0)
    memory.meet(GROUPS)
    assert [job.ipc for job in jobs] == [4]
    assert not any(real_ones(memory.exemplars.images, GROUPS))
    distilled = Remembering(Distilled(TINY), Budget(4)).meet(GROUPS)
    assert memory.nbytes == distilled.nbytes


@pytest.mark.parametrize(("share", "distilled", "herded"), [(0.5, 2, 2), (0.25, 1, 3), (0.0, 0, 4)])
def test_a_fixed_total_keeps_the_share_and_its_real_images(share: float, distilled: int, herded: int) -> None:
    memory = hybrid(share, mem_size=8)
    second = {5: noise(12, 2)}
    memory.meet({0: GROUPS[0]})
    before = memory.exemplars.images
    memory.meet(second)
    for label, images in memory.exemplars.by_class().items():
        kinds = real_ones(images, GROUPS, second)
        assert (kinds.count(False), kinds.count(True)) == (distilled, herded), label
    assert torch.equal(memory.exemplars.by_class()[0], before[:4])


def test_both_kinds_of_a_grid_are_decoded() -> None:
    memory = hybrid(0.5, GRID)
    memory.meet(GROUPS)
    assert memory.exemplars.partition == 2
    # two distilled grids, and ones of eight herded images
    assert len(memory.exemplars.decoded()) == 2 * 4 * 4
    assert memory.nbytes == 8 * 66


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_as_jpeg_the_distilled_ones_start_from_the_herded(share: float) -> None:
    """Without iterations they stay these, so that the memory is that of herding."""
    groups = {c: noise(12, c, side=32) for c in (0, 3)}
    still = TINY.model_copy(update={"iterations": 0})
    one, other = hybrid(share, still, 50, ipc=5), herding(5, 50)
    for memory in (one, other):
        memory.meet(groups)
    assert len(one.exemplars) > 8
    for label, images in one.exemplars.by_class().items():
        herded = other.exemplars.by_class()[label][: len(images)]
        assert torch.equal(images[: len(herded)], herded)


@pytest.mark.parametrize("quality", [None, 40])
@pytest.mark.parametrize("mixed", [False, True])
def test_images_are_made_for_the_format_they_are_stored_in(
    mixed: bool, quality: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of new classes, and those that a fixed total makes fewer."""
    jobs = spied(monkeypatch)
    distilled: Method = Distilled(TINY, storage(quality))
    memory = Remembering(Mixed(1.0, distilled) if mixed else distilled, Budget(mem_size=16))
    for label in range(2):
        memory.meet({label: noise(24, label, side=32)})
    assert len(jobs) == 3  # one class, the other, and the first again
    assert {job.as_stored for job in jobs} == {None if quality is None else JpegFormat(quality)}


@pytest.mark.parametrize("share", [1.5, -0.1])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=rf"^memory\.share: {share} is no share; use a number from 0 to 1\.$"):
        Mixed(share)


@pytest.mark.parametrize("jpeg", [None, 30])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_soft_labels_are_of_networks_that_saw_the_experience_alone(
    monkeypatch: pytest.MonkeyPatch, share: float, jpeg: int | None
) -> None:
    taught: list[dict[int, torch.Tensor]] = []
    train = trained.train_networks
    monkeypatch.setattr(
        trained,
        "train_networks",
        lambda classes, *rest: (taught.append(classes.images), train(classes, *rest))[1],
    )
    groups = [{c: noise(24, c, side=32) for c in classes} for classes in ((0, 3), (5,), (6, 8, 9))]
    method = Mixed(share, Distilled(TINY, storage(jpeg), soft_labels=True))
    memory = Remembering(method, Budget(4), normalization=NORMALIZATION).meet(*groups)
    assert [list(images) for images in taught] == [[0, 3], [6, 8, 9]]  # a single class has nothing to be told from
    for images, group in zip(taught, (groups[0], groups[2]), strict=True):
        for label, of_class in images.items():
            assert torch.equal(of_class, group[label])
    kept = memory.exemplars
    assert kept.soft_labels.columns.tolist() == [[0, 3, -1]] * 2 + [[5, -1, -1]] + [[6, 8, 9]] * 3
    targets = kept.targets(10)
    for group in groups:
        rows = targets[torch.isin(kept.decoded().labels, torch.tensor(list(group)))]
        assert torch.allclose(rows[:, list(group)].sum(1), torch.ones(len(rows)), atol=1e-3)
    assert 0 < float(targets[:, 0].max()) < 1
