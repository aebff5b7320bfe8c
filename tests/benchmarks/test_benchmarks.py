"""The benchmarks in miniature, and the ledger they write to. Nothing here measures anything."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import gpu, ledger, quality, split_digits
from iid_cl.config import CentralizationConfig, CovarianceConfig, DistillConfig, EmbedderConfig
from iid_cl.studies.cases import load_study
from iid_cl.studies.config import StudyConfig, SweepConfig
from iid_cl.studies.run import Row

TINY_DISTILL = (
    *("distill.iterations=2", "distill.real_batch=4", "distill.embedder.width=4"),
    *("distill.cc.epochs=1", "distill.cc.trainings=1", "distill.cc.network={width: 4, depth: 1}"),
)
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


def test_quality_in_miniature(in_tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROOT", in_tmp_path)
    (in_tmp_path / "docs").mkdir()
    tiny = [
        "distill.iterations=2", "distill.real_batch=4", "distill.embedder.width=4", "distill.cc.epochs=1",
        "distill.cc.network.width=4", "evaluate.epochs=1", "evaluate.network.width=4",
    ]  # fmt: skip
    rows = quality.main("ablation_digits.yaml", None, tiny, 2, "miniature")
    stored = json.loads((results / "miniature.json").read_text())
    assert [row["name"] for row in stored] == [row["name"] for row in rows]
    assert [row["name"] for row in rows] == [
        "DM", "DM + CC", "DM + CM", "DM + CC + CM", "DM + CC minus DM", "DM + CM minus DM", "DM + CC + CM minus DM",
    ]  # fmt: skip
    by_name = {row["name"]: row["value"] for row in rows}
    assert by_name["DM + CM minus DM"] == pytest.approx(by_name["DM + CM"] - by_name["DM"])
    assert all(row["commit"] and row["seeds"] == "seeds 0 to 1" for row in stored)
    assert stored[0]["command"].startswith(
        "python -m benchmarks.quality ablation_digits.yaml --set distill.iterations=2"
    )
    assert (in_tmp_path / "docs" / "images" / "study-miniature.png").stat().st_size > 5000


def study_row(variant: str, seed: int, accuracy: float, architecture: str = "convnet", network: int = 1) -> Row:
    return Row(variant, None, seed, architecture, network, accuracy, 10, 100, 1.0, 1.0)


def test_differences_are_paired_by_seed() -> None:
    accuracies = {"DM": (0.5, 0.7), "DM + CM": (0.55, 0.69)}
    rows = [study_row(name, seed, value) for name, pair in accuracies.items() for seed, value in enumerate(pair)]
    by_name = {row["name"]: row for row in quality.ledger_rows("ablation_x", rows)}
    assert by_name["DM"]["value"] == pytest.approx(60)
    gain = by_name["DM + CM minus DM"]  # 5 and -1 points: mean 2, standard deviation 6 / sqrt(2)
    assert gain["value"] == pytest.approx(2)
    assert gain["std"] == pytest.approx(6 / 2**0.5)
    assert gain["ci95"] == pytest.approx(
        12.706 * 3, rel=1e-4
    )  # Student's t of one degree of freedom, times std / sqrt(2)


def test_the_drop_on_another_architecture_is_against_the_first() -> None:
    rows = [study_row("a", 0, 0.6), study_row("a", 0, 0.5, network=2), study_row("a", 0, 0.5, "vgg11")]
    by_name = {row["name"]: row for row in quality.ledger_rows("architectures", rows)}
    assert by_name["a, convnet"]["value"] == pytest.approx(55)
    assert by_name["a: lost on vgg11"]["value"] == pytest.approx(5)
    assert "ci95" not in by_name["a: lost on vgg11"]  # one seed has no interval


def test_the_gpu_script_measures_nothing_without_a_gpu(
    in_tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(in_tmp_path, None, 1)
    assert capsys.readouterr().out.startswith("not measured")
    assert not results.exists()


def test_the_engines_rate_in_miniature() -> None:
    off = {"cc": CentralizationConfig(weight=0), "cm": CovarianceConfig(weight=0)}
    config = DistillConfig(real_batch=2, embedder=EmbedderConfig(width=2), **off)
    assert gpu.engine_rate(torch.device("cpu"), 2, config) > 0


def test_the_gpu_script_in_miniature(in_tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it on a CPU that passes for a GPU, with the published studies' own files."""
    monkeypatch.setattr(ledger, "ROOT", in_tmp_path)
    (in_tmp_path / "docs").mkdir()
    draws = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("a", "b"):
            for i in range(12):
                path = in_tmp_path / "data" / part / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "resolve_device", lambda name: torch.device("cpu"))
    monkeypatch.setattr(gpu, "engine_rate", lambda *_: 1.0)
    tiny = [
        "device=cpu", "stream.dataset=image_folder", "distill.real_batch=4", "distill.embedder.width=4",
        "distill.cc.network={width: 4}", "distill.cc.epochs=1", "distill.cc.trainings=1", "distill.cc.snapshots=1",
        "distill.queue.steps=1", "evaluate.epochs=1", "evaluate.networks=1", "evaluate.network.width=4",
    ]  # fmt: skip
    measure = quality.main
    monkeypatch.setattr(
        quality,
        "main",
        lambda study, data, keys, seeds, name: measure(
            study, data, [*(key for key in keys if key != "device=cuda"), *tiny, "distill.iterations=1"], seeds, name
        ),
    )
    monkeypatch.setattr(quality, "load_study", lambda *arguments: small(load_study(*arguments)))
    gpu.main(in_tmp_path / "data", in_tmp_path / "data", 1, epochs=1)
    written = {path.stem for path in results.iterdir()}
    assert written == {"gpu", "published_cifar10", "published_mnist"}
    names = [row["name"] for row in json.loads((results / "published_cifar10.json").read_text())]
    assert names == ["DM at 1", "DM + CC + CM (IID) at 1", "IDM at 1", "IDM + CC + CM (IID) at 1"]


def small(study: StudyConfig) -> StudyConfig:
    """The study at one image per class."""
    return study.model_copy(update={"sweep": SweepConfig(key="memory.ipc", values=[1])})


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
