"""The memory that chooses its way of storing by a rule."""

from typing import Any

import pytest
import torch
from torch.nn.functional import interpolate

from iid_cl.budget import Budget
from iid_cl.config.distill import DistillConfig, EmbedderConfig
from iid_cl.data.classes import Classes
from iid_cl.errors import UserError
from iid_cl.memory.dct import DctSet
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.space import Space
from iid_cl.methods import auto, distilled
from iid_cl.methods.auto import Auto, Way
from iid_cl.methods.base import Arrival
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.memory import Memory
from iid_cl.methods.real import Real

from .helpers import NORMALIZATION, TINY, Remembering, noise, real_ones

IMAGE = 24 * 24 + 2


class Choosing(Remembering):
    """One of this method."""

    @property
    def auto(self) -> Auto:
        assert isinstance(self.method, Auto)
        return self.method


def choosing(distill: Any = TINY, **budget: int) -> Choosing:
    room = Budget(**(budget or {"class_bytes": IMAGE}))
    return Choosing(Auto(Distilled(distill)), room, normalization=NORMALIZATION, augmentations=("crop",))


def smooth(count: int, seed: int = 0, side: int = 24) -> torch.Tensor:
    corners = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return (interpolate(corners, size=side, mode="bilinear") * 255).round().to(torch.uint8)


def photos(count: int, seed: int) -> torch.Tensor:
    """Smooth images with a little noise, which costs bytes."""
    return (smooth(count, seed) * 0.7 + noise(count, seed, side=24) * 0.3).to(torch.uint8)


PHOTOS = {0: photos(90, 0), 3: photos(90, 1)}


@pytest.mark.parametrize(
    ("way", "label"),
    [
        (Way(1.0), "distilled"),
        (Way(1.0, 2), "distilled at 1/2 size"),
        (Way(0.0), "real"),
        (Way(0.0, dct=True), "real as DCT"),
        (Way(1.0, dct=True), "distilled as DCT"),
        (Way(0.5, dct=True), "0.5 distilled as DCT"),
    ],
    ids=str,
)
def test_a_way_has_a_name(way: Way, label: str) -> None:
    assert way.label == label


def test_distilled_images_as_coefficients_are_the_choice() -> None:
    memory = choosing()
    memory.meet(PHOTOS)
    assert memory.auto.choice == Way(1.0, dct=True)
    assert isinstance(memory.exemplars, DctSet)
    count = len(memory.exemplars) // 2
    assert 3 <= count <= 45
    assert not any(real_ones(memory.exemplars.decoded().images, PHOTOS))
    assert memory.exemplars.metadata["iterations_done"] == TINY.iterations
    told = memory.describe()
    assert (told["method"], told["choice"], told["dct"], told["share"]) == ("auto", "distilled as DCT", "auto", 1.0)


def test_a_class_may_have_fewer_bytes_than_an_image() -> None:
    memory = choosing(class_bytes=IMAGE // 2)
    memory.meet(PHOTOS)
    assert memory.auto.choice == Way(1.0, dct=True)
    assert memory.exemplars is not None
    assert memory.exemplars.classes == [0, 3]
    assert memory.exemplars.nbytes <= 2 * (IMAGE // 2)
    with pytest.raises(UserError, match=r"^memory\.class_bytes: 9 leaves 9 bytes to a class, too little for an image"):
        choosing(class_bytes=9).meet(PHOTOS)
    with pytest.raises(UserError, match=r"has no room for one image of each of 2 classes; use at least 578\."):
        Remembering(Real("random"), Budget(class_bytes=IMAGE - 1), normalization=NORMALIZATION).meet(PHOTOS)


@pytest.mark.parametrize("room", [IMAGE, 40 * IMAGE], ids=["distilled", "real"])
def test_soft_labels_are_stored_within_the_bytes(room: int) -> None:
    memory = choosing(class_bytes=room)
    memory.auto.distilled = Distilled(TINY, soft_labels=True)
    memory.meet(PHOTOS)
    assert memory.auto.choice is not None
    assert memory.auto.choice.share == (1.0 if room == IMAGE else 0.0)
    assert memory.exemplars is not None
    assert memory.exemplars.soft_labels is not None
    assert memory.exemplars.soft_labels.columns.tolist() == [[0, 3], [0, 3]]
    assert memory.exemplars.nbytes <= 2 * room


def test_real_images_are_the_choice_where_more_than_half_of_a_class_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilled, "distill_each", lambda *_: pytest.fail("nothing is distilled"))
    memory = choosing(class_bytes=40 * IMAGE)
    memory.meet(PHOTOS)
    assert memory.auto.choice == Way(0.0, dct=True)
    assert {len(images) for images in memory.exemplars.by_class().values()} == {90}


def test_beyond_a_number_of_distilled_images_real_ones_fill_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "MOST_DISTILLED", 4)
    memory = choosing(class_bytes=3 * IMAGE)
    memory.meet(PHOTOS)
    choice = memory.auto.choice
    assert choice is not None
    assert choice.dct
    count = len(memory.exemplars) / 2
    assert choice.share == pytest.approx(4 / count, rel=0.1)
    assert count > 8
    assert memory.exemplars.metadata["ipc"] == 4


