"""What the default memory costs to make: the first classes of CIFAR-10, on all cores.

    python -m benchmarks.making DATA [--classes 5] [--images 3000] [--budget 3000]

DATA is a CIFAR-10 image folder. Reading the images is not counted. Writes ``results/making.json``.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import ledger
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.methods.base import Method
from iid_cl.methods.memory import Memory
from iid_cl.records.provenance import provenance


def main(
    data: Path, classes: int = 5, images: int = 3000, budget: int = 3000, *, method: Method | str = "auto"
) -> list[dict[str, Any]]:
    """Measures and writes the ledger; a ``method`` of few iterations shrinks it for a test."""
    train = load_dataset(StreamConfig(dataset="image_folder"), data).train.by_class()
    some = {label: train[label][:images] for label in range(classes)}
    memory = Memory(method, class_bytes=budget, device="cpu")
    start = time.perf_counter()
    memory.update(
        torch.cat(list(some.values())),
        torch.cat([torch.full((len(part),), label) for label, part in some.items()]),
    )
    spent = time.perf_counter() - start
    of = f"{classes} classes of {images:,} images, {budget:,} bytes a class"
    rows = [ledger.row(f"{of}: {len(memory) // classes} images a class", [spent], "s")]
    arguments = f"DATA --classes {classes} --images {images} --budget {budget}"
    ledger.write("making", rows, provenance(torch.device("cpu")), spent, arguments)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--budget", type=int, default=3000)
    given = parser.parse_args()
    main(given.data, given.classes, given.images, given.budget)
