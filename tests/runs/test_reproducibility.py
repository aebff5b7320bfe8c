"""A run's own configuration makes it again, and a run says what its memories were made from."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from iid_cl.cli import main
from iid_cl.compare.cell import run_cell
from iid_cl.config.reading import dump_config
from iid_cl.data.datasets import load_dataset
from iid_cl.runs.run import run
from iid_cl.strategies.buffers import read_experience
from tests.runs.helpers import BYTES_PER_IMAGE, CLASSES, miniature


def finish(out: Path, **changes: Any) -> str:
    printed = io.StringIO()
    run(miniature(**changes), None, out, Console(file=printed, width=200))
    return printed.getvalue()


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_runs_configuration_makes_it_again(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.yaml").write_text(dump_config(miniature(baselines=["herding"], train={"mode": "memory_only"}, seed=4)))
    for arguments in (["mine.yaml", "--set", "memory.ipc=2", "--out", "a"], ["a/config.yaml", "--out", "b"]):
        monkeypatch.setattr("sys.argv", ["iid-cl", "run", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    for name in ("metrics.jsonl", "memory.safetensors", "memory-herding.safetensors", "config.yaml", "sources.json"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes(), name
    assert read(Path("a/run.json"))["checks"] == read(Path("b/run.json"))["checks"]


def test_a_run_is_checked(tmp_path: Path) -> None:
    printed = finish(tmp_path / "run", baselines=["random", "none", "joint"])
    train = load_dataset(miniature().stream, None).train
    images = sum(int((train.labels == c).sum()) for group in CLASSES for c in group)
    weight = 4 * BYTES_PER_IMAGE
    expected: dict[str, Any] = {
        "sources": {"images": images, "experiences": 2, "also_in_test": 0, "also_in_other_experiences": 0},
        "bytes": {"bytes": weight, "charged": weight, "allowed": weight},
    }
    stored = {"distilled": 0, "random": 4}  # images that were found among their sources
    files = {"distilled": "memory.safetensors", "random": "memory-random.safetensors"}
    assert read(tmp_path / "run" / "run.json")["checks"] == {
        method: {
            **expected,
            "stored": {"images": 4, "among_sources": stored[method], "also_in_test": 0},
            "file": file,
            "sha256": hashlib.sha256((tmp_path / "run" / file).read_bytes()).hexdigest(),
        }
        for method, file in files.items()
    }
    assert printed.count("checked: made from") == 2


def test_sources_are_the_training_images_of_each_class(tmp_path: Path) -> None:
    finish(tmp_path / "run", memory={"method": "random"})
    labels = load_dataset(miniature().stream, None).train.labels
    (sources,) = read(tmp_path / "run" / "sources.json")["methods"].values()
    assert sources == {
        str(t): {str(c): (labels == c).nonzero().squeeze(1).tolist() for c in sorted(group)}
        for t, group in enumerate(CLASSES)
    }


def test_a_run_without_a_memory_has_no_sources(tmp_path: Path) -> None:
    finish(tmp_path / "run", memory={"method": "none"})
    assert not (tmp_path / "run" / "sources.json").exists()
    assert read(tmp_path / "run" / "run.json")["checks"] == {}


@pytest.mark.parametrize("what", ["test image", "training image"])
def test_a_leak_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A test image, or one of the first experience, slips in among the second's."""
    dataset = load_dataset(miniature().stream, None)
    part, label = (dataset.test, 7) if what == "test image" else (dataset.train, 1)
    stranger = part.images[part.labels == label][:1]

    def slipped(data: Any, normalization: Any, few: int | None = None) -> Any:
        samples = read_experience(data, normalization, few)
        images = samples.images
        if 7 in images.labels:
            images.images[(images.labels == 7).nonzero()[0]] = stranger
        return samples

    monkeypatch.setattr("iid_cl.strategies.buffers.read_experience", slipped)
    with pytest.raises(RuntimeError, match=f"experience 2, class '7': image 0 of .* is {what} "):
        finish(tmp_path / "run", memory={"method": "random"})


def test_a_comparisons_cell_is_checked() -> None:
    outcome = run_cell(miniature(memory={"method": "random"}, deterministic=True).model_dump_json(), None, False)
    assert outcome.checks is not None
    assert outcome.checks["sources"]["experiences"] == 2
    assert outcome.remarks == []


def test_a_deterministic_run_on_a_cpu_is_the_same_run(tmp_path: Path) -> None:
    for wanted in (False, True):
        finish(tmp_path / str(wanted), deterministic=wanted)
        assert not torch.are_deterministic_algorithms_enabled()
    for name in ("metrics.jsonl", "memory.safetensors"):
        assert (tmp_path / "True" / name).read_bytes() == (tmp_path / "False" / name).read_bytes()
