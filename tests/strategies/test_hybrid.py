"""Hybrid memories: distilled and real images in one."""

from typing import Any

import iid_cl.strategies.distilled as module
import pytest
import torch

from iid_cl.distill import trained
from iid_cl.errors import UserError
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.strategies import DistilledBuffer, HerdingBuffer, HybridBuffer

from .conftest import NORMALIZATION, TINY
from .made_up import AGENT, experience, flatten, noise, real_ones, stream

GRID = TINY.model_copy(update={"partition": 2})


def hybrid(share: float, **arguments: Any) -> HybridBuffer:
    return HybridBuffer(**{"ipc": 4, "share": share, "distill": TINY, "features": flatten, **arguments})


GROUPS = {0: noise(12), 3: noise(12, 1)}


def test_a_share_is_distilled_and_the_rest_is_herded() -> None:
    memory = hybrid(0.25)
    memory.post_adapt(AGENT, experience(GROUPS))
    assert memory.exemplars.labels.tolist() == [0] * 4 + [3] * 4
    assert real_ones(memory.exemplars.images, GROUPS).count(True) == 6
    herded = HerdingBuffer(3, features=flatten)
    herded.post_adapt(AGENT, experience(GROUPS))
    for label, images in herded.exemplars.by_class().items():
        mixed = memory.exemplars.by_class()[label]
        assert torch.equal(mixed[real_ones(mixed, GROUPS)], images)  # in their order


def test_without_distilled_images_it_is_herding() -> None:
    one, other = hybrid(0.0), HerdingBuffer(4, features=flatten)
    for buffer in (one, other):
        for part in stream((0, 1), (1, 2)):
            buffer.post_adapt(AGENT, part)
    assert torch.equal(one.exemplars.images, other.exemplars.images)


def test_distilled_images_alone_are_distilled_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    real = module.distill_each
    monkeypatch.setattr(
        module, "distill_each", lambda *rest, **named: (given.append(named["ipc"]), real(*rest, **named))[1]
    )
    memory = hybrid(1.0)
    memory.post_adapt(AGENT, experience(GROUPS))
    assert given == [4]
    assert not any(real_ones(memory.exemplars.images, GROUPS))
    distilled = DistilledBuffer(4, distill=TINY)
    distilled.post_adapt(AGENT, experience(GROUPS))
    assert memory.exemplars.nbytes == distilled.exemplars.nbytes


@pytest.mark.parametrize(("share", "distilled", "herded"), [(0.5, 2, 2), (0.25, 1, 3), (0.0, 0, 4)])
def test_a_fixed_total_keeps_the_share_and_its_real_images(share: float, distilled: int, herded: int) -> None:
    memory = hybrid(share, ipc=None, mem_size=8)
    second = {5: noise(12, 2)}
    memory.post_adapt(AGENT, experience({0: GROUPS[0]}))
    before = memory.exemplars.images
    memory.post_adapt(AGENT, experience(second))
    for label, images in memory.exemplars.by_class().items():
        kinds = real_ones(images, GROUPS, second)
        assert (kinds.count(False), kinds.count(True)) == (distilled, herded), label
    assert torch.equal(memory.exemplars.by_class()[0], before[:4])


def test_both_kinds_of_a_grid_are_decoded() -> None:
    memory = hybrid(0.5, distill=GRID)
    memory.post_adapt(AGENT, experience(GROUPS))
    assert memory.exemplars.partition == 2
    # two distilled grids, and ones of eight herded images
    assert len(memory.buffer) == 2 * 4 * 4
    assert memory.nbytes == 8 * 66


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_as_jpeg_the_distilled_ones_start_from_the_herded(share: float) -> None:
    """Without iterations they stay these, so that the memory is that of herding."""
    groups = {c: noise(12, c, side=32) for c in (0, 3)}
    still = TINY.model_copy(update={"iterations": 0})
    one = hybrid(share, ipc=5, jpeg=50, distill=still)
    other = HerdingBuffer(5, features=flatten, jpeg=50)
    for buffer in (one, other):
        buffer.post_adapt(AGENT, experience(groups))
    assert len(one.exemplars) > 8
    for label, images in one.exemplars.by_class().items():
        herded = other.exemplars.by_class()[label][: len(images)]
        assert torch.equal(images[: len(herded)], herded)


@pytest.mark.parametrize("quality", [None, 40])
@pytest.mark.parametrize("method", [DistilledBuffer, HybridBuffer])
def test_images_are_made_for_the_format_they_are_stored_in(
    method: Any, quality: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of new classes, and those that a fixed total makes fewer."""
    formats = []
    real = module.distill_each
    monkeypatch.setattr(
        module, "distill_each", lambda *rest, **named: (formats.append(named["as_stored"]), real(*rest, **named))[1]
    )
    named = {} if method is DistilledBuffer else {"share": 1.0, "features": flatten}
    memory = method(mem_size=16, distill=TINY, jpeg=quality, **named)
    for label in range(2):
        memory.post_adapt(AGENT, experience({label: noise(24, label, side=32)}))
    assert len(formats) == 3  # one class, the other, and the first again
    assert set(formats) == {None if quality is None else JpegFormat(quality)}


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [({"share": 1.5}, r"memory\.share: 1\.5")],
    ids=str,
)
def test_what_it_cannot_be_is_refused(arguments: dict[str, Any], shown: str) -> None:
    with pytest.raises(UserError, match=shown):
        HybridBuffer(2, distill=TINY, **arguments)


def test_features_are_those_of_the_strategys_device() -> None:
    """Distilling elsewhere leaves the learner where it is."""
    seen = []

    def features(*rest: Any) -> Any:
        return lambda x: (seen.append(x.device.type), x.flatten(1))[1]

    memory = hybrid(0.0, features=features, device="meta")
    memory.post_adapt(AGENT, experience(GROUPS))
    assert set(seen) == {"cpu"}


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
    settings = {"features": flatten, "normalization": NORMALIZATION}
    memory = HybridBuffer(4, share=share, distill=TINY, jpeg=jpeg, soft_labels=True, **settings)
    for group in groups:
        memory.post_adapt(AGENT, experience(group))
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
