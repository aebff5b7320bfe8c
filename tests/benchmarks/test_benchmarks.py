"""The benchmarks in miniature, and the ledger they write to. Nothing here measures anything."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import cifar10_distill, gpu, ledger, split_digits
from iid_cl.config import DistillConfig, EmbedderConfig

TINY_DISTILL = ("distill.iterations=2", "distill.real_batch=4", "distill.embedder.width=4", "distill.cc.epochs=1")
ORIGIN = {"commit": "abc", "versions": {"torch": "2"}, "machine": "m", "device": "cpu"}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ledger."""
    monkeypatch.setattr(ledger, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_split_digits_in_miniature(in_tmp_path: Path, results: Path) -> None:
    tiny = (*TINY_DISTILL, "train.epochs=1", "train.memory_epochs=1", "model.width=4")
    rows = split_digits.main(2, tiny, name=None)
    assert not results.exists()
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names) == 3 + 2 + 5 + 1  # memories, gains, memories and bounds, gain
    by_name = {row["name"]: row["value"] for row in rows}
    difference = by_name["replay: distilled, final accuracy"] - by_name["replay: herding, final accuracy"]
    assert by_name["replay: distilled minus herding"] == pytest.approx(difference)


def test_cifar10_distill_in_miniature(in_tmp_path: Path, results: Path) -> None:
    draws = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("a", "b"):
            for i in range(12):
                path = in_tmp_path / "data" / part / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    tiny = (*TINY_DISTILL, "evaluate.epochs=1", "model.width=4", "evaluate.network.width=4")
    rows = cifar10_distill.main(in_tmp_path / "data", 1, tiny, name="miniature")
    stored = json.loads((results / "miniature.json").read_text())
    assert [row["name"] for row in stored] == [row["name"] for row in rows]
    assert all(0 <= row["value"] <= 100 and row["commit"] and row["command"] for row in stored)


def test_the_gpu_script_measures_nothing_without_a_gpu(
    in_tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(in_tmp_path, 1)
    assert capsys.readouterr().out.startswith("not measured")
    assert not results.exists()


def test_the_engines_rate_in_miniature() -> None:
    config = DistillConfig(real_batch=2, embedder=EmbedderConfig(width=2))
    assert gpu.engine_rate(torch.device("cpu"), 2, config) > 0


def test_a_row_is_mean_and_spread() -> None:
    row = ledger.row("figure", [1.0, 2.0, 6.0], "s", seeds="three")
    assert row["value"] == 3
    assert row["std"] == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2
    assert row["seeds"] == "three"
    assert "std" not in ledger.row("figure", [1.0], "s")


@pytest.mark.parametrize(
    ("better", "values", "ratio", "missed"),
    [
        ("higher", [3.0], None, False),
        ("higher", [1.0], None, True),
        ("lower", [1.0], None, False),
        ("lower", [3.0], None, True),
        ("higher", [1.0], 5.0, False),  # the ratio is what the target is for
        ("higher", [2.0], None, False),  # reached exactly
    ],
)
def test_missed_targets_are_named(better: str, values: list[float], ratio: float | None, missed: bool) -> None:
    more = {} if ratio is None else {"ratio": ratio}
    lines = ledger.missed([ledger.row("figure", values, "s", target=2.0, better=better, **more)])
    assert [line.startswith("figure") for line in lines] == ([True] if missed else [])


def test_a_page_takes_its_tables_from_the_ledger(results: Path) -> None:
    ledger.write(
        "some", [ledger.row("accuracy", [50.0, 51.0], "%", target=40.0, better="higher")], ORIGIN, 3.2, "--fast"
    )
    page = "before\n<!-- results: some -->\nold\n<!-- end -->\nafter\n"
    made = ledger.update(page)
    assert "| accuracy | 50.5 ± 0.7 % | ≥ 40.0 % |" in made
    assert "`python -m benchmarks.some --fast`" in made
    assert "old" not in made
    assert made.startswith("before\n")
    assert made.endswith("\nafter\n")
    assert ledger.update(made) == made
