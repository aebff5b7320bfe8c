"""The memory that chooses its way of storing on the first experience that tells something."""

from typing import Any

import pytest
import torch

from iid_cl.budget import Budget
from iid_cl.config.distill import DistillConfig
from iid_cl.data.classes import Classes
from iid_cl.data.images import LabelledImages
from iid_cl.distill.job import DistillJob
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.jpeg import JpegSet
from iid_cl.memory.storage import Jpeg, Whole
from iid_cl.methods import auto as module
from iid_cl.methods import distilled
from iid_cl.methods.auto import Auto, Way, condensable
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.memory import Memory

from .helpers import NORMALIZATION, TINY, Remembering, noise, real_ones

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


class Choosing(Remembering):
    """One of this method."""

    @property
    def auto(self) -> Auto:
        assert isinstance(self.method, Auto)
        return self.method


def choosing(
    monkeypatch: pytest.MonkeyPatch,
    judge: Any,
    *,
    distill: DistillConfig = TINY,
    replayed: bool = True,
    normalization: Any = NORMALIZATION,
    augmentations: tuple[str, ...] = ("color", "crop", "cutout", "scale", "rotate"),
    **budget: int,
) -> Choosing:
    monkeypatch.setattr(module, "held_out_losses", judge)
    method = Auto(Distilled(distill), replayed)
    room = Budget(**(budget or {"class_bytes": 4 * IMAGE}))
    return Choosing(method, room, normalization=normalization, augmentations=augmentations)


def groups_of(*classes: int, count: int = 20, side: int = 24, channels: int = 1) -> dict[int, torch.Tensor]:
    """Noise of each class."""
    return {c: noise(count, c, side, channels) for c in classes}


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
    memory = choosing(monkeypatch, judge, class_bytes=3 * (side**2 + 2), distill=changed(**settings))
    memory.meet(groups_of(0, 1, side=side))
    assert [call["ways"] for call in judge.calls] == tried
    assert memory.auto.choice == best
    assert memory.auto.tried == pytest.approx(
        {way.label: 4.0 if way == best else 5.0 for ways in tried for way in ways}
    )


def test_idm_is_tried_on_its_own_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    made = {}

    def ready(job: DistillJob, watch: Any) -> ExemplarSet:
        made[job.config.partition] = job.config.objective
        images = {c: x[: job.ipc] for c, x in job.classes.images.items()}
        return ExemplarSet.from_classes(images, partition=job.config.factor)

    monkeypatch.setattr(distilled, "distill_each", ready)
    choosing(monkeypatch, judge, distill=changed(objective="idm")).meet(FIRST)
    assert [call["ways"] for call in judge.calls] == [[HALF], [Way(0.5, 2), Way(0.0), PHOTOS]]
    assert made == {2: "idm"}


def test_half_of_one_image_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    choosing(monkeypatch, judge, class_bytes=66).meet(groups_of(0, 1, side=8))
    assert [call["ways"] for call in judge.calls] == [[WHOLE], [Way(0.0)]]


def test_jpeg_is_left_out_where_it_cannot_hold_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge({PHOTOS: 1.0})
    memory = choosing(monkeypatch, judge, class_bytes=8 * 2 * IMAGE, normalization=None, augmentations=())
    memory.meet(groups_of(0, 1, channels=2))
    assert PHOTOS not in judge.candidates
    assert memory.auto.choice == HALF


