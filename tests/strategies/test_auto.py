"""The memory that chooses its way of storing on the first experience that tells something."""

from pathlib import Path
from typing import Any

import pytest
import torch

import iid_cl.strategies.auto as module
import iid_cl.strategies.buffers as buffers
import iid_cl.strategies.distilled as distilled
import iid_cl.strategies.hybrid as hybrid
from iid_cl.config.distill import DistillConfig
from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import load_memory
from iid_cl.memory.jpeg import JpegSet
from iid_cl.strategies import AutoBuffer
from iid_cl.strategies.auto import Way

from .conftest import NORMALIZATION, TINY
from .made_up import AGENT, experience, flatten, noise, real_ones, stream

HALF, WHOLE = Way(1.0, 2), Way(1.0, 1)
PHOTOS, SQUEEZED, MIXED = Way(0.0, jpeg=True), Way(1.0, jpeg=True), Way(0.5, jpeg=True)
FIRST = {0: noise(20, side=24), 3: noise(20, 1, side=24)}
SECOND = {5: noise(20, 2, side=24)}
IMAGE = 24 * 24 + 2


class Judge:
    """Stands in for the networks: losses as told, 5 where not, and what was judged."""

    def __init__(self, means: dict[Way, float] | None = None) -> None:
        self.means = means or {}
        self.candidates: dict[Way, Exemplars] = {}
        self.calls: list[dict[str, Any]] = []

    def __call__(self, candidates: Any, held_out: LabelledImages, network: Any, **named: Any) -> dict[Way, Any]:
        self.candidates |= candidates
        state = named["generator"].get_state()
        self.calls.append({**named, "held_out": held_out, "state": state, "ways": list(candidates)})
        spread = torch.linspace(-0.01, 0.01, len(held_out))
        return {way: self.means.get(way, 5.0) + spread for way in candidates}


def auto(monkeypatch: pytest.MonkeyPatch, judge: Judge, **arguments: Any) -> AutoBuffer:
    monkeypatch.setattr(module, "held_out_losses", judge)
    settings = {"class_bytes": 4 * IMAGE, "distill": TINY, "features": flatten, "normalization": NORMALIZATION}
    return AutoBuffer(**{**settings, **arguments})


def changed(**settings: Any) -> DistillConfig:
    return TINY.model_copy(update=settings)


@pytest.mark.parametrize(
    ("way", "label"),
    [
        (Way(1.0), "distilled"),
        (Way(1.0, 2), "distilled at 1/2 size"),
        (Way(0.5), "0.5 distilled"),
        (Way(0.5, 2), "0.5 distilled at 1/2 size"),
        (Way(0.0), "real"),
        (PHOTOS, "real as JPEG"),
        (SQUEEZED, "distilled as JPEG"),
        (MIXED, "0.5 distilled as JPEG"),
    ],
    ids=str,
)
def test_a_way_has_a_name(way: Way, label: str) -> None:
    assert way.label == label


@pytest.mark.parametrize(
    ("side", "settings", "best", "tried"),
    [
        (24, {}, HALF, [[HALF, WHOLE], [Way(0.5, 2), Way(0.0), PHOTOS]]),
        (24, {}, WHOLE, [[HALF, WHOLE], [Way(0.5, 1), Way(0.0), PHOTOS]]),
        (24, {"partition": 2}, HALF, [[HALF], [Way(0.5, 2), Way(0.0), PHOTOS]]),
        (24, {"partition": 1}, WHOLE, [[WHOLE], [Way(0.5, 1), Way(0.0), PHOTOS]]),
        (25, {}, WHOLE, [[WHOLE], [Way(0.5, 1), Way(0.0), PHOTOS]]),
        (6, {}, WHOLE, [[WHOLE], [Way(0.5, 1), Way(0.0)]]),  # whose class has not the bytes for JPEG's tables
    ],
    ids=str,
)
def test_what_is_tried(
    monkeypatch: pytest.MonkeyPatch, side: int, settings: dict[str, Any], best: Way, tried: list[list[Way]]
) -> None:
    judge = Judge({best: 4.0})
    memory = auto(monkeypatch, judge, class_bytes=3 * (side**2 + 2), distill=changed(**settings))
    memory.post_adapt(AGENT, stream((0, 1), count=20, side=side)[0])
    assert [call["ways"] for call in judge.calls] == tried
    assert memory.choice == best
    assert memory.tried == pytest.approx({way.label: 4.0 if way == best else 5.0 for ways in tried for way in ways})


