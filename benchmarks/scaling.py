"""What an iteration costs as classes, images per class and image size grow, and how much memory it takes.

    python -m benchmarks.scaling [--device cpu]

Made images, mean and covariance matching, compiled, a real batch of 64, ConvNet of width 64. Each case runs in a
process of its own, so that its peak memory is its own. On a GPU up to 1,000 classes and 224 pixels. Writes
``results/scaling.json`` and a figure.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import ledger, machine
from benchmarks.engine import NAMES, NORMALIZATION, made_images
from iid_cl.compute.devices import resolve_device
from iid_cl.config.distill import DistillConfig, EmbedderConfig
from iid_cl.distill import distill
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

GROWTH_TARGET = 1.3  # seconds per class at 200 classes over those at 10


@dataclass(frozen=True)
class Case:
    """A size; what is not said is as in the first one."""

    classes: int = 10
    ipc: int = 10
    side: int = 32

    @property
    def label(self) -> str:
        """In words."""
        return f"{self.classes} classes, {self.ipc} images each, {self.side}x{self.side}"


CASES = [
    *(Case(classes=classes) for classes in (10, 50, 100, 200)),
    *(Case(ipc=ipc) for ipc in (1, 50)),
    Case(side=64),
    Case(classes=200, side=64),
]
LARGE = [Case(classes=1000), Case(side=224)]


def cases_of(device: torch.device) -> list[Case]:
    """The sizes to measure on a device."""
    return [*CASES, *(LARGE if device.type == "cuda" else [])]


def measure_case(
    case: Case, device_name: str, *, iterations: int = 7, width: int = 64, compiling: bool = True
) -> dict[str, float]:
    """Median seconds per iteration after the first two, and peak GiB, in this process."""
    device = resolve_device(device_name)
    ticks: list[float] = []

    def on_step(iteration: int, losses: dict[str, float]) -> None:
        machine.synchronize(device)
        ticks.append(time.perf_counter())

    config = DistillConfig(iterations=iterations, real_batch=64, embedder=EmbedderConfig(width=width))
    distill(
        made_images(case.classes, 200, case.side), config, ipc=case.ipc, generator=make_generator(0), device=device,
        normalization=NORMALIZATION, augmentations=NAMES, on_step=on_step, compile=compiling,
    )  # fmt: skip
    steps = [after - before for before, after in pairwise(ticks[1:])]
    return {"seconds": median(steps), "gib": machine.peak_memory(device)}


def _in_own_process(case: Case, device_name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scaling", "--device", device_name, "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, cwd=ledger.ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(device_name: str = "cpu") -> list[dict[str, Any]]:
    """Measures every case and writes the ledger and the figure."""
    start = time.perf_counter()
    device = resolve_device(device_name)
    found = {case: _in_own_process(case, device_name) for case in cases_of(device)}
    rows = []
    for case, figures in found.items():
        per_class = 1000 * figures["seconds"] / case.classes
        more: dict[str, Any] = {}
        if case == Case(classes=200):
            baseline = 1000 * found[Case()]["seconds"] / 10
            more = {"baseline": baseline, "ratio": per_class / baseline, "target": GROWTH_TARGET, "better": "lower"}
        rows.append(ledger.row(f"{case.label}: per iteration and class", [per_class], "ms", **more))
        rows.append(ledger.row(f"{case.label}: peak memory", [figures["gib"]], "GiB"))
    file = "scaling" if device.type == "cpu" else f"scaling_{device.type}"
    ledger.write(
        file, rows, provenance(device), time.perf_counter() - start, f"--device {device.type}", module="scaling"
    )
    save_figure(ledger.ROOT / "docs" / "images" / f"benchmark-{file}.png", found)
    return rows


def save_figure(path: Path, found: dict[Case, dict[str, float]]) -> None:
    """Seconds per iteration over the number of classes, with the line of constant cost per class."""
    from matplotlib.figure import Figure

    grown = {case.classes: figures["seconds"] for case, figures in found.items() if (case.ipc, case.side) == (10, 32)}
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(list(grown), list(grown.values()), "o-", color="#1f6f9f", label="measured")
    first = grown[10] / 10
    axes.plot(
        list(grown), [first * classes for classes in grown], "--", color="#9aa0a6", label="ten classes' cost each"
    )
    axes.set_xlabel("classes (10 images each, 32x32, real batch 64)")
    axes.set_ylabel("seconds per iteration")
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", help="one case as JSON; prints its figures")
    given = parser.parse_args()
    if given.case:
        print(json.dumps(measure_case(Case(**json.loads(given.case)), given.device)))
        sys.exit()
    missed = ledger.missed(main(given.device))
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
