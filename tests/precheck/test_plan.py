"""Counts of a plan against those of the run itself."""

from collections import Counter
from typing import Any

import pytest
import torch
from rich.console import Console

from iid_cl.config.experiment import Config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset, LabelledImages, Normalization
from iid_cl.data.streams import class_order
from iid_cl.memory.dct_format import DctFormat
from iid_cl.methods.auto import Auto
from iid_cl.methods.base import PlannedDistillation as Planned
from iid_cl.precheck.plan import Step, plan
from iid_cl.runs.experiment import run_method
from iid_cl.terminal.reporter import Reporter
from tests.runs.helpers import BYTES_PER_IMAGE, CLASSES, miniature


def planned(config: Config) -> list[Step]:
    dataset = load_dataset(config.stream, None)
    return plan(config, config.memory.method, dataset, class_order(config.stream, 10, config.seed))


CASES: dict[str, dict[str, Any]] = {
    "distilled": {},
    "none": {"memory": {"method": "none"}},
    "cumulative": {"memory": {"method": "cumulative"}},
    "joint": {"memory": {"method": "joint"}},
    "reservoir": {"memory": {"method": "reservoir"}},
    "partition": {"memory": {"ipc": 3}, "distill": {"partition": 2}, "train": {"mode": "memory_only", "batch_size": 5}},
    "half size": {"memory": {"method": "random", "ipc": 3, "downscale": 2}, "train": {"batch_size": 5}},
    "memory only": {"memory": {"method": "herding", "ipc": 7}, "train": {"mode": "memory_only", "batch_size": 4}},
    "fixed updates": {"train": {"mode": "memory_only", "memory_updates": 7, "networks": 2}},
    "larger than the data": {"memory": {"method": "random", "ipc": 60}, "train": {"memory_batch_size": 2}},
    "fixed total": {"memory": {"ipc": None, "mem_size": 9}},
    "cut": {"memory": {"ipc": None, "mem_size": 9, "shrink": "cut"}},
    "bytes": {"memory": {"ipc": None, "mem_bytes": 9 * BYTES_PER_IMAGE}},
    "hybrid": {"memory": {"method": "hybrid", "ipc": 4}},
    "soft labels": {"memory": {"ipc": None, "class_bytes": 300, "soft_labels": True}},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_a_run_does_what_was_planned(changes: dict[str, Any]) -> None:
    config = miniature(**changes)
    dataset = load_dataset(config.stream, None)
    steps = planned(config)
    with Reporter(Console(quiet=True)) as reporter:
        result, memory = run_method(config, config.memory.method, dataset, torch.device("cpu"), reporter)
    assert sum(step.updates for step in steps) * config.train.networks == result.updates
    assert [list(step.classes) for step in steps] == (
        [[3, 1, 0, 7]] if config.memory.method == "joint" else result.class_order
    )
    assert steps[-1].test_images == sum(result.test_sizes)
    assert result.memory_bytes <= steps[-1].memory_bytes
    if memory is not None and config.memory.method in ("distilled", "hybrid", "random", "herding"):
        unit = BYTES_PER_IMAGE if config.memory.downscale == 1 else 18
        assert steps[-1].memory_bytes - result.memory_bytes < 4 * (unit + 20)  # less than an image of each class


@pytest.mark.parametrize("name", ["distilled", "fixed total", "cut", "bytes", "hybrid", "soft labels", "half size"])
def test_distillations_are_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = miniature(**CASES[name])
    found: Counter[Planned] = Counter()

    import iid_cl.methods.distilled as module

    original = module.distill_each

    def spy(job: Any, watch: Any) -> Any:
        found[Planned(len(job.classes), job.ipc)] += 1
        return original(job, watch)

    monkeypatch.setattr(module, "distill_each", spy)
    with Reporter(Console(quiet=True)) as reporter:
        run_method(config, config.memory.method, load_dataset(config.stream, None), torch.device("cpu"), reporter)
    assert found == Counter(each for step in planned(config) for each in step.distillations)


def test_counts_by_hand() -> None:
    steps = planned(miniature(memory={"ipc": 2}))
    labels = load_dataset(miniature().stream, None).train.labels.bincount().tolist()
    for step, classes, bytes_ in zip(steps, CLASSES, (2 * 2 * 66, 4 * 2 * 66), strict=True):
        images = sum(labels[c] for c in classes)
        assert step.train_images == images
        assert step.updates == 2 * -(-images // 64)
        assert step.memory_bytes == bytes_
        assert step.distillations == (Planned(2, 2),)


def made(images: torch.Tensor) -> ImageDataset:
    """Four classes of 25."""
    part = LabelledImages(images, torch.arange(4).repeat_interleave(25))
    return ImageDataset("made", part, part, tuple("abcd"), Normalization((0.5,), (0.5,)), ())


NOISE = torch.randint(256, (100, 1, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SMOOTH = torch.nn.functional.interpolate(NOISE[:, :, :2, :2].float(), size=24, mode="bilinear").to(torch.uint8)
FLAT = torch.zeros_like(NOISE)


def auto(ipc: int) -> Config:
    return miniature(stream={"classes": [[0, 1], [2, 3]]}, memory={"method": "auto", "ipc": ipc})


def test_what_auto_distils() -> None:
    def planned(images: torch.Tensor, ipc: int) -> list[tuple[Planned, ...]]:
        return [step.distillations for step in plan(auto(ipc), "auto", made(images), [[0, 1], [2, 3]])]

    # more than half of a class of flat images fits: real ones are kept
    assert planned(FLAT, 2) == [(), ()]
    ((first,), (second,)) = planned(NOISE, 2)
    for one in (first, second):
        assert (one.classes, type(one.lossy)) == (2, DctFormat)
        assert 3 <= one.count <= 12
    assert second.count == pytest.approx(first.count, abs=1)


@pytest.mark.parametrize("order", [[[0], [1, 2, 3]], [[0, 1, 2], [3]]], ids=str)
def test_a_single_class_decides_like_several(order: list[list[int]]) -> None:
    for step in plan(auto(2), "auto", made(NOISE), order):
        (one,) = step.distillations
        assert (one.classes, type(one.lossy)) == (len(step.classes), DctFormat)


@pytest.mark.parametrize(("images", "ipc"), [(NOISE, 2), (FLAT, 2), (SMOOTH, 1)], ids=["noise", "flat", "smooth"])
def test_auto_distils_in_its_first_experience_what_was_planned(
    images: torch.Tensor, ipc: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many images fit is an estimate."""
    found: list[tuple[int, bool]] = []

    import iid_cl.methods.distilled as module

    original = module.distill_each

    def spy(job: Any, watch: Any) -> Any:
        found.append((len(job.classes), job.as_stored is not None))
        return original(job, watch)

    monkeypatch.setattr(module, "distill_each", spy)
    first = plan(auto(ipc), "auto", made(images), [[0, 1], [2, 3]])[0]
    with Reporter(Console(quiet=True)) as reporter:
        _, memory = run_method(auto(ipc), "auto", made(images), torch.device("cpu"), reporter)
    assert memory is not None
    assert isinstance(memory.method, Auto)
    assert Counter(found[: len(first.distillations)]) == Counter(
        (one.classes, one.lossy is not None) for one in first.distillations
    )