@pytest.mark.parametrize("way", [HALF, WHOLE, Way(0.5, 2), Way(0.0), PHOTOS], ids=str)
@pytest.mark.parametrize("budget", [{}, {"mem_bytes": 12 * IMAGE}], ids=str)
def test_the_best_on_held_out_images_stays_for_later_experiences(
    monkeypatch: pytest.MonkeyPatch, way: Way, budget: dict[str, int]
) -> None:
    judge = Judge({way: 1.0})
    memory = choosing(monkeypatch, judge, **budget)
    memory.meet(FIRST)
    assert memory.auto.choice == way
    assert (memory.exemplars is judge.candidates[way]) == (way.share > 0)  # real ones are chosen of all
    parts = (None, SECOND, {0: noise(20, 5, side=24)})
    for part in parts:
        if part is not None:
            memory.meet(part)
        assert isinstance(memory.exemplars, JpegSet) == way.jpeg
        assert memory.exemplars.partition == way.partition
        assert memory.auto.choice == way
    assert len(judge.calls) == 2
    assert memory.exemplars.classes == [0, 3, 5]
    told = memory.describe()
    assert (told["method"], told["choice"], told["share"]) == ("auto", way.label, way.share)
    assert told.get("jpeg") == (25 if way.jpeg else None)
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
    memory = choosing(monkeypatch, Judge())
    monkeypatch.setattr(
        module, "held_out_losses", lambda ways, *rest, **named: {way: losses.get(way, torch.ones(4)) for way in ways}
    )
    memory.meet(FIRST)
    assert memory.auto.choice == choice


def test_networks_that_diverge_do_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    nan = float("nan")
    memory = choosing(monkeypatch, Judge({HALF: nan, WHOLE: nan, Way(0.0): 2.0, Way(0.5, 2): nan}))
    memory.meet(FIRST)
    assert memory.auto.choice == Way(0.0)
    assert memory.auto.tried["distilled"] is None
    assert memory.auto.tried["real"] == pytest.approx(2.0)


def test_all_ways_are_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same networks on the same images, beside the images that memories were made of or beside none."""
    for replayed in (True, False):
        judge = Judge()
        choosing(monkeypatch, judge, replayed=replayed).meet(FIRST)
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
    real = distilled.mixture

    def spied(classes: Classes, *rest: Any, **named: Any) -> Exemplars:
        sources.extend(classes.images.values())
        return real(classes, *rest, **named)

    monkeypatch.setattr(distilled, "mixture", spied)
    seen: list[torch.Tensor] = []

    def features(images_by_class: Any, *rest: Any) -> Any:
        seen.extend(images_by_class.values())
        return lambda x: x.flatten(1)

    judge = Judge()
    choosing(monkeypatch, judge).meet(FIRST, features=features)
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
        memory = choosing(monkeypatch, judge)
        memory.meet(first)
        assert (judge.calls, memory.auto.choice, memory.auto.tried) == ([], HALF, {})
        assert not any(real_ones(memory.exemplars.decoded().images, first))
        assert memory.describe()["choice"] == "distilled at 1/2 size"
        memory.meet(SECOND)
        assert (judge.calls, memory.exemplars.partition) == ([], 2)


@pytest.mark.parametrize("way", [HALF, Way(0.5, 2), Way(0.0, 2)], ids=str)
def test_the_first_experience_that_tells_something_decides(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """Among the ways that store images as the older classes' are, which stay what they were."""
    judge = Judge({way: 1.0})
    memory = choosing(monkeypatch, judge)
    for undecided in (SECOND, {6: noise(9, 3, side=24), 7: noise(9, 4, side=24)}):
        memory.meet(undecided)
    before = memory.exemplars
    assert (memory.auto.choice, memory.auto.tried, before.classes) == (HALF, {}, [5, 6, 7])
    memory.meet(FIRST)
    assert [call["ways"] for call in judge.calls] == [[HALF], [Way(0.5, 2), Way(0.0, 2)]]
    assert memory.auto.choice == way
    assert memory.auto.chosen.share == way.share
    assert memory.auto.tried == pytest.approx({one.label: 1.0 if one == way else 5.0 for one in judge.candidates})
    now = memory.exemplars.by_class()
    assert list(now) == [0, 3, 5, 6, 7]
    tried = judge.candidates[way].by_class() if way.share else {}  # real ones are chosen anew, of all
    for label, images in [*before.by_class().items(), *tried.items()]:
        assert torch.equal(now[label], images)
    memory.meet({8: noise(20, 5, side=24), 9: noise(20, 6, side=24)})
    assert len(judge.calls) == 2  # decided once
    assert memory.auto.choice == way


