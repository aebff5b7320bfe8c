"""What a run keeps of its distillations, and that it can be interrupted."""

import copy
import io
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from rich.console import Console

from iid_cl.config.experiment import Config
from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory
from iid_cl.records.recording import Features, Recording, moments, read_recording
from iid_cl.runs.experiment import run_method
from iid_cl.runs.run import run
from iid_cl.terminal.reporter import Reporter
from tests.runs.helpers import CLASSES, miniature


def recording_of(path: Path, config: Config) -> Recording | None:
    run(config, None, path, Console(file=io.StringIO()))
    return read_recording(path)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recording]:
    path = tmp_path_factory.mktemp("recording") / "run"
    config = miniature(memory={"ipc": 2}, distill={"iterations": 40}, baselines=["herding"])
    recording = recording_of(path, config)
    assert recording is not None
    return path, recording


def test_moments_begin_at_the_start_and_end_at_the_end() -> None:
    assert sorted(moments(1000)) == [0, 20, 50, 125, 300, 1000]
    assert sorted(moments(3)) == [0, 1, 3]
    assert moments(0) == {0}


def test_each_experiences_distillation_is_kept(distilled: tuple[Path, Recording]) -> None:
    path, recording = distilled
    assert recording.class_names == [str(i) for i in range(10)]
    assert [(one.method, one.experience, one.classes) for one in recording.kept] == [
        ("distilled", 0, [1, 3]),
        ("distilled", 1, [0, 7]),
    ]
    memory = load_memory(path / "memory.safetensors").by_class()
    real = load_dataset(miniature().stream, None).train.by_class()
    for one in recording.kept:
        assert sorted(one.images) == sorted(moments(40))
        for label in one.classes:
            assert torch.equal(one.images[40][label], memory[label])
            assert all(any(torch.equal(image, each) for each in real[label]) for image in one.images[0][label])
            assert not torch.equal(one.images[1][label], one.images[12][label])
        assert [iteration for iteration, _ in one.losses] == list(range(1, 41))
        assert set(one.losses[0][1]) == {"match"}


