"""Memories under each budget: how many images of each class there are after each experience, and never a byte more."""

import dataclasses
from collections import Counter
from typing import Any

import pytest
import torch

from iid_cl.data.images import Normalization
from iid_cl.distill.job import DistillJob
from iid_cl.errors import UserError
from iid_cl.memory.dct import DctSet
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory
from iid_cl.memory.jpeg import JpegSet
from iid_cl.methods import distilled as distilled_module
from iid_cl.strategies import (
    AutoBuffer,
    DistilledBuffer,
    HerdingBuffer,
    HybridBuffer,
    MemoryBuffer,
    RandomBuffer,
    RealBuffer,
    ReservoirBuffer,
    SoftLabelPlugin,
)

from .conftest import TINY
from .made_up import AGENT, experience, flatten, noise, stream

UNIT = 64 + 2  # a grey image of 8x8 and its label
GRID = TINY.model_copy(update={"partition": 2})


def counts(memory: MemoryBuffer) -> dict[int, int]:
    """Stored images of each class."""
    assert memory.exemplars is not None
    return dict(Counter(memory.exemplars.labels.tolist()))


@pytest.mark.parametrize("make", [RandomBuffer, lambda **b: DistilledBuffer(distill=TINY, **b)])
@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ({"ipc": 3}, [{0: 3, 1: 3}, {0: 3, 1: 3, 2: 3}, {0: 3, 1: 3, 2: 3, 5: 3, 9: 3}]),
        ({"class_bytes": 3 * UNIT - 1}, [{0: 2, 1: 2}, {0: 2, 1: 2, 2: 2}, {0: 2, 1: 2, 2: 2, 5: 2, 9: 2}]),
        # 11 images: 5 for each of two classes, 3 of three, 2 of five
        ({"mem_size": 11}, [{0: 5, 1: 5}, {0: 3, 1: 3, 2: 3}, {0: 2, 1: 2, 2: 2, 5: 2, 9: 2}]),
        # 726 bytes: 363, 242 and 145 for a class, of 66 an image
        ({"mem_bytes": 11 * UNIT}, [{0: 5, 1: 5}, {0: 3, 1: 3, 2: 3}, {0: 2, 1: 2, 2: 2, 5: 2, 9: 2}]),
    ],
    ids=str,
)
def test_counts_after_each_experience(make: Any, budget: dict[str, int], steps: list[dict[int, int]]) -> None:
    memory = make(**budget)
    for one, expected in zip(stream((1, 0), (2,), (9, 5)), steps, strict=True):
        memory.post_adapt(AGENT, one)
        assert counts(memory) == expected
        assert len(memory.buffer) == sum(expected.values())
        assert memory.max_size == budget.get("mem_size", len(memory.buffer))
        assert memory.nbytes == UNIT * sum(expected.values())


def test_older_real_images_are_the_first_of_those_before() -> None:
    memory = HerdingBuffer(mem_size=8, features=flatten)
    first, second = stream((0,), (1,))
    memory.post_adapt(AGENT, first)
    before = memory.exemplars.images
    memory.post_adapt(AGENT, second)
    assert torch.equal(memory.exemplars.images[:4], before[:4])


@pytest.mark.parametrize("budget", ["mem_size", "mem_bytes"])
def test_more_classes_than_room_are_refused_and_the_memory_stays(budget: str) -> None:
    memory = RandomBuffer(**{budget: {"mem_size": 2, "mem_bytes": 2 * UNIT}[budget]})
    first, second = stream((0, 1), (2,))
    memory.post_adapt(AGENT, first)
    before = memory.exemplars
    with pytest.raises(
        UserError, match=rf"memory\.{budget}: .* 3 classes; use at least {3 if 'size' in budget else 198}"
    ):
        memory.post_adapt(AGENT, second)
    assert memory.exemplars is before
    assert memory.keys == {0: (0, 0), 1: (1, 0)}