def test_exemplars_of_a_class_that_comes_back_judge_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """New classes alone are held out of and tried on; the choice then holds for all, old exemplars and all images."""
    judge = Judge({Way(0.0, 2): 1.0})
    memory = choosing(monkeypatch, judge)
    memory.meet(SECOND)
    again = {5: noise(20, 7, side=24)}
    memory.meet({**again, 0: FIRST[0]})
    assert judge.calls == []  # one new class
    old = memory.exemplars.by_class()[5]
    memory.meet({**again, 3: FIRST[3], 4: noise(20, 8, side=24)})
    for call in judge.calls:
        assert call["held_out"].labels.tolist() == [3, 3, 4, 4]
        assert {c: len(images) for c, images in call["beside"].items()} == {3: 18, 4: 18}
    assert memory.auto.choice == Way(0.0, 2)
    assert memory.exemplars.classes == [0, 3, 4, 5]
    assert memory.nbytes == 4 * 4 * IMAGE
    assert not torch.equal(memory.exemplars.by_class()[5], old)


def stop(*rest: Any, **named: Any) -> Any:
    raise KeyboardInterrupt


RENEWED = Memory._renewed


def after_it(self: Memory, *rest: Any) -> Any:
    RENEWED(self, *rest)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (distilled, "distill_each"),
        (Jpeg, "store"),  # after the distilled memories are there
        (module, "held_out_losses"),
        (Memory, "_renewed"),  # after the choice
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("classes", [1, 2])
def test_a_choice_that_fails_is_not_made(monkeypatch: pytest.MonkeyPatch, where: Any, what: str, classes: int) -> None:
    if classes == 1 and what in ("store", "held_out_losses"):
        return  # not called
    first = {c: FIRST[c] for c in list(FIRST)[:classes]}
    judge = Judge({WHOLE: 1.0})
    memory = choosing(monkeypatch, judge)
    before = memory.describe()
    with monkeypatch.context() as patch:
        patch.setattr(where, what, after_it if what == "_renewed" else stop)
        with pytest.raises(KeyboardInterrupt):
            memory.meet(first)
    assert (memory.auto.choice, memory.auto.tried, memory.exemplars) == (None, {}, None)
    assert memory.describe() == before
    memory.meet(first)
    assert memory.auto.choice == (WHOLE if classes == 2 else HALF)
    untroubled = choosing(monkeypatch, Judge({WHOLE: 1.0}))
    untroubled.meet(first)
    assert torch.equal(memory.exemplars.images, untroubled.exemplars.images)