def test_lines_of_losses_say_whose_they_are(distilled: tuple[Path, Recording]) -> None:
    lines = [json.loads(line) for line in (distilled[0] / "losses.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 40
    assert {key: lines[40][key] for key in ("method", "experience", "classes", "iteration")} == {
        "method": "distilled",
        "experience": 1,
        "classes": [0, 7],
        "iteration": 1,
    }


def test_features_are_of_real_and_stored_images(distilled: tuple[Path, Recording]) -> None:
    (features,) = distilled[1].features.values()
    assert sorted(set(features.labels.tolist())) == sorted(c for group in CLASSES for c in group)
    assert int(features.stored.sum()) == 4 * 2
    assert len(features.points) == 4 * 100  # a hundred of each class, its stored ones among them
    assert torch.allclose(features.points.mean(0), torch.zeros(features.points.shape[1]), atol=1e-4)
    spread = features.points.std(0)
    assert bool((spread[:-1] >= spread[1:] - 1e-6).all())  # principal components, the widest first


def test_a_recording_does_not_change_what_is_stored(distilled: tuple[Path, Recording]) -> None:
    config = miniature(memory={"ipc": 2}, distill={"iterations": 40})
    with Reporter(Console(quiet=True)) as reporter:
        _, buffer = run_method(config, "distilled", load_dataset(config.stream, None), torch.device("cpu"), reporter)
    assert buffer is not None
    assert buffer.exemplars is not None
    kept = load_memory(distilled[0] / "memory.safetensors").by_class()
    assert all(torch.equal(images, kept[label]) for label, images in buffer.exemplars.by_class().items())


def test_memories_of_real_images_leave_no_recording(tmp_path: Path) -> None:
    assert recording_of(tmp_path / "run", miniature(memory={"method": "herding"})) is None
    assert not list(tmp_path.rglob("losses.jsonl"))


@pytest.mark.parametrize("method", ["hybrid", "auto"])
def test_only_what_is_in_the_memory_is_kept(tmp_path: Path, method: str) -> None:
    recording = recording_of(tmp_path / "run", miniature(memory={"method": method, "ipc": 4}))
    assert recording is not None
    memory = load_memory(tmp_path / "run" / "memory.safetensors").by_class()
    shares = {"hybrid": 2}
    labels = [label for one in recording.kept for label in one.classes]
    assert len(labels) == len(set(labels))
    for one in recording.kept:
        for label, images in one.images[3].items():
            assert all(any(torch.equal(image, each) for each in memory[label]) for image in images)
            assert len(images) == shares.get(method, len(images))
    if method == "hybrid":
        assert sorted(labels) == [0, 1, 3, 7]


def test_older_classes_condensed_again_are_not_recorded_again(tmp_path: Path) -> None:
    recording = recording_of(tmp_path / "run", miniature(memory={"ipc": None, "mem_size": 8}))
    assert recording is not None
    assert [(one.experience, one.classes, len(one.losses)) for one in recording.kept] == [
        (0, [1, 3], 3),
        (1, [0, 7], 3),
    ]
    assert [len(one.images[3][one.classes[0]]) for one in recording.kept] == [4, 2]


def made(classes: list[int], value: int, count: int = 3) -> ExemplarSet:
    return ExemplarSet.from_classes({c: torch.full((count, 1, 2, 2), value, dtype=torch.uint8) for c in classes})


def told(recording: Recording, events: list[tuple[str, Any]]) -> None:
    for name, arguments in events:
        getattr(recording, name)(*arguments)


EVENTS: list[tuple[str, Any]] = [
    ("begin", ("distilled", 0)),
    ("on_snapshot", (0, made([0, 1], 1))),
    ("on_step", (5, {"match": 0.1})),
    ("on_snapshot", (10, made([0, 1], 2))),  # abandoned
    ("on_snapshot", (0, made([0, 1], 3))),
    ("on_step", (5, {"match": 0.3, "cm": 1.0})),
    ("on_snapshot", (10, made([0, 1], 4))),
    ("keep", (made([0, 1], 4),)),
    ("begin", ("distilled", 1)),
    ("on_snapshot", (0, made([2], 5))),
    ("on_snapshot", (10, made([2], 6))),
    ("keep", (made([0, 1], 4).merge(made([2], 6)),)),
]


def test_an_interrupted_recording_stores_the_same_bytes(tmp_path: Path) -> None:
    whole = Recording(["a", "b", "c"])
    told(whole, EVENTS)
    whole.write(tmp_path / "whole")
    assert [
        [float(each[c][0, 0, 0, 0]) for c in one.classes] for one in whole.kept for each in one.images.values()
    ] == [
        [3, 3],
        [4, 4],
        [5],
        [6],
    ]
    for cut in range(len(EVENTS)):
        first = Recording(["a", "b", "c"])
        told(first, EVENTS[:cut])
        second = Recording(["a", "b", "c"])
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        told(second, EVENTS[cut:])
        second.write(tmp_path / str(cut))
        for name in ("losses.jsonl", "history.safetensors"):
            assert (tmp_path / str(cut) / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_state_is_plain_values_and_tensors() -> None:
    recording = Recording(["a", "b", "c"])
    told(recording, EVENTS[:6])

    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                check(each)
        else:
            assert isinstance(value, str | int | float | torch.Tensor | None)

    check(recording.state_dict())


def test_images_that_the_memory_cut_are_cut() -> None:
    recording = Recording(["a"])
    images = torch.arange(12, dtype=torch.uint8).reshape(3, 1, 2, 2)
    start = ExemplarSet.from_classes({0: images + 100})
    told(recording, [("begin", ("distilled", 0)), ("on_snapshot", (0, start))])
    told(
        recording,
        [
            ("on_snapshot", (9, ExemplarSet.from_classes({0: images}))),
            ("keep", (made([0], 0).merge(ExemplarSet.from_classes({0: images[:2]})),)),
        ],
    )
    (one,) = recording.kept
    assert torch.equal(one.images[0][0], images[:2] + 100)


def test_many_classes_are_shown_by_fewer_images() -> None:
    recording = Recording([str(i) for i in range(500)])
    told(recording, [("begin", ("distilled", 0)), ("on_snapshot", (0, made([0, 1], 1)))])
    told(recording, [("keep", (made([0, 1], 1),))])
    assert len(recording.kept[0].images[0][0]) == 2  # of a thousand


def test_a_newer_recording_is_refused(distilled: tuple[Path, Recording], tmp_path: Path) -> None:
    with patch("iid_cl.records.recording.VERSION", 2):
        distilled[1].write(tmp_path)
    with pytest.raises(UserError, match="no recording of a format read here"):
        read_recording(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    recording = Recording(["a"])
    recording.features["m"] = Features(torch.full((6, 2), value), torch.zeros(6), torch.zeros(6))
    recording.write(tmp_path)
    with pytest.raises(UserError, match="features of m are no finite numbers"):
        read_recording(tmp_path)


def test_an_iteration_without_end_is_refused(distilled: tuple[Path, Recording], tmp_path: Path) -> None:
    distilled[1].write(tmp_path)
    lines = (tmp_path / "losses.jsonl").read_text().splitlines()
    first = {**json.loads(lines[0]), "iteration": float("inf")}
    (tmp_path / "losses.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]))
    with pytest.raises(UserError, match=r"is damaged, or losses\.jsonl beside it is"):
        read_recording(tmp_path)


@pytest.mark.parametrize("change", ["no pictures", "no start", "a class less", "another shape"])
def test_incomplete_pictures_are_refused(change: str, distilled: tuple[Path, Recording], tmp_path: Path) -> None:
    recording = copy.deepcopy(distilled[1])
    part = recording.kept[0]
    first, last = min(part.images), max(part.images)
    if change == "no pictures":
        part.images.clear()
    elif change == "no start":
        del part.images[first]
    elif change == "a class less":
        del part.images[last][part.classes[0]]
    else:
        part.images[last][part.classes[0]] = part.images[last][part.classes[0]][:, :, :4]
    recording.write(tmp_path)
    with pytest.raises(UserError, match=r"the pictures of a distillation of classes \[.*\] are incomplete"):
        read_recording(tmp_path)
