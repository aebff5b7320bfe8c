"""The published class-incremental protocol on Tiny ImageNet's first 100 classes: distilled against real images.

    python -m benchmarks.protocol --data ROOT [--steps 5 10] [--orders 5] [--iterations 500] [--epochs 300]
        [--minutes 10] [--device cuda] [--set KEY=VALUE ...]

ROOT holds tiny-imagenet-200. The configurations are the shipped ``gdumb_tiny_imagenet_Nstep``: 20 images per class,
each step's classes condensed without any other data, the class orders of seeds 0, 1, ..., and three fresh networks
trained on the memory alone. Their accuracy after the last step depends on the last memory and on nothing before it, so
networks are trained after that step only. Iterations and epochs are smaller than published. After each class order the
rows so far are written to ``results/protocol_Nstep.json`` (``..._cpu.json`` on a CPU); an order that would take longer
than what is left of the minutes is not begun. Without a CUDA device it prints ``not measured``, unless ``--device cpu``
asks for it.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import torch
from iid_cl.strategies import MemoryBuffer

from benchmarks import ledger
from benchmarks.quality import interval
from iid_cl.config import Config
from iid_cl.config_files import load_config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import class_order, make_benchmark
from iid_cl.devices import resolve_device
from iid_cl.evaluate.scratch import judge
from iid_cl.runs.condense import make_buffer
from iid_cl.runs.provenance import provenance

METHODS = {
    "random": ("memory.method=random",),
    "herding": ("memory.method=herding",),
    "distilled": ("memory.method=distilled",),
    "half-size herding": ("memory.method=herding", "memory.downscale=2"),
    "random JPEG": ("memory.method=random", "memory.jpeg=25"),
}
GAINS = {
    "herding": 8.0,
    "random": 12.0,
    "half-size herding": None,
    "random JPEG": None,
}  # points that distilled is to win by

Found = dict[str, list[list[float]]]  # per method: for each class order, the accuracies of its networks in percent


def last_memory(config: Config, dataset: ImageDataset, device: torch.device) -> MemoryBuffer:
    """The memory after the last experience, as a run in memory_only mode fills it."""
    buffer = make_buffer(config, config.memory.method, dataset, own_features=True)
    order = class_order(config.stream, len(dataset.class_names), config.seed)
    for experience in make_benchmark(dataset, order).train_stream:
        buffer.post_adapt(SimpleNamespace(device=device), experience)
    return buffer


def final_accuracies(memory: MemoryBuffer, config: Config, dataset: ImageDataset, device: torch.device) -> list[float]:
    """Accuracies in percent over all classes, one per network trained on the memory alone."""
    assert memory.exemplars is not None  # the stream has experiences
    (judgement,) = judge(
        memory.exemplars,
        dataset.test,
        config.evaluate,
        normalization=dataset.normalization,
        augmentations=dataset.augmentations,
        seed=config.seed,
        device=device,
    )
    return [100 * value for value in judgement.accuracies]


def rows_of(found: Found, nbytes: dict[str, int], networks: int) -> list[dict[str, Any]]:
    """A row per method over all orders and networks, and distilled against each, paired by class order."""
    orders = len(found["distilled"])
    which = f"class orders of seeds 0 to {orders - 1}" if orders > 1 else "class order of seed 0"
    seeds = f"{which}, {networks} networks each"
    rows = []
    for method, accuracies in found.items():
        values = [value for order in accuracies for value in order]
        rows.append(ledger.row(f"{method}: final accuracy, {nbytes[method]:,} bytes", values, "%", seeds=seeds))
    for rival, target in GAINS.items():
        if rival in found:
            gain = [mean(a) - mean(b) for a, b in zip(found["distilled"], found[rival], strict=True)]
            goal = {} if target is None else {"target": target, "better": "higher"}
            rows.append(ledger.row(f"distilled minus {rival}", gain, "%", seeds=seeds, **interval(gain), **goal))
    return rows


def main(
    data: Path | None,
    *,
    steps: Sequence[int] = (5, 10),
    orders: int = 5,
    iterations: int = 500,
    epochs: int = 300,
    minutes: float = 10.0,
    device_name: str = "cuda",
    overrides: Sequence[str] = (),
    name: str | None = "protocol",
) -> dict[int, list[dict[str, Any]]]:
    """The rows of each number of steps; written after each class order unless ``name`` is None."""
    if device_name == "cuda" and not torch.cuda.is_available():
        print("the protocol on Tiny ImageNet: not measured, no CUDA device")
        return {}
    began = time.perf_counter()
    device = resolve_device(device_name)
    keys = [f"distill.iterations={iterations}", f"evaluate.epochs={epochs}", *overrides]
    dataset = load_dataset(load_config(_name(steps[0]), keys).stream, data)
    found: dict[int, Found] = {count: {method: [] for method in METHODS} for count in steps}
    rows: dict[int, list[dict[str, Any]]] = {}
    loaded = time.perf_counter()
    for seed in range(orders):
        spent = time.perf_counter() - loaded
        if seed and time.perf_counter() - began + spent / seed > 60 * minutes:
            print(f"class order {seed} is left out: it would not fit into {minutes:g} minutes")
            break
        for count in steps:
            nbytes = {}
            for method, method_keys in METHODS.items():
                start = time.perf_counter()
                config = load_config(_name(count), [*keys, *method_keys, f"seed={seed}"])
                memory = last_memory(config, dataset, device)
                accuracies = final_accuracies(memory, config, dataset, device)
                found[count][method].append(accuracies)
                nbytes[method] = memory.nbytes
                seconds = time.perf_counter() - start
                shown = " ".join(f"{value:.1f}" for value in accuracies)
                print(f"{count} steps, order {seed}, {method}: {shown} %, {seconds:.0f} s", flush=True)
            rows[count] = rows_of(found[count], nbytes, config.evaluate.networks)
            if name is not None:
                given = f"--data DATA --steps {count} --orders {seed + 1} --iterations {iterations} --epochs {epochs}"
                given += "".join(f" --set {text}" for text in overrides)
                given += " --device cpu" if device.type == "cpu" else ""
                file = f"{name}_{count}step" + ("_cpu" if device.type == "cpu" else "")
                ledger.write(
                    file, rows[count], provenance(device), time.perf_counter() - began, given, module="protocol"
                )
    return rows


def _name(steps: int) -> str:
    return f"gdumb_tiny_imagenet_{steps}step.yaml"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", choices=(5, 10), default=[5, 10])
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    measured = main(
        arguments.data,
        steps=arguments.steps,
        orders=arguments.orders,
        iterations=arguments.iterations,
        epochs=arguments.epochs,
        minutes=arguments.minutes,
        device_name=arguments.device,
        overrides=arguments.set,
    )
    missed = [line for rows in measured.values() for line in ledger.missed(rows)]
    if measured:
        print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