def test_a_class_without_room_as_jpeg_has_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat images are a few bytes of JPEG, black and white noise is many; nobody asked auto for a quality."""
    plain = {c: torch.full((20, 1, 12, 12), 100 * c, dtype=torch.uint8) for c in (0, 1)}
    memory = choosing(monkeypatch, Judge({PHOTOS: 1.0}), mem_bytes=3 * 146)
    memory.meet(plain)
    assert memory.auto.choice == PHOTOS
    kept = memory.exemplars
    shown = r"memory\.mem_bytes: 438 leaves 146 bytes .* auto chose .* use more, or another memory\.method"
    with pytest.raises(UserError, match=shown) as found:
        memory.meet({2: noise(20, side=12) // 128 * 255})
    assert "quality" not in str(found.value)
    assert (memory.exemplars, memory.auto.choice) == (kept, PHOTOS)


# --- where JPEG holds many images: smooth ones


def smooth(count: int, seed: int = 0) -> torch.Tensor:
    corners = torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(corners, size=24, mode="bilinear") * 255).round().to(torch.uint8)


DENSE = {0: smooth(30), 3: smooth(30, 1)}


@pytest.mark.parametrize("means", [{}, {SQUEEZED: 5.0, HALF: 4.9999}], ids=["all alike", "one hardly better"])
def test_distilled_images_as_jpeg_are_the_incumbent(monkeypatch: pytest.MonkeyPatch, means: dict[Way, float]) -> None:
    wobble = torch.tensor([-1.0, 1.0] * 3)  # two standard errors of it are 0.9

    def judge(candidates: Any, *rest: Any, **named: Any) -> dict[Way, Any]:
        tried.append(list(candidates))
        return {way: means.get(way, 5.0) + (wobble if way == HALF else 0 * wobble) for way in candidates}

    tried: list[list[Way]] = []
    memory = choosing(monkeypatch, judge, class_bytes=IMAGE)
    memory.meet(DENSE)
    assert tried == [[SQUEEZED, MIXED, PHOTOS, HALF]]
    assert memory.auto.choice == SQUEEZED
    assert 4 <= len(memory.exemplars.by_class()[0]) <= 13
    memory.meet({5: smooth(30, 2)})
    assert isinstance(memory.exemplars, JpegSet)
    assert not any(real_ones(memory.exemplars.by_class()[5][:4], {5: smooth(30, 2)}))
    told = memory.describe()
    assert (told["choice"], told["jpeg"]) == ("distilled as JPEG", 25)


def test_the_state_of_a_memory_as_jpeg_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = choosing(monkeypatch, Judge(), class_bytes=IMAGE)
    memory.meet(DENSE)
    again = choosing(monkeypatch, Judge(), class_bytes=IMAGE)
    again.load_state_dict(memory.state_dict())
    assert (again.auto.choice, again.auto.tried) == (SQUEEZED, memory.auto.tried)
    assert again.describe() == memory.describe()
    for one in (memory, again):
        one.meet({5: smooth(30, 2)})
    assert again.exemplars.files() == memory.exemplars.files()


def test_real_images_as_jpeg_are_the_incumbent_where_most_of_a_class_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    memory = choosing(monkeypatch, judge, class_bytes=2 * IMAGE)
    memory.meet(DENSE)
    assert [call["ways"] for call in judge.calls] == [[PHOTOS, HALF]]
    assert memory.auto.choice == PHOTOS
    better = Judge({HALF: 4.0})
    memory = choosing(monkeypatch, better, class_bytes=2 * IMAGE)
    memory.meet(DENSE)
    assert memory.auto.choice == HALF


# --- what is worth a try


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
def test_partitions_follow_the_images_where_none_is_asked_for(
    settings: dict[str, Any], height: int, width: int, expected: list[int]
) -> None:
    images = Classes({4: torch.zeros(1, 3, height, width, dtype=torch.uint8)})
    auto = Auto(Distilled(DistillConfig(**settings)))
    assert auto.partitions(images) == expected
    auto.choice = Way(0.5, 3)
    assert auto.partitions(images) == [3]  # what is stored already says how


@pytest.mark.parametrize(("count", "expected"), [(0, False), (1, False), (2, True), (4, True), (5, False)])
def test_condensing_is_worth_a_try_up_to_half_of_the_smallest_class(count: int, expected: bool) -> None:
    assert condensable(count, {0: 9, 1: 8}) is expected


@pytest.mark.parametrize("way", [WHOLE, HALF, Way(0.5, 2), Way(0.0), PHOTOS, SQUEEZED], ids=str)
def test_a_way_is_a_mixture_in_its_own_storage(way: Way) -> None:
    method = Auto(Distilled(TINY, shrink_by="cut")).method(way)
    assert method.share == way.share
    assert method.distilled.stored == (Jpeg(25) if way.jpeg else Whole(way.partition))
    assert method.distilled.config == changed(partition=way.partition)
    assert method.distilled.shrink_by == "cut"
