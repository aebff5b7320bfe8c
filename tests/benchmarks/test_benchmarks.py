"""The benchmarks in miniature, and the ledger they write to. Nothing here measures anything."""

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from benchmarks import (
    budgets,
    comparison,
    engine,
    formats,
    gpu,
    labels,
    layout,
    ledger,
    length,
    machine,
    making,
    networks,
    protocol,
    quality,
    scaling,
    sparsity,
    split_digits,
    time_to_accuracy,
    training,
)
from benchmarks.reference import PlainDraw, plain_network, reference_distill, reference_gradient
from iid_cl.config.distill import CentralizationConfig, DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.config.experiment import Config
from iid_cl.config.reading import load_config, parse_config
from iid_cl.config.study import StudyConfig, SweepConfig
from iid_cl.data.augmentation import UNIFORMS, make_parameters
from iid_cl.data.datasets import load_dataset
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory
from iid_cl.memory.jpeg import decode, encode
from iid_cl.methods.auto import Auto
from iid_cl.methods.distilled import Distilled
from iid_cl.records.provenance import provenance
from iid_cl.runs.run import run
from iid_cl.seeding import make_generator
from iid_cl.studies.cases import load_study
from iid_cl.studies.rows import Row

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


@pytest.mark.usefixtures("no_reports")
def test_split_digits_in_miniature(in_tmp_path: Path, results: Path) -> None:
    tiny = (*TINY_DISTILL, "train.epochs=1", "train.memory_epochs=1", "model.width=4")
    rows = split_digits.main(2, tiny, name=None)
    assert not results.exists()
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names) == 3 + 2 + 5 + 1  # memories, gains, memories and bounds, gain
    by_name = {row["name"]: row["value"] for row in rows}
    difference = by_name["replay: distilled, final accuracy"] - by_name["replay: herding, final accuracy"]
    assert by_name["replay: distilled minus herding"] == pytest.approx(difference)


def test_the_engines_rate_counts_iterations_however_few_are_reported() -> None:
    assert engine.rate([(1, 9.0), (2, 10.0), (3, 10.5), (4, 11.0)]) == pytest.approx(2.0)
    assert engine.rate([(2, 9.0), (4, 9.0), (6, 10.0), (10, 12.0)]) == pytest.approx(2.0)
    assert engine.rate([(1, 1.0), (2, 1.25)]) == pytest.approx(4.0)


def test_training_in_miniature(
    in_tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ledger, "ROOT", in_tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (in_tmp_path / "docs").mkdir()
    threads = torch.get_num_threads()
    rows = training.main(100, 1, 2, None)
    assert not results.exists()
    assert "not measured" in capsys.readouterr().out
    assert torch.get_num_threads() == threads
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names) == 5
    judged = [row for row in rows if "target" in row]
    by_place = {0.9: rows[0], 6.0: rows[3]}  # the raw loop, and the loader of Avalanche
    assert [row["target"] for row in judged] == list(by_place)
    assert all(row["baseline"] == by_place[row["target"]]["value"] and row["ratio"] > 0 for row in judged)
    assert training.samples(100, 1) == 100 + 128
    training.main(100, 1, 1, "training")
    assert [row["name"] for row in json.loads((results / "training.json").read_text())] == names
    assert not (results / "training_cuda.json").exists()
    with Image.open(in_tmp_path / "docs" / "images" / "benchmark-training.png") as picture:
        assert picture.size == (1050, 480)


@pytest.mark.gpu
def test_training_on_a_gpu_in_miniature(results: Path) -> None:
    (stock, *ours) = training.on_gpu(100, 1, 1, "training")
    assert [one["ratio"] for one in ours] == pytest.approx([one["value"] / stock["value"] for one in ours])
    assert len(json.loads((results / "training_cuda.json").read_text())) == 3


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
    assert gpu.main(in_tmp_path, None, 1, tiny=in_tmp_path, minutes=10) == []
    assert capsys.readouterr().out.startswith("not measured")
    assert not results.exists()