def test_an_update_that_fails_leaves_the_memory_as_it_was() -> None:
    fails = False

    def features(images: object, strategy: object, generator: object) -> object:
        if fails:
            raise KeyboardInterrupt
        return lambda x: x.flatten(1)

    memory = HerdingBuffer(2, features=features)
    first, second = stream((0, 1), (1, 2))
    fails = True
    with pytest.raises(KeyboardInterrupt):
        memory.post_adapt(AGENT, first)
    assert (memory.exemplars, memory.normalization, memory.keys, len(memory.buffer)) == (None, None, {}, 0)
    fails = False
    memory.post_adapt(AGENT, first)
    before = (memory.exemplars, memory.buffer, memory.normalization, memory.describe(), dict(memory.keys))
    fails = True
    with pytest.raises(KeyboardInterrupt):
        memory.post_adapt(AGENT, second)
    after = (memory.exemplars, memory.buffer, memory.normalization, memory.describe(), memory.keys)
    assert all(a is b for a, b in zip(before[:3], after[:3], strict=True))
    assert before[3:] == after[3:]
    fails = False
    memory.post_adapt(AGENT, second)
    straight = HerdingBuffer(2, features=features)
    for one in (first, second):
        straight.post_adapt(AGENT, one)
    assert torch.equal(memory.exemplars.images, straight.exemplars.images)


# --- never above


WAYS: dict[str, Any] = {
    "random": lambda **b: RandomBuffer(**b),
    "small": lambda **b: RandomBuffer(downscale=2, **b),
    "jpeg": lambda **b: HerdingBuffer(features=flatten, jpeg=30, **b),
    "dct": lambda **b: HerdingBuffer(features=flatten, dct=60, **b),
    "distilled dct": lambda **b: DistilledBuffer(distill=TINY, dct="auto", **b),
    "distilled dct, cut": lambda **b: DistilledBuffer(distill=TINY, dct=60, shrink="cut", **b),
    "hybrid dct": lambda **b: HybridBuffer(distill=TINY, dct=60, features=flatten, **b),
    "soft hybrid dct": lambda **b: HybridBuffer(distill=TINY, dct=60, features=flatten, soft_labels=True, **b),
    "k_centre": lambda **b: RealBuffer(rule="k_centre", features=flatten, **b),
    "reservoir": lambda **b: ReservoirBuffer(**b),
    "distilled": lambda **b: DistilledBuffer(distill=TINY, **b),
    "cut": lambda **b: DistilledBuffer(distill=TINY, shrink="cut", **b),
    "grid": lambda **b: DistilledBuffer(distill=GRID, **b),
    "distilled jpeg": lambda **b: DistilledBuffer(distill=TINY, jpeg=30, **b),
    "distilled jpeg, cut": lambda **b: DistilledBuffer(distill=TINY, jpeg=30, shrink="cut", **b),
    "hybrid jpeg": lambda **b: HybridBuffer(distill=TINY, jpeg=30, features=flatten, **b),
    "soft": lambda **b: DistilledBuffer(distill=TINY, soft_labels=True, **b),
    "soft jpeg": lambda **b: DistilledBuffer(distill=TINY, jpeg=30, soft_labels=True, **b),
    "soft hybrid": lambda **b: HybridBuffer(distill=GRID, features=flatten, soft_labels=True, **b),
    "soft hybrid jpeg": lambda **b: HybridBuffer(distill=TINY, jpeg=30, features=flatten, soft_labels=True, **b),
    "soft grid": lambda **b: DistilledBuffer(distill=GRID, soft_labels=True, **b),
    "hybrid": lambda **b: HybridBuffer(distill=GRID, features=flatten, **b),
    "auto": lambda **b: AutoBuffer(distill=TINY, features=flatten, **b),
}
SIDE = 24
IMAGE = SIDE * SIDE + 2
STREAM = ((0, 1), (4,), (2, 1, 7))  # class 1 comes back, and the third experience has the widest soft labels


AMOUNTS = {"ipc": 4, "class_bytes": 4 * IMAGE + 77, "mem_size": 13, "mem_bytes": 13 * IMAGE + 31}


def ways_and_budgets() -> list[tuple[str, str]]:
    """Two budgets for each way and two for its neighbour, which is stored alike; all four where it is alone."""
    pairs = []
    for number, way in enumerate(WAYS):
        two = ("ipc", "mem_bytes") if number % 2 else ("class_bytes", "mem_size")
        alone = "soft" in way or way in ("small", "auto")
        pairs += [(way, key) for key in (AMOUNTS if alone else two)]
    return pairs


