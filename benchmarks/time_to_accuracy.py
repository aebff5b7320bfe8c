"""How much sooner the engine reaches what the plain reference reaches after 300 iterations, on CIFAR-10.

    python -m benchmarks.time_to_accuracy DATA [--seeds 2] [--width 128] [--device cpu]

DATA is a CIFAR-10 image folder with train/ and test/. The reference draws 256 real images per class; the engine runs
with settings that the study ``less_work`` chose on held-out training images, compiling included. Both memories train
the same fresh networks. Writes ``results/time_to_accuracy.json``.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks import ledger, machine
from benchmarks.quality import interval
from benchmarks.reference import reference_distill
from iid_cl.compute.devices import resolve_device
from iid_cl.config.distill import DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.config.experiment import EvaluateConfig, StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset
from iid_cl.distill import distill
from iid_cl.evaluate.protocol import judge
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

IPC = 10
SOONER = 8.0
LEAST = 0.0  # points that the engine's accuracy may be off the reference's: none below


def judged(
    memory: ExemplarSet, dataset: ImageDataset, epochs: int, width: int, seed: int, device: torch.device
) -> float:
    """Test accuracy in percent of a fresh network trained on the memory."""
    config = EvaluateConfig(network=NetworkConfig(width=width), epochs=epochs, batch_size=64, networks=1)
    (judgement,) = judge(
        memory, dataset.test, config, normalization=dataset.normalization, augmentations=dataset.augmentations,
        seed=seed, device=device,
    )  # fmt: skip
    return 100 * judgement.mean


def main(
    data: Path,
    seeds: int = 2,
    width: int = 128,
    device_name: str = "cpu",
    *,
    iterations: int = 300,
    engine_iterations: int = 300,
    real_batch: int = 256,
    engine_batch: int = 128,
    epochs: int = 150,
    compiling: bool = True,
    name: str | None = "time_to_accuracy",
) -> list[dict[str, Any]]:
    """Measures and writes the ledger; the arguments shrink it for a test, with ``name=None`` it writes nothing."""
    began = time.perf_counter()
    device = resolve_device(device_name)
    dataset = load_dataset(StreamConfig(dataset="image_folder"), data)
    images = dataset.train.by_class()
    plain = DistillConfig(iterations=iterations, real_batch=real_batch, embedder=EmbedderConfig(width=width))
    fast = plain.model_copy(update={"iterations": engine_iterations, "real_batch": engine_batch})
    rows: list[dict[str, Any]] = []
    taken: dict[str, list[float]] = {"reference": [], "engine": []}
    accuracy: dict[str, list[float]] = {"reference": [], "engine": []}
    for seed in range(seeds):
        start = time.perf_counter()
        for synthetic in reference_distill(  # noqa: B007 - the last one is wanted
            images, plain, IPC, make_generator(seed), dataset.normalization, dataset.augmentations, device
        ):
            machine.synchronize(device)
        taken["reference"].append(time.perf_counter() - start)
        stored = dataset.normalization.invert(synthetic).cpu()
        memories = {"reference": ExemplarSet.from_classes(dict(enumerate(stored)))}
        start = time.perf_counter()
        memories["engine"] = distill(
            images, fast, ipc=IPC, generator=make_generator(seed), device=device,
            normalization=dataset.normalization, augmentations=dataset.augmentations, compile=compiling,
        )  # fmt: skip
        taken["engine"].append(time.perf_counter() - start)
        for label, memory in memories.items():
            accuracy[label].append(judged(memory, dataset, epochs, width, seed, device))
            print(f"seed {seed}, {label}: {taken[label][-1]:.0f} s, {accuracy[label][-1]:.1f} %", flush=True)
        rows = _rows(taken, accuracy, (iterations, real_batch), (engine_iterations, engine_batch))
        if name is not None:  # after each seed: a reference takes its time
            arguments = f"DATA --seeds {seed + 1} --width {width} --device {device.type}"
            file = name if device.type == "cpu" else f"{name}_{device.type}"
            spent = time.perf_counter() - began
            ledger.write(file, rows, provenance(device), spent, arguments, module="time_to_accuracy")
    return rows


def _rows(
    taken: dict[str, list[float]], accuracy: dict[str, list[float]], plain: tuple[int, int], fast: tuple[int, int]
) -> list[dict[str, Any]]:
    """Seconds and accuracies of each seed; ``plain`` and ``fast`` are iterations and real batch."""
    seeds = f"seeds 0 to {len(taken['engine']) - 1}"
    gain = [a - b for a, b in zip(accuracy["engine"], accuracy["reference"], strict=True)]
    ratio = sum(taken["reference"]) / sum(taken["engine"])
    goal = {"baseline": mean(taken["reference"]), "ratio": ratio, "target": SOONER, "better": "higher"}
    label = "{}: {} iterations, real batch {}"
    return [
        ledger.row(label.format("reference", *plain), taken["reference"], "s", seeds=seeds),
        ledger.row(label.format("engine", *fast) + ", compiling included", taken["engine"], "s", seeds=seeds, **goal),
        ledger.row("reference: accuracy", accuracy["reference"], "%", seeds=seeds),
        ledger.row("engine: accuracy", accuracy["engine"], "%", seeds=seeds),
        ledger.row("engine minus reference", gain, "%", seeds=seeds, target=LEAST, better="higher", **interval(gain)),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    missed = ledger.missed(main(given.data, given.seeds, given.width, given.device))
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