def test_images_too_small_for_a_code_are_stored_whole() -> None:
    """Sixteen pixels and a label take 18 bytes, fewer than the table of a code."""
    memory = choosing(class_bytes=18)
    memory.meet({0: noise(20, side=4), 1: noise(20, 1, side=4)})
    assert memory.auto.choice == Way(1.0)
    assert isinstance(memory.exemplars, ExemplarSet)
    assert memory.nbytes == 36


def test_a_single_image_counts_as_half_of_a_class() -> None:
    memory = choosing(class_bytes=18)
    memory.meet({0: noise(1, side=4), 1: noise(1, 1, side=4)})
    assert memory.auto.choice == Way(1.0)


MANY = {label: photos(90, label) for label in range(5)}


@pytest.mark.parametrize(
    ("settings", "classes", "steps"),
    [
        ({}, 5, 3),  # 9 images of a class have 300 iterations, and the queue has 900 updates
        ({"iterations": 2000}, 5, 1),
        ({"iterations": 100}, 5, 9),
        ({}, 4, 0),
        ({"embedders": "fresh"}, 5, 0),
        ({"objective": "idm", "partition": 1}, 5, 0),
        ({"embedder": EmbedderConfig(weights="w.pt")}, 5, 0),
    ],
    ids=str,
)
def test_coefficients_of_many_classes_have_a_queue_of_embedders(
    settings: dict[str, Any], classes: int, steps: int
) -> None:
    images = {label: MANY[label] for label in range(classes)}
    memory = choosing(DistillConfig(**settings)).auto
    arrival = Arrival(Classes(images), dict.fromkeys(images, 90), classes)
    (planned,) = memory.work(arrival, Space(Budget(class_bytes=IMAGE), IMAGE, classes)).distillations
    config = planned.config
    assert config is not None
    if steps:
        assert (config.embedder_source, config.queue.steps, config.queue.cross_entropy) == ("queue", steps, 0.1)
    else:
        assert config == DistillConfig(**settings).model_copy(update={"partition": 1})


def test_images_stored_whole_have_no_queue() -> None:
    images = {label: noise(40, label, side=4) for label in range(5)}
    memory = choosing(DistillConfig()).auto
    work = memory.work(Arrival(Classes(images), dict.fromkeys(images, 40), 5), Space(Budget(ipc=2), 2 * 18, 5))
    assert [one.config.embedder_source for one in work.distillations if one.config is not None] == ["fresh"]


@pytest.mark.parametrize("settings", [{"partition": 2}, {"partition": 2, "objective": "idm"}], ids=str)
def test_a_configured_partition_is_kept(settings: dict[str, Any]) -> None:
    memory = choosing(TINY.model_copy(update=settings))
    memory.meet(PHOTOS)
    assert memory.auto.choice == Way(1.0, 2)
    assert memory.exemplars.partition == 2


@pytest.mark.parametrize("budget", [{"class_bytes": IMAGE}, {"mem_bytes": 4 * IMAGE}], ids=str)
def test_the_first_experience_decides_for_all(budget: dict[str, int]) -> None:
    memory = choosing(**budget)
    memory.meet(PHOTOS)
    choice = memory.auto.choice
    for part in (None, {5: noise(40, 2, side=24)}, {0: photos(60, 5)}):
        if part is not None:
            memory.meet(part)
        assert memory.auto.choice == choice
        assert isinstance(memory.exemplars, DctSet)
        assert memory.nbytes <= (budget.get("mem_bytes") or IMAGE * len(memory.exemplars.classes))
    assert memory.exemplars.classes == [0, 3, 5]


def test_the_state_is_taken_over() -> None:
    memory, again = choosing(), choosing()
    memory.meet(PHOTOS)
    again.load_state_dict(memory.state_dict())
    assert again.auto.choice == memory.auto.choice
    assert again.describe() == memory.describe()
    for one in (memory, again):
        one.meet({5: photos(60, 2)})
    assert torch.equal(again.exemplars.codes, memory.exemplars.codes)


@pytest.mark.parametrize("where", ["distill_each", "_renewed"])
def test_a_choice_that_fails_is_not_made(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    renewed = Memory._renewed

    def stop(*rest: Any, **named: Any) -> Any:
        if where == "_renewed":
            renewed(*rest, **named)
        raise KeyboardInterrupt

    memory, untroubled = choosing(), choosing()
    before = memory.describe()
    with monkeypatch.context() as patch:
        patch.setattr(Memory if where == "_renewed" else distilled, where, stop)
        with pytest.raises(KeyboardInterrupt):
            memory.meet(PHOTOS)
    assert (memory.auto.choice, memory.exemplars) == (None, None)
    assert memory.describe() == before
    for one in (memory, untroubled):
        one.meet(PHOTOS)
    assert torch.equal(memory.exemplars.codes, untroubled.exemplars.codes)