@pytest.mark.parametrize(("way", "key"), ways_and_budgets())
def test_no_budget_is_ever_exceeded(way: str, key: str) -> None:
    amount, seen = AMOUNTS[key], set()
    memory = WAYS[way](**{key: amount})
    for classes, one in zip(STREAM, stream(*STREAM, count=20, side=SIDE), strict=True):
        memory.post_adapt(AGENT, one)
        seen |= set(classes)
        room = {"ipc": len(seen) * amount * IMAGE, "mem_size": amount * IMAGE, "mem_bytes": amount}
        room["class_bytes"] = len(seen) * amount
        exemplars = memory.exemplars
        soft = exemplars.soft_labels
        assert (soft is not None) == ("soft" in way)
        free = soft is not None and not exemplars.fills_bytes and key in ("ipc", "mem_size")
        charged = memory.nbytes - (soft.nbytes if free else 0)
        assert charged <= room[key]
        assert memory.nbytes == exemplars.nbytes
        assert charged > 0.5 * room[key]
        if way != "reservoir":
            assert set(exemplars.classes) == seen
        assert set(memory.buffer.targets) == set(exemplars.classes)


def test_wider_soft_labels_of_a_later_experience_are_charged_to_all() -> None:
    memory = DistilledBuffer(class_bytes=4 * 66 + 4 + 2, distill=TINY, soft_labels=True)  # four, of one column
    first, second = stream((0,), (1, 2, 3))
    memory.post_adapt(AGENT, first)
    assert counts(memory) == {0: 4}
    assert memory.nbytes == 270
    memory.post_adapt(AGENT, second)
    # with three columns an image takes 66 + 2 bytes, and its class 6 more: three images take 210
    assert counts(memory) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert memory.nbytes == 4 * 210


def test_narrow_soft_labels_are_charged_at_the_width_they_are_kept_with() -> None:
    memory = DistilledBuffer(mem_bytes=4 * 210, distill=TINY, soft_labels=True)
    for one in stream((1, 2, 3), (0,)):
        memory.post_adapt(AGENT, one)
    assert counts(memory) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert memory.nbytes == 4 * 210


def test_soft_labels_too_large_for_a_budget_are_refused() -> None:
    memory = DistilledBuffer(class_bytes=66 + 4, distill=TINY, soft_labels=True)
    with pytest.raises(
        UserError, match=r"class_bytes: 70 leaves 70 bytes to a class, too little for an image with its"
    ):
        memory.post_adapt(AGENT, stream((0, 1))[0])
    assert memory.exemplars is None


def test_an_older_class_that_wider_soft_labels_leave_nothing_is_refused() -> None:
    memory = DistilledBuffer(class_bytes=1500, distill=TINY, jpeg=5, soft_labels=True)
    first, second = stream((0,), (1, 2, 3, 4), count=4, side=16)
    memory.post_adapt(AGENT, first)
    small = memory.exemplars.take(torch.tensor([0]))
    large = torch.cat([small.scans, torch.zeros(1500, dtype=torch.uint8)])  # more than a class may weigh
    memory.memory.exemplars = dataclasses.replace(small, scans=large, ends=small.ends + 1500)
    with pytest.raises(UserError, match=r"class_bytes: 1500 leaves 1500 bytes to a class, too little for an image wit"):
        memory.post_adapt(AGENT, second)


def test_jpegs_header_is_paid_by_classes_that_come_back() -> None:
    room = 700
    memory = RandomBuffer(class_bytes=room, jpeg=5)
    for one in stream((0, 1), (0, 1), (2,), (0,), (0, 1, 2), count=40, side=24):
        memory.post_adapt(AGENT, one)
        assert memory.nbytes <= room * len(memory.keys)


def test_an_older_class_of_which_nothing_would_be_left_is_named() -> None:
    plain, noisy = torch.full((4, 1, 24, 24), 9, dtype=torch.uint8), noise(4, side=24)
    memory = RandomBuffer(mem_bytes=2 * 578, jpeg=95)
    memory.post_adapt(AGENT, experience({3: noisy}))
    before = memory.exemplars
    with pytest.raises(UserError, match=r"mem_bytes: 1156 leaves 578 bytes .* first image of class 3"):
        memory.post_adapt(AGENT, experience({4: plain}))
    assert memory.exemplars is before


