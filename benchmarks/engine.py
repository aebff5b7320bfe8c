"""The engine against a plain reference, in one process: the same loss and gradient first, then the speed of both.

    python -m benchmarks.engine [--width 128] [--rounds 3] [--device cpu]

CIFAR-10's shape (ten classes of made 32x32 colour images), 10 images a class, a real batch of 256, the default
objective (mean and covariance matching). Rounds of reference and engine alternate; rates are medians over rounds.
Writes ``results/engine.json`` (``engine_cuda.json`` on a GPU) and ``docs/images/benchmark-engine.png``.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import ledger, machine
from benchmarks.reference import PlainDraw, plain_network, reference_distill, reference_gradient
from iid_cl.compute.arithmetic import EAGER, Arithmetic, choose, measure
from iid_cl.compute.devices import resolve_device
from iid_cl.config.distill import CentralizationConfig, CovarianceConfig, DistillConfig, EmbedderConfig
from iid_cl.data.classes import Classes
from iid_cl.data.images import Normalization
from iid_cl.data.lens import Lens
from iid_cl.distill import distill
from iid_cl.distill.draws import Draw
from iid_cl.distill.matching import MeanMatching
from iid_cl.distill.sampling import ClassSampler
from iid_cl.distill.step import ImageStep
from iid_cl.distill.trained import train_networks
from iid_cl.nets import build_network
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

NORMALIZATION = Normalization((0.5,) * 3, (0.25,) * 3)
NAMES = ("color", "crop", "cutout", "flip", "scale", "rotate")
IPC = 10
SPEED_TARGETS = {"cpu": 3.5, "cuda": 20.0}
FLOOR_TARGETS = {"cuda": 0.3}
LESS_WORK: dict[str, dict[str, Any]] = {  # whose accuracy docs/performance.md tells; on a CPU only
    "real batch 128": {"real_batch": 128},
    "real batch 64": {"real_batch": 64},
    "real batch 64, float32": {"real_batch": 64, "precision": "float32"},
}


def made_images(classes: int = 10, count: int = 1000, side: int = 32) -> dict[int, Tensor]:
    """Smooth random colour images, uint8 (count, 3, side, side) of each class."""
    generator = make_generator(0)
    coarse = torch.rand(classes * count, 3, 8, 8, generator=generator)
    images = (torch.nn.functional.interpolate(coarse, size=side, mode="bilinear") * 255).to(torch.uint8)
    return dict(enumerate(images.unflatten(0, (classes, count))))


def deviations(
    images: dict[int, Tensor], config: DistillConfig, arithmetic: Arithmetic, device: torch.device
) -> tuple[float, float]:
    """Greatest relative difference of a class's loss, and that of the gradients' norm, engine against reference.

    Both get the same real images, augmentation and weights; class centralization takes part. Float32 is that, without
    the TF32 that cuDNN may use.
    """
    lens = Lens(NORMALIZATION, NAMES, device)
    sampler = ClassSampler(Classes(images), config.real_batch, lens, 0)
    rows, parameters = next(sampler.draws(1))
    pool = train_networks(Classes({label: group[:64] for label, group in images.items()}), config.cc, lens, 0)
    psi = build_network(config.embedder, sampler.shape, 1, make_generator(1), device).requires_grad_(False)
    plain = plain_network(3, config.embedder.width, config.embedder.blocks(*sampler.shape[1:])).to(device)
    plain.load_state_dict(dict(zip(plain.state_dict(), psi.state_dict().values(), strict=False)))
    synthetic = NORMALIZATION.apply(sampler.initial(IPC))
    real = [sampler.real(row) for row in rows]
    losses, expected = reference_gradient(synthetic, PlainDraw(real, parameters, plain, pool[0]), config, NORMALIZATION)
    step = ImageStep(config, sampler, lens, arithmetic, len(images))
    objective = MeanMatching(config.scale == "relative")
    terms = step.gradient(synthetic, Draw(rows, parameters, psi, None, objective, pool[0]))
    assert synthetic.grad is not None
    found = torch.stack(list(terms.values())).sum(0).tolist()
    loss = max(abs(a - b) / abs(b) for a, b in zip(found, losses, strict=True))
    return loss, float((synthetic.grad - expected).norm() / expected.norm())


Tick = tuple[int, float]  # an iteration, from 1, and when it had ended


def engine_ticks(images: dict[int, Tensor], config: DistillConfig, device: torch.device) -> list[Tick]:
    """When iterations of a distillation had ended: all of them, or those that are reported where there are many."""
    ticks: list[Tick] = []

    def on_step(iteration: int, losses: dict[str, float]) -> None:
        machine.synchronize(device)
        ticks.append((iteration, time.perf_counter()))

    distill(
        images, config, ipc=IPC, generator=make_generator(0), device=device, normalization=NORMALIZATION,
        augmentations=NAMES, on_step=on_step,
    )  # fmt: skip
    return ticks


def reference_ticks(images: dict[int, Tensor], config: DistillConfig, device: torch.device) -> Iterator[Tick]:
    """The same of the reference."""
    run = reference_distill(images, config, IPC, make_generator(0), NORMALIZATION, NAMES, device)
    for iteration, _ in enumerate(run, start=1):
        machine.synchronize(device)
        yield iteration, time.perf_counter()


def rate(ticks: list[Tick]) -> float:
    """Iterations per second after the first tick, which warms up; on a GPU a graph is recorded after that as well."""
    (first, start), (last, end) = ticks[min(2, len(ticks) - 2)], ticks[-1]
    return (last - first) / (end - start)


def main(
    width: int = 128,
    rounds: int = 3,
    device_name: str = "cpu",
    *,
    depth: int = 3,
    real_batch: int = 256,
    iterations: int = 9,
    classes: int = 10,
    count: int = 1000,
    compiling: bool = True,
    name: str | None = "engine",
) -> list[dict[str, Any]]:
    """Measures and writes the ledger; the arguments shrink it for a test, with ``name=None`` it writes nothing."""
    began = time.perf_counter()
    device = resolve_device(device_name)
    images = made_images(classes, count)
    network = {"width": width, "depth": depth}
    base = DistillConfig(iterations=iterations, real_batch=real_batch, embedder=EmbedderConfig(**network))
    eager = base.model_copy(update={"compile": False, "precision": "float32"})
    fast = base.model_copy(update={"compile": compiling})
    start = time.perf_counter()
    engine_ticks(images, fast.model_copy(update={"iterations": 2}), device)
    warm_up = time.perf_counter() - start
    cc = CentralizationConfig(weight=0.005, trainings=1, epochs=1, snapshots=1)
    compiled = choose("auto", compiling, device, 0, own=False)
    rows = []
    for scale, weight in (("relative", 0.3), ("published", 0.01)):
        checked = base.model_copy(update={"scale": scale, "cc": cc, "cm": CovarianceConfig(weight=weight)})
        for arithmetic, label, limit in ((EAGER, "eager float32", 5e-3), (compiled, "compiled", 0.1)):
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                loss, gradient = deviations(images, checked, arithmetic, device)
            label = f"{scale} scale, {label}"
            goal = {"target": limit, "better": "lower"}
            rows.append(ledger.row(f"loss against the reference's, {label}: relative difference", [loss], "", **goal))
            rows.append(ledger.row(f"gradient, {label}: relative difference", [gradient], "", **goal))

    rates: dict[str, list[float]] = {"reference": [], "engine, eager float32": [], "engine, compiled": []}
    for _ in range(rounds):
        rates["reference"].append(rate(list(reference_ticks(images, eager, device))))
        rates["engine, eager float32"].append(rate(engine_ticks(images, eager, device)))
        rates["engine, compiled"].append(rate(engine_ticks(images, fast, device)))
        for label, update in LESS_WORK.items() if device.type == "cpu" else ():
            ticks = engine_ticks(images, fast.model_copy(update=update), device)
            rates.setdefault(f"engine, compiled, {label}", []).append(rate(ticks))
    slow = median(rates["reference"])
    for label, values in rates.items():
        goal = {"target": SPEED_TARGETS[device.type], "better": "higher"} if label == "engine, compiled" else {}
        more = {} if label == "reference" else {"baseline": slow, "ratio": median(values) / slow, **goal}
        rows.append({**ledger.row(label, values, "it/s", **more), "value": median(values)})
    rows.append(ledger.row("data, two iterations and compiling, before all else", [warm_up], "s"))
    rows += _floor(median(rates["engine, compiled"]), fast, images, device)
    rows.append(ledger.row("peak memory, reference and engine", [machine.peak_memory(device)], "GiB"))
    if name is not None:
        arguments = f"--width {width} --rounds {rounds} --device {device.type}"
        file = name if device.type == "cpu" else f"{name}_{device.type}"
        ledger.write(file, rows, provenance(device), time.perf_counter() - began, arguments, module="engine")
        save_figure(ledger.ROOT / "docs" / "images" / f"benchmark-{file}.png", rows, device)
    return rows


def _floor(rate: float, config: DistillConfig, images: dict[int, Tensor], device: torch.device) -> list[dict[str, Any]]:
    """The compiled engine's operations and bytes per second, as shares of what the machine was measured to reach."""
    shape = (3, 32, 32)
    network = build_network(config.embedder, shape, 1, make_generator(0), device)
    # a backward pass costs two forward passes
    passes = len(images) * (config.real_batch + 3 * IPC)
    size = 2048 if device.type == "cpu" else 8192
    ceiling = max(machine.matmul_rate(device, dtype, size) for dtype in (torch.float32, torch.bfloat16))
    memory = machine.bandwidth(device, 512 if device.type == "cpu" else 4096)
    flops = passes * measure(network, shape, device).flops
    traffic = passes * machine.convnet_traffic(config.embedder, shape, 2)
    floor = max(flops / ceiling, traffic / memory)
    goal = {"target": FLOOR_TARGETS[device.type], "better": "higher"} if device.type in FLOOR_TARGETS else {}
    return [
        ledger.row("measured ceiling, matrix product", [ceiling / 1e9], "GFLOP/s"),
        ledger.row("measured ceiling, copy", [memory / 1e9], "GB/s"),
        ledger.row("engine, compiled: operations", [rate * flops / 1e9], "GFLOP/s"),
        ledger.row("engine, compiled: share of the operations' ceiling", [rate * flops / ceiling], ""),
        ledger.row("engine, compiled: share of the floor (operations or bytes)", [rate * floor], "", **goal),
    ]


def save_figure(path: Path, rows: list[dict[str, Any]], device: torch.device) -> None:
    """Bars of iterations per second with their spread over rounds, the same arithmetic only."""
    from matplotlib.figure import Figure

    labels = ["reference", "engine, eager float32", "engine, compiled"]
    shown = [next(row for row in rows if row["name"] == label) for label in labels]
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(
        labels, [row["value"] for row in shown], xerr=[row.get("std", 0.0) for row in shown],
        color=["#9aa0a6", "#7aa6c2", "#1f6f9f"],
    )  # fmt: skip
    axes.bar_label(drawn, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"iterations per second on {'two CPU cores' if device.type == 'cpu' else 'a GPU'}")
    axes.set_title("CIFAR-10 shape, 10 images a class, real batch 256", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    missed = ledger.missed(main(given.width, given.rounds, given.device))
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
