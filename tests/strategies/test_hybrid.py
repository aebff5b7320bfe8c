"""Hybrid memories, and those that choose their way of storing on the first experience."""

from collections.abc import Mapping
from typing import Any

import iid_cl.strategies.distilled as module
import pytest
import torch
from iid_cl.strategies import AutoBuffer, DistilledBuffer, HerdingBuffer, HybridBuffer

from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.jpeg import JpegSet

from .conftest import NORMALIZATION, TINY
from .made_up import AGENT, experience, flatten, noise, stream

GRID = TINY.model_copy(update={"partition": 2})


def hybrid(share: float, **arguments: Any) -> HybridBuffer:
    return HybridBuffer(**{"ipc": 4, "share": share, "distill": TINY, "features": flatten, **arguments})


def real_ones(images: torch.Tensor, *groups: Mapping[int, torch.Tensor]) -> list[bool]:
    """Which of these images are among the real ones."""
    truth = {image.numpy().tobytes() for group in groups for members in group.values() for image in members}
    return [image.numpy().tobytes() in truth for image in images]


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


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [({"share": 1.5}, r"memory\.share: 1\.5"), ({"share": 0.5, "soft_labels": True}, r"memory\.soft_labels")],
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


# --- auto


class Judge:
    """Stands in for the networks: losses as told, and what was judged."""

    def __init__(self, **best: float) -> None:
        self.means = best
        self.calls: list[tuple[dict[str, Exemplars], LabelledImages]] = []

    def __call__(self, candidates: Any, held_out: LabelledImages, *rest: Any, **named: Any) -> dict[str, torch.Tensor]:
        self.calls.append((dict(candidates), held_out))
        spread = torch.linspace(-0.01, 0.01, len(held_out))
        return {way: self.means.get(way.replace(" ", "_").replace(".", ""), 5.0) + spread for way in candidates}


def auto(monkeypatch: pytest.MonkeyPatch, judge: Judge, **arguments: Any) -> AutoBuffer:
    monkeypatch.setattr(module, "held_out_losses", judge)
    settings = {"class_bytes": 4 * 578, "distill": TINY, "features": flatten, "normalization": NORMALIZATION}
    return AutoBuffer(**{**settings, **arguments})


FIRST = {0: noise(20, side=24), 3: noise(20, 1, side=24)}
SECOND = {5: noise(20, 2, side=24)}


@pytest.mark.parametrize(
    ("judge", "choice", "share"),
    [
        (Judge(share_1=1.0), "share 1", 1.0),
        (Judge(share_05=1.0), "share 0.5", 0.5),
        (Judge(share_0=1.0), "share 0", 0.0),
        (Judge(jpeg=1.0), "jpeg", 0.0),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
@pytest.mark.parametrize("budget", [{"class_bytes": 4 * 578}, {"class_bytes": None, "mem_bytes": 12 * 578}], ids=str)
def test_the_best_on_held_out_images_stays_for_later_experiences(
    monkeypatch: pytest.MonkeyPatch, judge: Judge, choice: str, share: float, budget: dict[str, Any]
) -> None:
    judge.calls.clear()
    memory = auto(monkeypatch, judge, **budget)
    memory.post_adapt(AGENT, experience(FIRST))
    ((candidates, held_out),) = judge.calls
    assert list(candidates) == ["share 1", "share 0.5", "share 0", "jpeg"]
    assert memory.choice == choice
    assert memory.exemplars is candidates[choice]
    assert len(held_out) == 4
    assert isinstance(memory.exemplars, JpegSet) == (choice == "jpeg")
    for part in (SECOND, {0: noise(20, 5, side=24)}):
        memory.post_adapt(AGENT, experience(part))
        assert isinstance(memory.exemplars, JpegSet) == (choice == "jpeg")
    assert len(judge.calls) == 1
    assert memory.exemplars.classes == [0, 3, 5]
    told = memory.describe()
    assert (told["choice"], told["share"], told["method"]) == (choice, share, "auto")
    assert told["tried"][choice] == pytest.approx(1.0)


def test_no_candidate_is_made_of_a_held_out_image(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[torch.Tensor] = []
    for name in ("hybrid_memory", "store_jpeg"):
        real = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda images, *rest, real=real, **named: (sources.extend(images.values()), real(images, *rest, **named))[
                1
            ],
        )
    judge = Judge(share_0=1.0)
    memory = auto(monkeypatch, judge)
    memory.post_adapt(AGENT, experience(FIRST))
    held_out = judge.calls[0][1]
    assert len(sources) == 4 * 2
    for images in sources:
        assert len(images) == 18
        assert not any(real_ones(images, {0: held_out.images}))
    assert all(real_ones(held_out.images, FIRST))


def test_one_class_or_few_images_tell_nothing_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for first in ({0: noise(20, side=24)}, {0: noise(9, side=24), 1: noise(9, 1, side=24)}):
        judge = Judge(share_0=1.0)
        memory = auto(monkeypatch, judge)
        memory.post_adapt(AGENT, experience(first))
        assert (judge.calls, memory.choice, memory.tried) == ([], "share 1", {})
        assert not any(real_ones(memory.exemplars.decoded().images, first))


@pytest.mark.parametrize(("channels", "side", "bytes_"), [(1, 8, 3 * 66), (2, 24, 8 * 578)])
def test_jpeg_is_left_out_where_it_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, channels: int, side: int, bytes_: int
) -> None:
    judge = Judge(jpeg=0.5)
    memory = auto(monkeypatch, judge, class_bytes=bytes_, normalization=None, augmentations=())
    memory.post_adapt(AGENT, stream((0, 1), count=20, side=side, channels=channels)[0])
    assert list(judge.calls[0][0]) == ["share 1", "share 0.5", "share 0"]
    assert memory.choice == "share 1"


def test_half_of_one_image_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    memory = auto(monkeypatch, judge, class_bytes=66)
    memory.post_adapt(AGENT, stream((0, 1), count=20)[0])
    assert list(judge.calls[0][0]) == ["share 1", "share 0"]


def test_a_choice_that_fails_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*rest: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    for first in (FIRST, {0: FIRST[0]}):
        memory = auto(monkeypatch, Judge(share_0=1.0))
        with monkeypatch.context() as patch:
            patch.setattr(module, "distill_each", fail)
            with pytest.raises(KeyboardInterrupt):
                memory.post_adapt(AGENT, experience(first))
        assert (memory.choice, memory.tried, memory.exemplars) == (None, {}, None)


def test_images_large_enough_are_stored_at_half_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = auto(monkeypatch, Judge(share_0=1.0))
    memory.post_adapt(AGENT, experience(FIRST))
    assert memory.config.partition == 2
    assert memory.exemplars.partition == 2
    assert len(memory.buffer) == 2 * 4 * 4  # sixteen of each class in the bytes of four