# --- resizing


def test_a_memory_of_so_many_images_is_resized() -> None:
    memory = RandomBuffer(mem_size=8)
    for one in stream((0,), (5,)):
        memory.post_adapt(AGENT, one)
    before = memory.exemplars.images
    memory.resize(AGENT, 5)  # two of each class
    assert counts(memory) == {0: 2, 5: 2}
    assert torch.equal(memory.exemplars.images, before[[0, 1, 4, 5]])
    assert memory.max_size == 5
    assert [int(y) for _, y in memory.buffer] == list(memory.buffer.targets) == [0, 0, 5, 5]
    for (x, _), image in zip(memory.buffer, memory.exemplars.images, strict=True):
        assert torch.equal(x, image)
    with pytest.raises(UserError, match=r"memory\.mem_size: 1 has no room"):
        memory.resize(AGENT, 1)
    assert memory.max_size == 5
    memory.post_adapt(AGENT, stream((7,))[0])
    assert counts(memory) == {0: 1, 5: 1, 7: 1}


def test_an_empty_memory_is_resized() -> None:
    memory = RandomBuffer(mem_size=8)
    memory.resize(AGENT, 2)
    memory.post_adapt(AGENT, stream((0,))[0])
    assert counts(memory) == {0: 2}


@pytest.mark.parametrize("budget", ["ipc", "class_bytes", "mem_bytes"])
def test_other_budgets_are_not_resized(budget: str) -> None:
    memory = RandomBuffer(**{budget: 500})
    with pytest.raises(UserError, match=rf"budget of {budget}: 500 cannot be resized to 3"):
        memory.resize(AGENT, 3)


