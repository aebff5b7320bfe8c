"""Run directories that no run has made, with numbers to reckon with by hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from iid_cl.budget import Budget
from iid_cl.config.experiment import Config
from iid_cl.config.grid import cell_name
from iid_cl.config.reading import dump_config
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import save_memory
from iid_cl.records.recording import Features, Recording, moments
from iid_cl.records.result import Result
from iid_cl.studies.rows import Row
from tests.runs.helpers import CLASSES, miniature

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven"]
SIZES = [100, 300]  # test images of an experience
IMAGE = 8 * 8 + 2  # bytes
PROVENANCE = {
    "command": "iid-cl run mini.yaml --seed 0",
    "commit": "0123456789ab",
    "versions": {"python": "3.11.0", "torch": "2.11.0"},
    "machine": "a machine, 1 threads",
    "device": "cpu",
}


def result(method: str, last: Sequence[float], seed: int = 0, **changes: Any) -> Result:
    """Of two experiences; ``last`` are the accuracies on both after the second one, the first one began at 0.9."""
    final = (SIZES[0] * last[0] + SIZES[1] * last[1]) / sum(SIZES)
    values: dict[str, Any] = {
        "method": method,
        "mode": "replay",
        "seed": seed,
        "class_order": CLASSES,
        "matrix": [[0.9], list(last)],
        "final_accuracy": final,
        "average_accuracy": (0.9 + final) / 2,
        "forgetting": 0.9 - last[0],
        "memory_images": 4,
        "memory_bytes": 4 * IMAGE,
        "condense_seconds": 2.5,
        "train_seconds": 61.0,
        "total_seconds": 64.0,
        "class_accuracies": [{3: 0.9, 1: 0.9}, {3: last[0], 1: last[0], 0: last[1], 7: last[1]}],
        "test_sizes": SIZES,
    }
    return Result(**{**values, **changes})


def bound(method: str, last: Sequence[float], seed: int = 0) -> Result:
    """A method without a memory."""
    return result(method, last, seed, memory_images=0, memory_bytes=0, condense_seconds=0.0)


RESULTS = [result("distilled", (0.6, 0.8)), result("herding", (0.55, 0.75)), bound("none", (0.0, 1.0))]


def images(count: int, seed: int, shape: Sequence[int] = (1, 8, 8)) -> torch.Tensor:
    """Noise."""
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def recorded(
    names: Sequence[str], order: Sequence[Sequence[int]], ipc: int, iterations: int, shape: Sequence[int] = (1, 8, 8)
) -> tuple[Recording, ExemplarSet]:
    """A recording of made-up distillations, and the memory that they end in."""
    recording = Recording(names)
    memory: ExemplarSet | None = None
    for experience, classes in enumerate(order):
        recording.begin("distilled", experience)
        for moment in sorted(moments(iterations)):
            part = ExemplarSet.from_classes({c: images(ipc, 1000 * c + moment, shape) for c in classes})
            recording.on_snapshot(moment, part)
        for iteration in range(1, iterations + 1):
            recording.on_step(iteration, {"match": 1 / iteration, "cm": 2 / iteration})
        memory = part if memory is None else memory.merge(part)
        recording.keep(memory)
    assert memory is not None
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor(memory.classes[:10]).repeat(8)
    recording.features["distilled"] = Features(
        torch.randn(len(labels), 5, generator=generator) + labels[:, None], labels, torch.arange(len(labels)) % 4 == 0
    )
    return recording, memory


def make_run(
    path: Path,
    results: Sequence[Result] = tuple(RESULTS),
    *,
    config: Config | None = None,
    names: Sequence[str] = tuple(NAMES),
    record: bool = True,
    provenance: Mapping[str, Any] = PROVENANCE,
) -> Path:
    """A finished run of the distilled memory, with or without a recording."""
    path.mkdir(parents=True)
    config = config if config is not None else miniature(baselines=["herding", "none"], seed=results[0].seed)
    (path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    summary = {**provenance, "results": [asdict(one) for one in results]}
    (path / "run.json").write_text(json.dumps(summary), encoding="utf-8")
    recording, memory = recorded(names, CLASSES, 1, 20)
    save_memory(path / "memory.safetensors", memory)
    herded = ExemplarSet.from_classes({c: images(1, c) for c in memory.classes})
    save_memory(path / "memory-herding.safetensors", herded)
    if record:
        recording.write(path)
    return path


def make_comparison(path: Path, seeds: int = 2) -> Path:
    """A finished comparison: two memories at two budgets, and a bound."""
    (path / "cells").mkdir(parents=True)
    (path / "config.yaml").write_text(dump_config(miniature()), encoding="utf-8")
    cells = []
    for seed in range(seeds):
        for ipc in (1, 5):
            for label, last in (("distilled", (0.5, 0.7 + 0.02 * ipc)), ("herding", (0.5, 0.7))):
                found = result(label, last, seed, memory_bytes=4 * ipc * IMAGE)
                cells.append({"label": label, "mode": "replay", "budget": {"ipc": ipc}, "seed": seed, "result": found})
                name = cell_name(label, "replay", Budget(ipc=ipc), seed)
                recording, memory = recorded(NAMES, CLASSES, ipc, 20)
                save_memory(path / "cells" / f"{name}.safetensors", memory)
                if label == "distilled" and seed == 0:
                    recording.write(path / "cells", f"{name}.")
        cells.append(
            {"label": "none", "mode": None, "budget": None, "seed": seed, "result": bound("none", (0.0, 1.0), seed)}
        )
    told = {**PROVENANCE, "baseline": "herding", "summary": []}
    told["cells"] = [{**cell, "result": asdict(cell["result"])} for cell in cells]
    (path / "results.json").write_text(json.dumps(told), encoding="utf-8")
    return path


def make_study(path: Path) -> Path:
    """A finished study of two variants and two seeds, each judged by one network; 40, 60, 70 and 90 %."""
    path.mkdir(parents=True)
    accuracies = {"plain": (0.4, 0.6), "with CM": (0.7, 0.9)}
    rows = [
        asdict(Row(variant, None, seed, "convnet", 1, accuracy, 4, 4 * IMAGE, 2.0, 3.0))
        for variant, pair in accuracies.items()
        for seed, accuracy in enumerate(pair)
    ]
    variants = [{"name": "plain", "set": {"distill.cm.weight": 0}}, {"name": "with CM", "set": {}}]
    study = {"name": "parts", "title": "What CM adds", "base": {"stream": {"dataset": "digits"}}, "variants": variants}
    summary = {"study": {**study, "seeds": 2}, **PROVENANCE, "rows": rows}
    (path / "study.json").write_text(json.dumps(summary), encoding="utf-8")
    Image.new("RGB", (40, 30), "white").save(path / "study.png")
    return path