def test_idm_is_tried_on_its_own_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    made = {}

    def ready(images: Any, config: DistillConfig, *, ipc: int, **named: Any) -> Any:
        made[config.partition] = config.objective
        return distilled.ExemplarSet.from_classes({c: x[:ipc] for c, x in images.items()}, partition=config.factor)

    monkeypatch.setattr(distilled, "distill_each", ready)
    auto(monkeypatch, judge, distill=changed(objective="idm")).post_adapt(AGENT, experience(FIRST))
    assert [call["ways"] for call in judge.calls] == [[HALF], [Way(0.5, 2), Way(0.0), PHOTOS]]
    assert made == {2: "idm"}


def test_half_of_one_image_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    auto(monkeypatch, judge, class_bytes=66).post_adapt(AGENT, stream((0, 1), count=20)[0])
    assert [call["ways"] for call in judge.calls] == [[WHOLE], [Way(0.0)]]


def test_jpeg_is_left_out_where_it_cannot_hold_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge({PHOTOS: 1.0})
    memory = auto(monkeypatch, judge, class_bytes=8 * 2 * IMAGE, normalization=None, augmentations=())
    memory.post_adapt(AGENT, stream((0, 1), count=20, side=24, channels=2)[0])
    assert PHOTOS not in judge.candidates
    assert memory.choice == HALF


@pytest.mark.parametrize("way", [HALF, WHOLE, Way(0.5, 2), Way(0.0), PHOTOS], ids=str)
@pytest.mark.parametrize("budget", [{}, {"class_bytes": None, "mem_bytes": 12 * IMAGE}], ids=str)
def test_the_best_on_held_out_images_stays_for_later_experiences(
    monkeypatch: pytest.MonkeyPatch, way: Way, budget: dict[str, Any], tmp_path: Path
) -> None:
    judge = Judge({way: 1.0})
    memory = auto(monkeypatch, judge, **budget)
    memory.post_adapt(AGENT, experience(FIRST))
    assert memory.choice == way
    assert (memory.exemplars is judge.candidates[way]) == (way.share > 0)  # real ones are chosen of all
    parts = (None, SECOND, {0: noise(20, 5, side=24)})
    for part in parts:
        if part is not None:
            memory.post_adapt(AGENT, experience(part))
        assert isinstance(memory.exemplars, JpegSet) == way.jpeg
        assert memory.exemplars.partition == memory.config.factor == way.partition
        assert memory.share == way.share
    assert len(judge.calls) == 2
    assert memory.exemplars.classes == [0, 3, 5]
    memory.save(tmp_path / "m.safetensors")
    told = load_memory(tmp_path / "m.safetensors").metadata
    assert (told["method"], told["choice"], told["share"]) == ("auto", way.label, way.share)
    assert told["distill"]["partition"] == way.partition
    assert told["tried"][way.label] == pytest.approx(1.0)
    assert len(told["tried"]) == 5


@pytest.mark.parametrize(("gain", "choice"), [(0.2, WHOLE), (0.3, Way(0.0))])
def test_the_distilled_memory_stays_unless_another_is_clearly_better(
    monkeypatch: pytest.MonkeyPatch, gain: float, choice: Way
) -> None:
    """Gains of ``gain`` +- 0.2 on four images have a standard error of 0.231 / 2: two of them are 0.231."""
    swing = torch.tensor([0.2, -0.2, 0.2, -0.2])
    losses = {HALF: torch.full((4,), 1.1), WHOLE: torch.ones(4), Way(0.0): 1 - gain + swing}
    memory = auto(monkeypatch, Judge())
    monkeypatch.setattr(
        module, "held_out_losses", lambda ways, *rest, **named: {way: losses.get(way, torch.ones(4)) for way in ways}
    )
    memory.post_adapt(AGENT, experience(FIRST))
    assert memory.choice == choice