def test_samples_are_numbered_anew_when_a_memory_is_resized() -> None:
    memory = DistilledBuffer(mem_size=8, distill=GRID, soft_labels=True)
    SoftLabelPlugin(memory)
    memory.post_adapt(AGENT, stream((0, 5))[0])
    memory.resize(AGENT, 4)
    numbers = [int(y) // 2**15 - 1 for _, y in memory.buffer]
    assert numbers == list(range(4 * 4))
    assert [int(y) % 2**15 for _, y in memory.buffer] == [0] * 8 + [5] * 8


# --- shrinking


def test_redistilled_images_are_made_of_all_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[DistillJob] = []
    real = distilled_module.distill_each
    monkeypatch.setattr(distilled_module, "distill_each", lambda job, watch: (given.append(job), real(job, watch))[1])
    memory = DistilledBuffer(mem_size=8, distill=GRID)
    first, second, third = stream((0,), (3,), (4,))
    memory.post_adapt(AGENT, first)
    before = memory.exemplars.decoded()
    memory.post_adapt(AGENT, second)
    again = given[2]  # after the first class and the new one
    assert (list(again.classes.images), again.ipc) == ([0], 4)
    assert torch.equal(again.classes.images[0], before.images)
    assert counts(memory) == {0: 4, 3: 4}
    memory.post_adapt(AGENT, third)
    assert counts(memory) == {0: 2, 3: 2, 4: 2}


def test_redistilling_changes_images_and_cutting_does_not() -> None:
    stored = {}
    for shrink in ("cut", "redistil"):
        memory = DistilledBuffer(mem_size=8, distill=TINY, shrink=shrink)
        first, second = stream((0,), (3,))
        memory.post_adapt(AGENT, first)
        before = memory.exemplars.images[:4]
        memory.post_adapt(AGENT, second)
        stored[shrink] = torch.equal(memory.exemplars.images[:4], before)
    assert stored == {"cut": True, "redistil": False}


# --- odds and ends


@pytest.mark.parametrize(
    "make", [RandomBuffer, lambda ipc: DistilledBuffer(ipc, distill=GRID), lambda ipc: RandomBuffer(ipc, downscale=2)]
)
def test_classes_of_few_images_keep_what_they_have(make: Any) -> None:
    memory = make(3)
    memory.post_adapt(AGENT, experience({4: noise(1, 1), 9: noise(2, 2), 30: noise(5, 3)}))
    expected = {4: 1, 9: 2, 30: 3}
    if memory.exemplars.partition == 2 and isinstance(memory, RandomBuffer):
        expected = {4: 1, 9: 1, 30: 2}  # five images at a quarter of the bytes
    assert counts(memory) == expected


@pytest.mark.parametrize("make", [RandomBuffer, lambda ipc: DistilledBuffer(ipc, distill=TINY)])
def test_the_largest_class_index_of_16_bits_is_kept(make: Any) -> None:
    memory = make(1)
    memory.post_adapt(AGENT, experience({32767: noise(3), 12: noise(3, 1)}))
    memory.post_adapt(AGENT, experience({32767: noise(3, 2)}))
    assert memory.exemplars.classes == [12, 32767]
    assert [int(y) for _, y in memory.buffer] == [12, 32767]


@pytest.mark.parametrize("label", [32768, -1])
def test_a_class_index_beyond_16_bits_is_named(label: int) -> None:
    with pytest.raises(UserError, match=rf"class index {label}: .* from 0 to 32767"):
        RandomBuffer(1).post_adapt(AGENT, experience({label: noise(3)}))


def test_normalised_floats_keep_their_form_in_a_shrunken_memory() -> None:
    normalization = Normalization((0.3,), (0.4,))
    from avalanche.benchmarks.utils import as_classification_dataset

    from iid_cl.data.tensors import TensorImages

    memory = RandomBuffer(mem_size=4, normalization=normalization)
    for label in (2, 6):
        images = normalization.apply(noise(5, label))
        data = as_classification_dataset(TensorImages(images, torch.full((5,), label)))
        memory.post_adapt(AGENT, type("Experience", (), {"dataset": data}))
    memory.resize(AGENT, 2)
    for (x, _), image in zip(memory.buffer, memory.exemplars.images, strict=True):
        torch.testing.assert_close(x, normalization.apply(image))
    assert counts(memory) == {2: 1, 6: 1}


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_memory_is_written_and_read(way: str, tmp_path: Any) -> None:
    memory = WAYS[way](ipc=4)
    for one in stream((0, 3), (5,), count=20, side=24):
        memory.post_adapt(AGENT, one)
    memory.save(tmp_path / "m.safetensors")
    loaded = load_memory(tmp_path / "m.safetensors")
    assert type(loaded) is type(memory.exemplars)
    kinds = {"jpeg": JpegSet, "dct": DctSet, "auto": DctSet}
    assert isinstance(loaded, next((kind for word, kind in kinds.items() if word in way), ExemplarSet))
    assert torch.equal(loaded.decoded().images, memory.exemplars.decoded().images)
    assert torch.equal(loaded.targets(9), memory.exemplars.targets(9))
    assert loaded.nbytes == memory.nbytes
    assert loaded.metadata["ipc"] == 4


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"rule": "herdng"}, "'herdng' is unknown; use one of random, herding, k_centre, closest"),
        ({"downscale": 0}, r"memory\.downscale: 0 "),
        ({"jpeg": 96}, r"memory\.jpeg: 96 "),
        ({"jpeg": 50, "downscale": 2}, "downscale .* jpeg and dct exclude each other"),
    ],
    ids=str,
)
def test_odd_ways_of_storing_are_refused(arguments: dict[str, Any], shown: str) -> None:
    with pytest.raises(UserError, match=shown):
        RealBuffer(2, **arguments)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"jpeg": 0}, r"memory\.jpeg: 0 must be a quality from 1 to 95"),
        ({"jpeg": 50, "distill": GRID}, r"memory\.jpeg: 50 stores images at full size; use distill\.partition 1"),
    ],
    ids=str,
)
def test_odd_ways_of_storing_distilled_images_are_refused(arguments: dict[str, Any], shown: str) -> None:
    with pytest.raises(UserError, match=shown):
        DistilledBuffer(2, **arguments)


def test_images_of_odd_sides_are_not_reduced() -> None:
    with pytest.raises(UserError, match=r"memory\.downscale: 2 does not divide images of 9x9"):
        RandomBuffer(2, downscale=2).post_adapt(AGENT, stream((0,), side=9)[0])
