"""A network that one run has trained, as learner and embedder of the next."""

import io
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from iid_cl.cli import main
from iid_cl.evaluate.model import load_model
from iid_cl.memory.files import load_memory
from iid_cl.runs.run import run
from tests.runs.helpers import miniature


def finish(out: Path, **changes: object) -> Path:
    return run(miniature(**changes), None, out, Console(file=io.StringIO(), width=110))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tmp_path_factory.mktemp("first") / "run", memory={"method": "none"}, model={"norm": "batch"})


@pytest.mark.parametrize("mode", ["replay", "memory_only"])
def test_the_head_alone_learns_on_kept_features(first: Path, tmp_path: Path, mode: str) -> None:
    """Distilled through the kept features; in memory_only mode, real images are herded by them, too."""
    kept = {"width": 8, "depth": 2, "norm": "batch", "weights": str(first)}
    second = finish(
        tmp_path / "second",
        model={**kept, "freeze": "features"},
        stream={"dataset": "digits", "classes": [[2, 4], [5, 6]]},
        train={"mode": mode},
        memory={"method": "hybrid", "ipc": 2},
        distill={"embedder": kept},
    )
    images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before, after = (load_model(path) for path in (first, second))
    shown = before.normalization.apply(images)
    assert torch.equal(before.network.embed(shown), after.network.embed(shown))  # running statistics included
    assert not torch.equal(before.network.classifier.weight, after.network.classifier.weight)
    assert sorted(after.probabilities(images).sum(0).nonzero().flatten().tolist()) == [2, 4, 5, 6]
    assert load_memory(second / "memory.safetensors").classes == [2, 4, 5, 6]


def test_weights_that_are_missing_end_with_code_2_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for key in ("model", "distill.embedder"):
        for command in (["run", "split_digits.yaml", "--out", "made"], ["check", "split_digits.yaml"]):
            monkeypatch.setattr(sys, "argv", ["iid-cl", *command, "--set", f"{key}.weights=gone.pt"])
            with pytest.raises(SystemExit) as ended:
                main()
            assert ended.value.code == 2
            printed = capsys.readouterr()
            assert f"{key}.weights: gone.pt: no such file" in printed.err + printed.out
            assert not list(tmp_path.iterdir())