def test_networks_that_diverge_do_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    nan = float("nan")
    memory = auto(monkeypatch, Judge({HALF: nan, WHOLE: nan, Way(0.0): 2.0, Way(0.5, 2): nan}))
    memory.post_adapt(AGENT, experience(FIRST))
    assert memory.choice == Way(0.0)
    assert memory.tried["distilled"] is None
    assert memory.tried["real"] == pytest.approx(2.0)


def test_all_ways_are_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same networks on the same images, beside the images that memories were made of or beside none."""
    for replayed in (True, False):
        judge = Judge()
        auto(monkeypatch, judge, replayed=replayed).post_adapt(AGENT, experience(FIRST))
        one, other = judge.calls
        assert torch.equal(one["state"], other["state"])
        assert torch.equal(one["held_out"].images, other["held_out"].images)
        assert one["held_out"].labels.tolist() == [0, 0, 3, 3]
        for call in judge.calls:
            if not replayed:
                assert call["beside"] is None
                continue
            assert {c: len(images) for c, images in call["beside"].items()} == {0: 18, 3: 18}
            assert not any(any(real_ones(images, {0: call["held_out"].images})) for images in call["beside"].values())


def test_no_candidate_is_made_of_a_held_out_image(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[torch.Tensor] = []

    def spied(real: Any) -> Any:
        return lambda images, *rest, **named: (sources.extend(images.values()), real(images, *rest, **named))[1]

    monkeypatch.setattr(hybrid, "hybrid_memory", spied(hybrid.hybrid_memory))
    monkeypatch.setattr(distilled, "hybrid_jpeg", spied(distilled.hybrid_jpeg))
    seen: list[torch.Tensor] = []

    def features(images_by_class: Any, *rest: Any) -> Any:
        seen.extend(images_by_class.values())
        return lambda x: x.flatten(1)

    judge = Judge()
    auto(monkeypatch, judge, features=features).post_adapt(AGENT, experience(FIRST))
    held_out = judge.calls[0]["held_out"]
    assert all(real_ones(held_out.images, FIRST))
    assert len(sources) == 5 * 2  # ways and classes
    assert len(seen) == 3 * 2  # those with real images
    for images in sources + seen:
        assert len(images) == 18
        assert not any(real_ones(images, {0: held_out.images}))


def test_one_class_or_few_images_tell_nothing_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for first in ({0: noise(20, side=24)}, {0: noise(9, side=24), 1: noise(9, 1, side=24)}):
        judge = Judge()
        memory = auto(monkeypatch, judge)
        memory.post_adapt(AGENT, experience(first))
        assert (judge.calls, memory.choice, memory.share, memory.tried) == ([], HALF, 1.0, {})
        assert not any(real_ones(memory.exemplars.decoded().images, first))
        assert memory.describe()["choice"] == "distilled at 1/2 size"
        memory.post_adapt(AGENT, experience(SECOND))
        assert (judge.calls, memory.exemplars.partition) == ([], 2)


@pytest.mark.parametrize("way", [HALF, Way(0.5, 2), Way(0.0, 2)], ids=str)
def test_the_first_experience_that_tells_something_decides(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """Among the ways that store images as the older classes' are, which stay what they were."""
    judge = Judge({way: 1.0})
    memory = auto(monkeypatch, judge)
    for undecided in (SECOND, {6: noise(9, 3, side=24), 7: noise(9, 4, side=24)}):
        memory.post_adapt(AGENT, experience(undecided))
    before = memory.exemplars
    assert (memory.choice, memory.tried, before.classes) == (HALF, {}, [5, 6, 7])
    memory.post_adapt(AGENT, experience(FIRST))
    assert [call["ways"] for call in judge.calls] == [[HALF], [Way(0.5, 2), Way(0.0, 2)]]
    assert (memory.choice, memory.share) == (way, way.share)
    assert memory.tried == pytest.approx({one.label: 1.0 if one == way else 5.0 for one in judge.candidates})
    now = memory.exemplars.by_class()
    assert list(now) == [0, 3, 5, 6, 7]
    tried = judge.candidates[way].by_class() if way.share else {}  # real ones are chosen anew, of all
    for label, images in [*before.by_class().items(), *tried.items()]:
        assert torch.equal(now[label], images)
    memory.post_adapt(AGENT, experience({8: noise(20, 5, side=24), 9: noise(20, 6, side=24)}))
    assert len(judge.calls) == 2  # decided once
    assert memory.choice == way


