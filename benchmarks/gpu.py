"""Everything that needs a GPU, in one go: the engine's speed and CIFAR-10 with the published settings.

    python -m benchmarks.gpu DATA [--iterations 20000]

DATA is a CIFAR-10 image folder with train/ and test/. Without a CUDA device it prints ``not measured`` and
writes nothing. Tests that need a GPU run with ``python -m pytest -m gpu``.
"""

import argparse
import time
from pathlib import Path

import torch

from benchmarks import cifar10_distill, ledger
from iid_cl.config import DistillConfig
from iid_cl.data.images import Normalization
from iid_cl.devices import resolve_device
from iid_cl.distill import distill
from iid_cl.runs.provenance import provenance
from iid_cl.seeding import make_generator

PUBLISHED = (
    "distill.scale=published",
    "distill.lr=1",
    "distill.lr_schedule=constant",
    "distill.real_batch=256",
    "distill.embedder.width=128",
    "evaluate.network.width=128",
    "evaluate.epochs=1000",
    "evaluate.networks=1",
)


def engine_rate(device: torch.device, iterations: int, config: DistillConfig) -> float:
    """Iterations per second on ten classes of 1,000 made 32x32 colour images, IPC 10, after a warm-up."""
    images = torch.randint(256, (10, 1000, 3, 32, 32), dtype=torch.uint8, generator=make_generator(0))
    by_class = dict(enumerate(images))

    def seconds(count: int) -> float:
        start = time.perf_counter()
        distill(
            by_class,
            config.model_copy(update={"iterations": count}),
            ipc=10,
            generator=make_generator(0),
            device=device,
            normalization=Normalization((0.5,) * 3, (0.25,) * 3),
            augmentations=("color", "crop", "cutout", "flip", "scale", "rotate"),
        )
        return time.perf_counter() - start

    seconds(max(1, iterations // 10))
    return iterations / seconds(iterations)


def main(data: Path, iterations: int) -> None:
    """Measures, or says that nothing could be measured."""
    if not torch.cuda.is_available():
        print("not measured: no CUDA device")
        return
    device = resolve_device("cuda")
    start = time.perf_counter()
    rate = engine_rate(device, 200, DistillConfig())
    rows = [ledger.row("engine, CIFAR-10 shape, IPC 10, real batch 256, width 128", [rate], "it/s")]
    published = (*PUBLISHED, f"distill.iterations={iterations}", "device=cuda")
    for one in cifar10_distill.main(data, 3, published, name=None):
        goal = {"target": 48.9} if "target" in one else {}  # published for DM; JPEG loss not allowed for
        rows.append({**one, **goal, "name": f"published settings, {iterations:,} iterations, {one['name']}"})
    ledger.write("gpu", rows, provenance(device), time.perf_counter() - start, f"DATA --iterations {iterations}")
    print("\n".join(ledger.missed(rows)) or "all targets reached")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--iterations", type=int, default=20_000)
    arguments = parser.parse_args()
    main(arguments.data, arguments.iterations)
