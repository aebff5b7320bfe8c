"""Memories of coded coefficients: bytes, order, merging, cutting, files, and contents that contradict each other."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from iid_cl.memory import dct
from iid_cl.memory.dct import CLASS_BYTES, CodedClass, DctSet, first_in
from iid_cl.memory.dct_format import exact, pictures, quantise
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory, memory_of_state, memory_state, save_memory

SHAPE = (3, 12, 10)


def noise(count: int, seed: int) -> Tensor:
    return torch.randint(256, (count, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def coded(images: Tensor, step: float = 30.0) -> CodedClass:
    return CodedClass.of(quantise(exact(images), step), step)


IMAGES = {7: noise(4, 1), 2: noise(6, 2), 5: noise(1, 3)}
MEMORY = DctSet.from_classes({c: coded(images, 20.0 + c) for c, images in IMAGES.items()}, SHAPE, {"made": "here"})


def test_images_come_back_class_by_class_as_they_were_stored() -> None:
    assert (len(MEMORY), MEMORY.classes, MEMORY.labels.tolist()) == (11, [2, 5, 7], [2] * 6 + [5] + [7] * 4)
    for label, images in MEMORY.by_class().items():
        step = 20.0 + label
        assert torch.equal(images, pictures(quantise(exact(IMAGES[label]), step), step, SHAPE[1:]))
    decoded = MEMORY.decoded()
    assert torch.equal(decoded.labels, MEMORY.labels.long())
    assert torch.equal(decoded.images, torch.cat([MEMORY.by_class()[c] for c in (2, 5, 7)]))


def test_bytes_are_those_of_all_tensors() -> None:
    assert MEMORY.nbytes == sum(tensor.nbytes for tensor in MEMORY.tensors().values())
    assert MEMORY.nbytes == sum(one.nbytes for one in MEMORY.coded().values())
    assert coded(noise(3, 4)).nbytes == CLASS_BYTES + len(coded(noise(3, 4)).code.table) + len(
        coded(noise(3, 4)).code.data
    )


def test_rows_are_taken_without_decoding_to_pixels() -> None:
    """What is kept is coded from the same whole numbers, so nothing is lost a second time."""
    part = MEMORY.take(torch.tensor([0, 4, 6, 9]))
    assert part.labels.tolist() == [2, 2, 5, 7]
    assert torch.equal(part.decoded().images, MEMORY.decoded().images[[0, 4, 6, 9]])
    assert part.metadata == {"made": "here"}


@pytest.mark.parametrize("room", [200, 600, 1000, 10_000])
def test_as_many_of_the_first_images_as_fit(room: int) -> None:
    rows = MEMORY.fitting(room)
    kept = MEMORY.take(rows).coded() if len(rows) else {}
    for label, one in MEMORY.coded().items():
        steps = quantise(exact(IMAGES[label]), one.step)
        count = kept[label].count if label in kept else 0
        assert count == 0 or kept[label].nbytes <= room
        if count < one.count:
            assert CodedClass.of(steps[: count + 1], one.step).nbytes > room
        assert first_in(steps, one.step, room) == count


def test_soft_labels_are_charged() -> None:
    soft = MEMORY.with_soft_labels(torch.full((11, 30), 1 / 30), range(30))
    assert soft.nbytes == MEMORY.nbytes + 11 * 15 + 3 * 30 * 2  # two levels to a byte; three classes
    assert len(soft.fitting(800)) < len(MEMORY.fitting(800))
    part = soft.take(torch.tensor([0, 7]))
    assert part.soft_labels is not None
    assert part.soft_labels.columns.shape == (2, 30)


def test_merging_takes_newer_classes() -> None:
    newer = DctSet.from_classes({5: coded(noise(2, 8)), 9: coded(noise(3, 9))}, SHAPE, {"made": "later"})
    merged = MEMORY.merge(newer)
    assert (merged.classes, merged.metadata["made"]) == ([2, 5, 7, 9], "later")
    assert torch.equal(merged.by_class()[5], newer.by_class()[5])
    assert torch.equal(merged.by_class()[2], MEMORY.by_class()[2])
    with pytest.raises(ValueError, match="same way"):
        MEMORY.merge(ExemplarSet.from_classes({1: noise(1, 1)}))
    with pytest.raises(ValueError, match="same way"):
        MEMORY.merge(newer.with_soft_labels(torch.ones(5, 1), [5]))


@pytest.mark.parametrize("soft", [False, True])
def test_a_file_holds_all_of_it(tmp_path: Path, soft: bool) -> None:
    memory = MEMORY.with_soft_labels(torch.full((11, 2), 0.5), [2, 5]) if soft else MEMORY
    save_memory(tmp_path / "m.safetensors", memory)
    for read in (load_memory(tmp_path / "m.safetensors"), memory_of_state(memory_state(memory))):
        assert isinstance(read, DctSet)
        assert torch.equal(read.decoded().images, memory.decoded().images)
        assert read.nbytes == memory.nbytes
        assert (read.soft_labels is not None) == soft


def test_a_blank_class_takes_a_few_bytes() -> None:
    grey = DctSet.from_classes({0: coded(torch.full((5, *SHAPE), 128, dtype=torch.uint8))}, SHAPE)
    assert len(grey.codes) == 0
    assert torch.equal(grey.decoded().images, torch.full((5, *SHAPE), 128, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": torch.zeros(3)}, "codes of coded exemplars"),
        ({"ends": torch.tensor([3, 2, 1], dtype=torch.int32)}, "contradict"),
        ({"ends": MEMORY.ends - 4}, "contradict"),
        ({"counts": torch.tensor([0, 1, 2], dtype=torch.int32)}, "no images"),
        ({"counts": MEMORY.counts[:2]}, "rows of different classes"),
        ({"peaks": -MEMORY.peaks}, "negative peak"),
        ({"steps": torch.tensor([1.0, float("nan"), 2.0])}, "not above zero"),
        ({"steps": torch.tensor([1.0, 0.0, 2.0])}, "not above zero"),
        ({"tables": MEMORY.tables[:, 1:]}, "don't fit images"),
        ({"shape": (3, 0, 4)}, "no pixels"),
        ({"class_indices": torch.tensor([2, 2, 7], dtype=torch.int16)}, "named twice"),
        ({"class_indices": torch.tensor([-1, 2, 7], dtype=torch.int16)}, "negative"),
        ({"class_indices": torch.tensor([5, 2, 7], dtype=torch.int16)}, "in no order"),
        ({"shape": (3, 900, 900)}, "don't fit images"),
        ({"counts": torch.tensor([2**30, 1, 1], dtype=torch.int32)}, "too much"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MEMORY, **change)


def test_tables_that_take_any_time_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small file: many classes whose tables describe magnitudes that none of their images has."""
    entries = int(((MEMORY.tables > 0).sum(1) * (2 * MEMORY.peaks.long() + 1)).sum())
    monkeypatch.setattr(dct, "MOST_ENTRIES", entries)
    MEMORY.check()
    monkeypatch.setattr(dct, "MOST_ENTRIES", entries - 1)
    with pytest.raises(ValueError, match="too many to be read"):
        MEMORY.check()