def test_exemplars_of_a_class_that_comes_back_judge_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """New classes alone are held out of and tried on; the choice then holds for all, old exemplars and all images."""
    judge = Judge({Way(0.0, 2): 1.0})
    memory = auto(monkeypatch, judge)
    memory.post_adapt(AGENT, experience(SECOND))
    again = {5: noise(20, 7, side=24)}
    memory.post_adapt(AGENT, experience({**again, 0: FIRST[0]}))
    assert judge.calls == []  # one new class
    old = memory.exemplars.by_class()[5]
    memory.post_adapt(AGENT, experience({**again, 3: FIRST[3], 4: noise(20, 8, side=24)}))
    for call in judge.calls:
        assert call["held_out"].labels.tolist() == [3, 3, 4, 4]
        assert {c: len(images) for c, images in call["beside"].items()} == {3: 18, 4: 18}
    assert memory.choice == Way(0.0, 2)
    assert memory.exemplars.classes == [0, 3, 4, 5]
    assert memory.nbytes == 4 * 4 * IMAGE
    assert not torch.equal(memory.exemplars.by_class()[5], old)


def stop(*rest: Any, **named: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (distilled, "distill_each"),
        (distilled, "hybrid_jpeg"),  # after the distilled memories are there
        (module, "held_out_losses"),
        (buffers, "as_avalanche"),  # after the choice
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("classes", [1, 2])
def test_a_choice_that_fails_is_not_made(monkeypatch: pytest.MonkeyPatch, where: Any, what: str, classes: int) -> None:
    if classes == 1 and what in ("hybrid_jpeg", "held_out_losses"):
        return  # not called
    first = {c: FIRST[c] for c in list(FIRST)[:classes]}
    judge = Judge({WHOLE: 1.0})
    memory = auto(monkeypatch, judge)
    before = memory.config
    with monkeypatch.context() as patch:
        patch.setattr(where, what, stop)
        with pytest.raises(KeyboardInterrupt):
            memory.post_adapt(AGENT, experience(first))
    assert (memory.choice, memory.tried, memory.share, memory.exemplars) == (None, {}, 0.5, None)
    assert memory.config == before
    memory.post_adapt(AGENT, experience(first))
    assert memory.choice == (WHOLE if classes == 2 else HALF)
    untroubled = auto(monkeypatch, Judge({WHOLE: 1.0}))
    untroubled.post_adapt(AGENT, experience(first))
    assert torch.equal(memory.exemplars.images, untroubled.exemplars.images)


def test_a_class_without_room_as_jpeg_has_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat images are a few bytes of JPEG, black and white noise is many; nobody asked auto for a quality."""
    plain = {c: torch.full((20, 1, 12, 12), 100 * c, dtype=torch.uint8) for c in (0, 1)}
    memory = auto(monkeypatch, Judge({PHOTOS: 1.0}), class_bytes=None, mem_bytes=3 * 146)
    memory.post_adapt(AGENT, experience(plain))
    assert memory.choice == PHOTOS
    kept = memory.exemplars
    shown = r"memory\.mem_bytes: 438 leaves 146 bytes .* auto chose .* use more, or another memory\.method"
    with pytest.raises(UserError, match=shown) as found:
        memory.post_adapt(AGENT, experience({2: noise(20, side=12) // 128 * 255}))
    assert "quality" not in str(found.value)
    assert (memory.exemplars, memory.choice) == (kept, PHOTOS)


def test_a_share_cannot_be_given_to_what_chooses_it() -> None:
    with pytest.raises(TypeError, match="share"):
        AutoBuffer(1, share=0.2)


def test_nor_can_a_quality() -> None:
    with pytest.raises(TypeError, match="jpeg"):
        AutoBuffer(1, jpeg=50)


def test_nor_can_soft_labels() -> None:
    with pytest.raises(UserError, match=r"memory\.soft_labels: true means nothing to auto"):
        AutoBuffer(1, soft_labels=True)


# --- where JPEG holds many images: smooth ones


def smooth(count: int, seed: int = 0) -> torch.Tensor:
    corners = torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(corners, size=24, mode="bilinear") * 255).round().to(torch.uint8)


DENSE = {0: smooth(30), 3: smooth(30, 1)}


@pytest.mark.parametrize("means", [{}, {SQUEEZED: 5.0, HALF: 4.9999}], ids=["all alike", "one hardly better"])
def test_distilled_images_as_jpeg_are_in_possession(
    monkeypatch: pytest.MonkeyPatch, means: dict[Way, float], tmp_path: Path
) -> None:
    wobble = torch.tensor([-1.0, 1.0] * 3)  # two standard errors of it are 0.9

    def judge(candidates: Any, *rest: Any, **named: Any) -> dict[Way, Any]:
        tried.append(list(candidates))
        return {way: means.get(way, 5.0) + (wobble if way == HALF else 0 * wobble) for way in candidates}

    tried: list[list[Way]] = []
    memory = auto(monkeypatch, judge, class_bytes=IMAGE)
    memory.post_adapt(AGENT, experience(DENSE))
    assert tried == [[SQUEEZED, MIXED, PHOTOS, HALF]]
    assert (memory.choice, memory.jpeg) == (SQUEEZED, 25)
    assert 4 <= len(memory.exemplars.by_class()[0]) <= 13
    memory.post_adapt(AGENT, experience({5: smooth(30, 2)}))
    assert isinstance(memory.exemplars, JpegSet)
    assert not any(real_ones(memory.exemplars.by_class()[5][:4], {5: smooth(30, 2)}))
    memory.save(tmp_path / "m.safetensors")
    told = load_memory(tmp_path / "m.safetensors").metadata
    assert (told["choice"], told["jpeg"]) == ("distilled as JPEG", 25)


def test_the_state_of_a_memory_as_jpeg_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = auto(monkeypatch, Judge(), class_bytes=IMAGE)
    memory.post_adapt(AGENT, experience(DENSE))
    again = auto(monkeypatch, Judge(), class_bytes=IMAGE)
    again.load_state_dict(memory.state_dict(), experience(DENSE).dataset)
    assert (again.choice, again.jpeg) == (SQUEEZED, 25)
    for one in (memory, again):
        one.post_adapt(AGENT, experience({5: smooth(30, 2)}))
    assert again.exemplars.files() == memory.exemplars.files()


def test_real_images_as_jpeg_are_in_possession_where_most_of_a_class_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    memory = auto(monkeypatch, judge, class_bytes=2 * IMAGE)
    memory.post_adapt(AGENT, experience(DENSE))
    assert [call["ways"] for call in judge.calls] == [[PHOTOS, HALF]]
    assert memory.choice == PHOTOS
    better = Judge({HALF: 4.0})
    memory = auto(monkeypatch, better, class_bytes=2 * IMAGE)
    memory.post_adapt(AGENT, experience(DENSE))
    assert memory.choice == HALF