def smaller(measured: Callable[..., float], *rest: Any) -> float:
    """A ceiling of the machine, measured on a sixteenth of the size, which is the last argument."""
    return measured(*rest[:-1], rest[-1] // 16)


def test_engine_against_reference_in_miniature(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference shares no loss with the engine: their agreement checks both.

    The machine's ceilings are measured on smaller products: those of 2048 in bfloat16 take minutes on some processors.
    """
    small_network = {"width": 6, "depth": 2}
    network = NetworkConfig(**small_network)
    monkeypatch.setattr(engine, "CentralizationConfig", partial(CentralizationConfig, network=network))
    monkeypatch.setattr(machine, "matmul_rate", partial(smaller, machine.matmul_rate))
    monkeypatch.setattr(machine, "bandwidth", partial(smaller, machine.bandwidth))
    rows = engine.main(
        rounds=1, **small_network, real_batch=16, iterations=3, classes=3, count=80, compiling=False, name=None
    )
    assert not results.exists()
    assert not [one["name"] for one in rows if "difference" in one["name"] and one["value"] > one["target"]]
    found = {one["name"]: one for one in rows}
    for scale in ("relative", "published"):
        assert found[f"gradient, {scale} scale, eager float32: relative difference"]["value"] < 1e-3
        assert found[f"loss against the reference's, {scale} scale, eager float32: relative difference"]["value"] > 0
    assert found["engine, compiled"]["ratio"] == pytest.approx(
        found["engine, compiled"]["value"] / found["reference"]["value"]
    )
    assert 0 < found["engine, compiled: share of the operations' ceiling"]["value"] < 1


def test_reference_and_engine_differ_once_an_image_does() -> None:
    """The comparison can fail: another real image, another loss."""
    images = engine.made_images(2, 40)
    config = DistillConfig(real_batch=8, embedder=EmbedderConfig(width=4, depth=1))
    generator = make_generator(0)
    network = plain_network(3, 4, 1)
    parameters = make_parameters(torch.rand(2, UNIFORMS, generator=generator), [], (32, 32))
    synthetic = engine.NORMALIZATION.apply(torch.stack([group[:3] for group in images.values()]))
    losses = []
    for first in (0, 8):
        real = [group[first : first + 8] for group in images.values()]
        losses.append(
            reference_gradient(synthetic, PlainDraw(real, parameters, network), config, engine.NORMALIZATION)[0]
        )
    assert min(abs(a - b) for a, b in zip(*losses, strict=True)) > 1e-4


def test_the_plain_loop_moves_every_image_and_repeats_for_a_seed() -> None:
    images = engine.made_images(2, 40)
    config = DistillConfig(iterations=2, real_batch=8, embedder=EmbedderConfig(width=4, depth=1))

    def run(seed: int) -> list[torch.Tensor]:
        steps = reference_distill(
            images, config, 3, make_generator(seed), engine.NORMALIZATION, engine.NAMES, torch.device("cpu")
        )
        return [step.clone() for step in steps]

    first, second = run(0)
    assert (first - second).abs().amax((2, 3, 4)).min() > 0
    assert torch.equal(second, run(0)[1])
    assert not torch.equal(second, run(1)[1])


def test_a_scaling_case_in_miniature() -> None:
    case = scaling.Case(classes=2, ipc=1)
    found = scaling.measure_case(case, "cpu", iterations=4, width=4, compiling=False)
    assert found["seconds"] > 0
    assert 0.05 < found["gib"] < 64
    assert case.label == "2 classes, 1 images each, 32x32"
    extra = set(scaling.cases_of(torch.device("cuda"))) - set(scaling.cases_of(torch.device("cpu")))
    assert {one.label for one in extra} == {
        "1000 classes, 10 images each, 32x32", "10 classes, 10 images each, 224x224",
    }  # fmt: skip


def test_floor_counts_operations_and_bytes() -> None:
    # one block on 4x4 pixels of 3 channels: reads 3*16, output 2*16 written and read twice, a quarter of it written
    assert machine.convnet_traffic(NetworkConfig(width=2, depth=1), (3, 4, 4), 2) == 2 * (48 + 96 + 8)


@pytest.fixture
def pictures(in_tmp_path: Path) -> Path:
    """An image folder of two classes."""
    draws = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("a", "b"):
            for i in range(24):
                path = in_tmp_path / "data" / part / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return in_tmp_path / "data"


def test_sparsity_in_miniature(pictures: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparsity, "SPARSITIES", (0.0, 0.5))
    monkeypatch.setattr(sparsity, "UPDATES", 2)
    asked: list[float] = []
    original = sparsity.JpegFormat
    monkeypatch.setattr(
        sparsity, "JpegFormat", lambda quality, strength: (asked.append(strength), original(quality, strength))[1]
    )
    tiny = (
        "stream.dataset=image_folder",
        "stream.experiences=2",
        *TINY_DISTILL,
        "model.width=4",
        "stream.validation=0.5",
    )
    rows = sparsity.main(pictures, pictures, range(7, 9), overrides=tiny)
    assert asked == [0.0, 1.0] * 4  # over two iterations; two seeds of each of two data sets
    stored = json.loads((results / "sparsity.json").read_text())
    assert [row["name"] for row in stored] == [row["name"] for row in rows]
    names = [row["name"] for row in rows[:4]]
    assert [re.sub(r"[\d.]+ a class", "N a class", name) for name in names] == [
        "mnist: real images, N a class", "mnist: sparsity 0, N a class", "mnist: sparsity 0.5, N a class",
        "mnist: sparsity 0.5 minus 0",
    ]  # fmt: skip
    gain = rows[2]["value"] - rows[1]["value"]
    assert rows[3]["value"] == pytest.approx(gain)
    assert [row["value"] for row in rows[4:]] == [row["value"] for row in rows[:4]]  # the same folder
    assert stored[0]["command"] == "python -m benchmarks.sparsity MNIST CIFAR10 --seeds 2 --first-seed 7"


def test_what_real_images_are_compared_with_is_of_training_images(pictures: Path) -> None:
    keys = ["stream.dataset=image_folder", "stream.experiences=2", "stream.validation=0.5"]
    config = load_config("compare_mnist.yaml", keys)
    dataset = load_dataset(config.stream, pictures, seed=3)
    stored = sparsity.memory(config, dataset, None, 3)
    files = {
        label: {decode(file, (3, 16, 16)).numpy().tobytes() for file in encode(images, 25)}
        for label, images in dataset.train.by_class().items()
    }
    for label, images in stored.by_class().items():
        assert len(images) >= 1
        assert {image.numpy().tobytes() for image in images} <= files[label]


def test_time_to_accuracy_in_miniature(pictures: Path, results: Path) -> None:
    rows = time_to_accuracy.main(
        pictures, 2, 4, iterations=2, engine_iterations=1, real_batch=8, engine_batch=4, epochs=1, compiling=False,
        name=None,
    )  # fmt: skip
    assert not results.exists()
    found = {one["name"]: one for one in rows}
    seconds = found["engine: 1 iterations, real batch 4, compiling included"]
    assert seconds["ratio"] == pytest.approx(seconds["baseline"] / seconds["value"])
    gain = found["engine: accuracy"]["value"] - found["reference: accuracy"]["value"]
    assert found["engine minus reference"]["value"] == pytest.approx(gain)


def test_a_whole_run_in_miniature() -> None:
    tiny = {
        "stream": {"experiences": 2}, "model": {"width": 4}, "train": {"epochs": 1}, "memory": {"ipc": 1},
        "distill": {"iterations": 1, "real_batch": 4, "embedder": {"width": 4}},
    }  # fmt: skip
    row = gpu.whole_run(torch.device("cpu"), parse_config(tiny, "tiny"), classes=4, count=10)
    assert row["name"].startswith("4 classes in 2 experiences, IPC 1, 1 iterations each")
    assert row["value"] > 0
    assert parse_config(gpu.WHOLE_RUN, "WHOLE_RUN").distill.iterations == 1000


LIGHT = ["engine_cuda", "training_cuda", "networks_cuda", "scaling_cuda", "time_to_accuracy_cuda"]
HEAVY = ["jpeg_copy", "published_cifar10", "published_mnist"]


def pass_for_parts(monkeypatch: pytest.MonkeyPatch, results: Path) -> list[str]:
    """Stands in for the parts that have tests of their own; the protocol takes two calls. Notes what ran."""
    ran: list[str] = []
    cells = [2]

    def write(name: str) -> None:
        ran.append(name)
        results.mkdir(exist_ok=True)
        (results / f"{name}.json").write_text("[]")

    def measure_protocol(*_: Any, **__: Any) -> None:
        ran.append("protocol")
        cells[0] -= 1

    functions = [
        (engine, "main"), (training, "on_gpu"), (networks, "on_gpu"), (scaling, "main"), (time_to_accuracy, "main"),
    ]  # fmt: skip
    for name, (part, function) in zip(LIGHT, functions, strict=True):
        monkeypatch.setattr(part, function, lambda *_, name=name, **__: write(name))
    monkeypatch.setattr(protocol, "main", measure_protocol)
    monkeypatch.setattr(protocol, "left", lambda: max(0, cells[0] - 1))
    for function, name in (("gpu_tests", "gpu_tests"), ("whole_run", "whole_run_cuda")):
        monkeypatch.setattr(gpu, function, lambda *_, name=name: (ran.append(name), ledger.row("x", [1.0], "s"))[1])
    return ran


def test_calls_of_the_gpu_script_go_on_where_the_last_one_stopped(
    results: Path, monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "resolve_device", lambda name: torch.device("cpu"))
    ran = pass_for_parts(monkeypatch, results)
    monkeypatch.setattr(protocol, "left", lambda: max(0, 2 - ran.count("protocol")))
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: 60.0 * 2 * len(ran))  # each part takes two minutes
    calls = []
    for _ in range(4):
        before = len(ran)
        left = gpu.main(None, None, 1, tiny=in_tmp_path, minutes=10)
        calls.append((ran[before:], left))
    assert calls == [
        (
            ["engine_cuda", "training_cuda", "networks_cuda"],
            ["whole_run_cuda", "gpu_tests", "protocol", "scaling_cuda"],
        ),
        (["whole_run_cuda", "gpu_tests", "protocol"], ["protocol", "scaling_cuda"]),
        (["protocol", "scaling_cuda"], []),
        ([], []),
    ]
    printed = capsys.readouterr().out
    assert "left, by the same command: whole_run_cuda, gpu_tests, protocol, scaling_cuda\n" in printed
    assert "published_cifar10: its data are not given, left out" in printed
    assert printed.endswith("nothing is left of these parts\n")
    assert gpu.main(in_tmp_path, None, 1, only=["time_to_accuracy_cuda"]) == []
    assert ran[-1] == "time_to_accuracy_cuda"


def test_gpu_tests_are_counted(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # each of its processes takes a second to import them
    (in_tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: x\naddopts = -p xdist\n")
    (in_tmp_path / "test_x.py").write_text(
        "import pytest\n\n\n@pytest.mark.gpu\n@pytest.mark.parametrize('n', [0, 1, 2])\ndef test_a(n):\n    assert n\n"
        "\n\ndef test_b():\n    assert False\n"
    )
    row = gpu.gpu_tests(in_tmp_path, workers=1)
    assert (row["value"], row["target"]) == (2, 3)
    assert ledger.missed([row]) == ["tests marked gpu that pass: 2, target 3"]


def test_the_gpu_script_in_miniature(
    pictures: Path, results: Path, monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path
) -> None:
    """All of it on a CPU that passes for a GPU, with the published studies' own files."""
    monkeypatch.setattr(ledger, "ROOT", in_tmp_path)
    (in_tmp_path / "docs").mkdir()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "resolve_device", lambda name: torch.device("cpu"))
    pass_for_parts(monkeypatch, results)
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
    assert gpu.main(pictures, pictures, 1, epochs=1, tiny=pictures) == []
    assert {path.stem for path in results.glob("*.json")} == {*LIGHT, *HEAVY, "gpu_tests", "whole_run_cuda"}
    names = [row["name"] for row in json.loads((results / "published_cifar10.json").read_text())]
    assert names == ["DM at 1", "DM + CC + CM (IID) at 1", "IDM at 1", "IDM + CC + CM (IID) at 1"]


PROTOCOL = (
    "stream={dataset: digits, first_classes: 4, experiences: 2, train_limit: 20}",
    *("model.width=4", "model.depth=2", "memory.ipc=2", "evaluate.networks=2", "evaluate.network={width: 4, depth: 2}"),
    *("distill.real_batch=4", "distill.embedder={width: 4, depth: 2}"),
    "distill.queue={networks: 1, steps: 1, batch_size: 8}",
    *("distill.cc.network={width: 4, depth: 2}", "distill.cc.epochs=1", "distill.cc.trainings=1"),
    "distill.cc.snapshots=1",
)


def protocol_rows(**changes: Any) -> tuple[dict[int, list[dict[str, Any]]], int]:
    given = {"orders": 2, "iterations": 1, "epochs": 2, "device_name": "cpu", "overrides": PROTOCOL}
    return protocol.main(None, **{**given, **changes})


def a_cell(*accuracies: float) -> protocol.Cell:
    return protocol.Cell(list(accuracies), 7, 1.0, "cpu", "c0ffee")


@pytest.fixture
def without_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits are smaller than JPEG's tables."""
    for name in ("METHODS", "GAINS"):
        kept = {method: value for method, value in getattr(protocol, name).items() if "JPEG" not in method}
        monkeypatch.setattr(protocol, name, kept)


@pytest.mark.usefixtures("without_jpeg")
def test_the_protocol_in_miniature(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, left = protocol_rows()
    assert left == 0
    printed = re.findall(r"(\d+) steps, order (\d), ([\w, -]+): ([\d. ]+) %", capsys.readouterr().out)
    shown: dict[tuple[str, str], list[list[float]]] = {}
    for steps, _, method, values in printed:
        shown.setdefault((steps, method), []).append([float(value) for value in values.split()])
    assert {len(orders) for orders in shown.values()} == {2}
    for steps in (5, 10):
        stored = json.loads((results / f"protocol_{steps}step_cpu.json").read_text())
        assert [row["name"] for row in stored] == [row["name"] for row in rows[steps]]
        by_name = {row["name"].split(": ")[0]: row for row in stored}
        for method in protocol.METHODS:
            own = np.array(shown[str(steps), method])  # 2 orders of 2 networks
            assert own.shape == (2, 2)
            assert by_name[method]["value"] == pytest.approx(own.mean(), abs=0.06)
            assert by_name[method]["std"] == pytest.approx(own.std(ddof=1), abs=0.15)
        for rival, target in (("herding", 8), ("random", 12)):
            gain = by_name[f"distilled minus {rival}"]
            difference = np.mean(shown[str(steps), "distilled"]) - np.mean(shown[str(steps), rival])
            assert gain["value"] == pytest.approx(difference, abs=0.11)
            assert (gain["target"], gain["better"]) == (target, "higher")
        assert {name for name in by_name if "minus" in name} == {
            f"{ours} minus {rival}"
            for ours in protocol.METHODS
            if ours.startswith("distilled")
            for rival in protocol.GAINS
        }
        assert by_name["random"]["name"].endswith(" 528 bytes")  # 4 classes of 2 images of 64 bytes and a label's 2
        assert stored[0]["seeds"] == "class orders of seeds 0 to 1, 2 networks each"
        assert stored[0]["command"].startswith(f"python -m benchmarks.protocol --data DATA --steps {steps} --orders 2")


@pytest.mark.usefixtures("without_jpeg")
def test_the_protocol_goes_on_where_it_stopped(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One cell in each call that has no time: nine methods, one class order, which counts with the first three."""
    once = {"orders": 1, "steps": [5]}
    for cells in range(1, 10):
        rows, left = protocol_rows(**once, minutes=1e-9)
        assert left == 9 - cells
        assert bool(rows) == (cells >= 3)
        assert cells != 3 or not any("half-size" in row["name"] for row in rows[5])
        assert ("cells are left" in capsys.readouterr().out) == (cells < 9)
    stored = list(csv.DictReader(io.StringIO((results / "protocol_5step_cpu.csv").read_text())))
    assert len(stored) == 9 * 2
    assert {row["device"] for row in stored} == {"cpu"}
    assert {row["commit"] for row in stored} == {str(provenance(torch.device("cpu"))["commit"])}
    assert protocol_rows(**once) == (rows, 0)  # nothing was left
    assert " %, " not in capsys.readouterr().out
    assert {row["seeds"] for row in rows[5]} == {"class order of seed 0, 2 networks each"}
    (results / "protocol_5step_cpu.csv").unlink()
    again, _ = protocol_rows(**once)
    assert [row["value"] for row in again[5]] == [row["value"] for row in rows[5]]


@pytest.mark.usefixtures("without_jpeg")
def test_a_cells_time_is_expected_by_those_of_earlier_calls(results: Path) -> None:
    once = {"orders": 1, "steps": [5]}
    assert protocol_rows(**once, minutes=1e-9)[1] == 8
    file = results / "protocol_5step_cpu.csv"
    with file.open() as lines:
        settings = next(csv.DictReader(lines))["settings"]
    (place, cell), *_ = protocol.read_cells(file, settings).items()
    protocol.write_cells(file, settings, {place: dataclasses.replace(cell, seconds=1e6)})
    assert protocol_rows(**once, minutes=60)[1] == 7  # one is always begun, and no other would end in an hour


@pytest.mark.usefixtures("without_jpeg")
def test_a_longer_cells_time_is_expected_by_what_it_lengthens(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Herding takes ten minutes, all else one: random images of four times the epochs need not wait for an hour."""
    asked: list[tuple[str, int]] = []

    def measure(config: Config, *_: Any) -> protocol.Cell:
        asked.append((config.memory.method, config.evaluate.epochs))
        return dataclasses.replace(a_cell(50.0, 50.0), seconds=600.0 if config.memory.method == "herding" else 60.0)

    monkeypatch.setattr(protocol, "measure", measure)
    assert protocol_rows(orders=1, steps=[5], minutes=11)[1] == 4
    assert asked[-1] == ("random", 8)  # herding's would take 40 minutes


@pytest.mark.usefixtures("without_jpeg")
def test_a_protocol_that_is_cut_off_keeps_its_rows(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measure(config: Config, *_: Any) -> protocol.Cell:
        asked.append(config.memory.method)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return a_cell(50.0, 50.0)

    monkeypatch.setattr(protocol, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        protocol_rows(orders=1, steps=[5])
    names = [row["name"] for row in json.loads((results / "protocol_5step_cpu.json").read_text())]
    assert [name.split(":")[0] for name in names[:3]] == ["random", "herding", "distilled"]


@pytest.mark.usefixtures("without_jpeg")
def test_cells_of_other_settings_are_not_taken(results: Path) -> None:
    once = {"orders": 1, "steps": [5], "minutes": 1e-9}
    assert protocol_rows(**once)[1] == 8
    assert protocol_rows(**once, epochs=1)[1] == 8


def test_cells_in_turn_and_their_iterations(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def measure(config: Config, *_: Any) -> protocol.Cell:
        memory, steps = config.memory, config.distill.queue.steps
        asked.append(
            (memory.method, config.distill.iterations, steps, config.evaluate.epochs, memory.jpeg, memory.downscale)
        )
        return a_cell(50.0, 50.0)

    monkeypatch.setattr(protocol, "measure", measure)
    protocol_rows(orders=1, steps=[5], iterations=7)
    assert asked == [
        ("random", 7, 1, 2, None, 1),
        ("herding", 7, 1, 2, None, 1),
        ("distilled", 7, 1, 2, None, 1),
        ("distilled", 7, 10, 2, None, 1),
        ("random", 7, 1, 8, None, 1),
        ("herding", 7, 1, 8, None, 1),
        ("distilled", 21, 10, 2, None, 1),
        ("herding", 7, 1, 2, None, 2),
        ("random", 7, 1, 2, 25, 1),
        ("distilled", 14, 1, 2, None, 1),
    ]


def test_a_methods_row_counts_the_class_orders_it_has() -> None:
    found = {(order, "herding"): a_cell(10.0 + order, 12.0 + order) for order in range(3)}
    found |= {(order, "distilled"): a_cell(20.0, 20.0 + 4 * order) for order in range(3)}
    longer = "distilled, twice the iterations"
    found[0, longer] = a_cell(30.0, 31.0)
    rows = {row["name"]: (row["value"], row["seeds"]) for row in protocol.rows_of(found, [0, 1, 2], 2)}
    several, one = "class orders of seeds 0 to 2, 2 networks each", "class order of seed 0, 2 networks each"
    assert rows == {
        "herding: final accuracy, 7 bytes": (12.0, several),
        "distilled: final accuracy, 7 bytes": (22.0, several),
        f"{longer}: final accuracy, 7 bytes": (30.5, one),
        "distilled minus herding": (10.0, several),
        f"{longer} minus herding": (19.5, one),
    }


@pytest.mark.usefixtures("no_reports")
def test_the_protocols_memory_is_that_of_a_whole_run(in_tmp_path: Path) -> None:
    keys = [*PROTOCOL, "distill.iterations=1", "train.memory_epochs=1", "train.networks=1", "seed=3", "device=cpu"]
    config = load_config("gdumb_tiny_imagenet_5step.yaml", keys)
    out = run(config, None, in_tmp_path / "run", Console(file=io.StringIO()))
    dataset = load_dataset(config.stream, None, config.seed)
    own = protocol.last_memory(config, dataset, torch.device("cpu")).exemplars
    assert isinstance(own, ExemplarSet)
    assert torch.equal(own.images, load_memory(out / "memory.safetensors").images)


def test_the_protocol_needs_a_gpu_unless_told_otherwise(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert protocol_rows(device_name="cuda")[0] == {}
    assert "not measured" in capsys.readouterr().out
    assert not results.exists()


def cell(label: str, mode: str | None, ipc: int | None, accuracies: list[float], weight: int) -> list[dict[str, Any]]:
    """Finished cells of seeds 3, 4, ..."""
    return [
        {
            "label": label,
            "mode": mode,
            "budget": None if ipc is None else {"ipc": ipc},
            "seed": 3 + index,
            "result": {"final_accuracy": accuracy, "memory_bytes": weight - index},
        }
        for index, accuracy in enumerate(accuracies)
    ]


def test_a_comparisons_rows_by_hand() -> None:
    cells = [
        *cell("none", None, None, [0.1, 0.1], 1),
        *(one for ipc in (5, 10) for one in cell("auto", "replay", ipc, [0.5, 0.7], 100 * ipc)),
        *(one for ipc in (5, 10) for one in cell("herding", "replay", ipc, [0.4, 0.4], 99)),
        *cell("auto", "memory_only", 5, [0.5, 0.7], 100),
        *cell("herding", "memory_only", 5, [0.55, 0.75], 100),
    ]
    rows = {row["name"]: row for row in comparison.ledger_rows(cells, target=True)}
    assert list(rows) == [
        "none",
        "replay, ipc 5: auto", "replay, ipc 5: herding", "replay, ipc 5: auto minus herding",
        "replay, ipc 10: auto", "replay, ipc 10: herding", "replay, ipc 10: auto minus herding",
        "memory only, ipc 5: auto", "memory only, ipc 5: herding", "memory only, ipc 5: auto minus herding",
    ]  # fmt: skip
    assert {row["seeds"] for row in rows.values()} == {"seeds 3 to 4"}
    # gains of 10 and 30: two values, standard error 10, and the t quantile of one degree of freedom is tan(0.475 pi)
    wide = 10 * math.tan(0.475 * math.pi)
    for ipc, target in ((5, wide), (10, 0.0)):
        one = rows[f"replay, ipc {ipc}: auto"]
        assert (one["value"], one["ci95"], one["bytes"]) == pytest.approx((60, wide, 100 * ipc))
        assert "target" not in one
        gain = rows[f"replay, ipc {ipc}: auto minus herding"]
        assert (gain["value"], gain["ci95"], gain["target"]) == pytest.approx((20, wide, target))
        assert (gain["better"], gain["against"]) == ("higher", "herding")
    level = rows["memory only, ipc 5: auto minus herding"]  # behind by 5 with both seeds
    assert (level["value"], level["ci95"], level["target"]) == pytest.approx((-5, 0, 0), abs=1e-9)
    assert [line.split(":")[0] for line in ledger.missed(list(rows.values()))] == [
        "replay, ipc 5",
        "memory only, ipc 5",
    ]
    assert not any("target" in row for row in comparison.ledger_rows(cells, target=False))


def test_one_seed_has_differences_without_intervals() -> None:
    cells = [*cell("auto", "replay", 5, [0.5], 10), *cell("random", "replay", 5, [0.25], 10)]
    rows = comparison.ledger_rows(cells, target=True)
    assert [row["value"] for row in rows] == [50, 25, 25]
    assert not any("ci95" in row for row in rows)
    assert rows[2]["target"] == 0


@pytest.mark.usefixtures("no_reports")
def test_a_comparison_in_miniature(in_tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROOT", in_tmp_path)
    (in_tmp_path / "docs").mkdir()
    section = "compare={methods: [distilled, random, none], modes: [memory_only], budgets: {ipc: [1]}, seeds: 2}"
    keys = [*TINY_DISTILL, section, "memory.method=distilled", "model.width=4", "train.epochs=1"]
    config = load_config("compare_digits.yaml", [*keys, "train.memory_updates=1", "device=cpu", "name=tiny"])
    rows = comparison.main(config, None, in_tmp_path / "out", 1, True, "compare_digits.yaml --out DIR")
    names = [
        "memory only, ipc 1: distilled",
        "memory only, ipc 1: random",
        "memory only, ipc 1: distilled minus random",
    ]
    assert [row["name"] for row in rows] == [*names, "none"]
    stored = json.loads((results / "tiny.json").read_text())
    assert [row["name"] for row in stored] == [*names, "none"]
    assert all(row["seeds"] == "seeds 0 to 1" and row["workers"] == 1 and row["commit"] for row in stored)
    assert stored[0]["command"] == "python -m benchmarks.comparison compare_digits.yaml --out DIR"
    assert rows[0]["bytes"] == rows[1]["bytes"] == 10 * (64 + 2)
    assert rows[2]["value"] == pytest.approx(rows[0]["value"] - rows[1]["value"])
    assert len((results / "tiny.csv").read_text().splitlines()) == 1 + 6
    assert (in_tmp_path / "docs" / "images" / "tiny.png").stat().st_size > 5000


def test_a_comparison_with_failed_cells_is_no_measurement(
    in_tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "compare", lambda *rest: (in_tmp_path, ["one", "another"]))
    with pytest.raises(SystemExit, match="2 cells failed"):
        comparison.main(load_config("compare_digits.yaml", ["device=cpu"]), None, in_tmp_path, 1, False, "")
    assert not results.exists()


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


def test_a_ratio_is_shown_and_its_target_is_not(results: Path) -> None:
    figure = ledger.row("ours", [1234.0], "samples/s", ratio=0.953, baseline=1295.0, target=0.9, better="higher")
    ledger.write("some", [figure], ORIGIN, 3.2)
    assert "| ours | 1234 samples/s, ratio 0.95 |\n" in ledger.table("some")


def test_differences_stand_in_a_column_for_each_rival(results: Path) -> None:
    all_seeds, one = "class orders of seeds 0 to 1, 3 networks each", "class order of seed 0, 3 networks each"
    aim = {"target": 8.0, "better": "higher"}
    rows = [
        ledger.row("herding: final, 7 bytes", [10.0, 12.0], "%", seeds=all_seeds),
        ledger.row("random: final, 7 bytes", [5.0, 5.0], "%", seeds=all_seeds),
        ledger.row("distilled, longer: final, 7 bytes", [18.0], "%", seeds=one),
        ledger.row("distilled, longer minus herding", [7.96], "%", seeds=one, **aim),
        ledger.row("distilled, longer minus random", [13.0], "%", seeds=one, ci95=0.25, **aim),
    ]
    ledger.write("some", rows, ORIGIN, 3.2)
    page = ledger.update("<!-- differences: some -->\n<!-- end -->\n").replace("\u00a0", " ").splitlines()
    assert page[1:6] == [
        "| | value | of | minus herding | minus random |",
        "|---|---:|---:|---:|---:|",
        "| herding | 11.0 ± 1.4 | seeds 0 to 1 |  |  |",
        "| random | 5.0 ± 0.0 | seeds 0 to 1 |  |  |",
        "| distilled, longer | 18.0 | seed 0 | +8.0 | +13.0 ± 0.2 |",
    ]
    assert page[7].startswith("`python -m benchmarks.some`")


def test_a_benchmark_that_lies_elsewhere_is_named_by_its_whole_path(results: Path) -> None:
    figure = ledger.row("cases", [5.0], "")
    ledger.write("some", [figure], ORIGIN, 3.2, "--fast", module="tests.hardening.fuzz")
    assert ledger.table("some").splitlines()[-1].startswith("`python -m tests.hardening.fuzz --fast`, ")


def test_a_command_that_has_moved_is_named_by_its_new_path(results: Path) -> None:
    ledger.write("fuzz", [ledger.row("cases", [5.0], "")], ORIGIN, 3.2, "--seed 0")
    assert ledger.table("fuzz").splitlines()[-1].startswith("`python -m tests.hardening.fuzz --seed 0`, ")


def test_a_page_takes_its_tables_from_the_ledger(results: Path) -> None:
    ledger.write(
        "some", [ledger.row("accuracy", [50.0, 51.0], "%", target=40.0, better="higher")], ORIGIN, 3.2, "--fast"
    )
    page = "before\n<!-- results: some -->\nold\n<!-- end -->\nafter\n"
    made = ledger.update(page)
    assert "| accuracy | 50.5 ± 0.7 % |\n" in made
    assert "`python -m benchmarks.some --fast`" in made
    assert "old" not in made
    assert made.startswith("before\n")
    assert made.endswith("\nafter\n")
    assert ledger.update(made) == made


def test_budgets_in_miniature(pictures: Path, results: Path) -> None:
    rows = budgets.main(pictures, (400, 800), 2, updates=2, batch=8, width=4, iterations=1)
    assert json.loads((results / "budgets.json").read_text())[0]["name"] == "all training images"
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names) == 1 + 2 * (3 + 2 + 1)
    by_name = {row["name"].partition(", 1")[0]: row["value"] for row in rows}
    for at in ("0.4 kB a class", "0.8 kB a class"):
        ours, rival = (next(value for name, value in by_name.items() if name.startswith(f"{at}: {label}"))
                       for label in (budgets.DEFAULT, budgets.RIVAL))  # fmt: skip
        assert by_name[f"{at}: auto minus {budgets.RIVAL}"] == pytest.approx(ours - rival)


def test_a_budget_table_gathers_the_runs_of_a_name(results: Path) -> None:
    for name, budget, ours in (("some", "3 kB", 50.0), ("some_15", "15 kB", 60.0), ("some_6", "6 kB", 55.0)):
        made = [ledger.row("all", [70.0], "%"), ledger.row(f"{budget} a class: ours, 2 % of the images", [ours], "%")]
        ledger.write(name, made, provenance(torch.device("cpu")), 1.0, name)
    lines = ledger.by_budget("some").splitlines()
    assert [line for line in lines if line.startswith("| ")][1:] == [
        "| 3 kB a class | 50.0 |", "| 6 kB a class | 55.0 |", "| 15 kB a class | 60.0 |",
    ]  # fmt: skip
    assert [f"benchmarks.{name} {name}" in "".join(lines) for name in ("some", "some_15", "some_6")] == [True] * 3
    assert lines.count("All: 70.0 %.") == 1


def test_making_in_miniature(pictures: Path, results: Path) -> None:
    settings = DistillConfig(iterations=1, real_batch=4, embedder=EmbedderConfig(width=4))
    (row,) = making.main(pictures, 2, 4, 600, method=Auto(Distilled(settings)))
    (stored,) = json.loads((results / "making.json").read_text())
    assert (stored["value"], stored["unit"]) == (row["value"], "s")
    assert stored["name"].startswith("2 classes of 4 images, 600 bytes a class: ")


def test_soft_labels_in_miniature(pictures: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HELD_OUT": 2, "WIDTH": 4, "UPDATES": 2, "BATCH": 8, "ITERATIONS": 1, "SEEN": 1}.items():
        monkeypatch.setattr(labels, name, value)
    monkeypatch.setattr(labels, "SIZES", (2, 1))
    monkeypatch.setattr(labels, "CLOSER", 2)
    rows = labels.main(pictures, 600)
    assert len(json.loads((results / "labels.json").read_text())) == len(rows) == 2 * (1 + 2 + 2)
    few = labels.few_bits(torch.tensor([[0.81, 0.09, 0.1], [1.0, 0.0, 0.0]]), 2)  # thirds of 0.9, 0.3 and 0.32
    torch.testing.assert_close(few, torch.tensor([[9, 1, 1], [11, 0, 0]]) / 11)


def test_lengths_in_miniature(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NETWORKS": 1, "UPDATES": 1, "WIDTH": 4}.items():
        monkeypatch.setattr(length, name, value)
    rows = length.main(tmp_path, "digits", (3, 5), 2, cases=((1, 1, 4), (2, 1, 4)))
    assert len(json.loads((results / "length.json").read_text())) == len(rows) == 2 * 2
    assert {row["seeds"] for row in rows} == {"seeds 0 to 1"}


def test_layouts_in_miniature(results: Path) -> None:
    threads = torch.get_num_threads()
    rows = layout.main(1, 2, "layout")
    assert torch.get_num_threads() == threads
    assert len(json.loads((results / "layout.json").read_text())) == len(rows) == 6
    assert all(row["ratio"] == pytest.approx(row["baseline"] / row["value"]) for row in rows)


def test_formats_in_miniature(pictures: Path, results: Path) -> None:
    rows = formats.main(pictures, 4)
    assert len(json.loads((results / "formats.json").read_text())) == len(rows) == 2 * len(formats.QUALITIES)
    for coefficients, jpeg in zip(rows[::2], rows[1::2], strict=True):
        assert coefficients["ratio"] == pytest.approx(jpeg["value"] / coefficients["value"])
    assert [row["value"] for row in rows[1::2]] == sorted(row["value"] for row in rows[1::2])
