"""Bytes of an image at equal error: JPEG of several qualities, and coefficients at the step with the same error.

    python -m benchmarks.formats DATA [--images 300]

DATA is an image folder with train/ and test/. The first training images of each class are coded together, as a memory
codes them; ends, labels and tables are counted, JPEG's header is not. Writes ``results/formats.json``.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import ledger
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.memory.dct import CodedClass
from iid_cl.memory.dct_format import exact, pictures, quantise
from iid_cl.memory.jpeg import decode, encode, header_length
from iid_cl.records.provenance import provenance

QUALITIES = (5, 10, 25, 50)
BOOKKEEPING = 4 + 2  # of a JPEG image: where it ends, and its label
HALVINGS = 12


def main(data: Path, images: int = 300, *, name: str | None = "formats") -> list[dict[str, Any]]:
    """Measures and writes the ledger; with ``name=None`` it writes nothing."""
    began = time.perf_counter()
    classes = load_dataset(StreamConfig(dataset="image_folder", train_limit=images), data).train.by_class()
    rows = []
    for quality in QUALITIES:
        files = {label: encode(members, quality) for label, members in classes.items()}
        shape = next(iter(classes.values()))[0].shape
        size = (shape[0], shape[1], shape[2])
        read = {label: torch.stack([decode(file, size) for file in members]) for label, members in files.items()}
        error = _error(classes, read)
        count = sum(map(len, files.values()))
        jpeg = sum(len(file) - header_length(file) for members in files.values() for file in members) / count
        coded, step = _at_error(classes, error)
        figure = f"coefficients with the error of JPEG of quality {quality} (step {step:.0f})"
        before, after = jpeg + BOOKKEEPING, coded / count
        rows.append(ledger.row(figure, [after], "bytes an image", baseline=before, ratio=before / after,
                               error=error**0.5))  # fmt: skip
        rows.append(ledger.row(f"JPEG of quality {quality}", [before], "bytes an image"))
    if name is not None:
        arguments = f"DATA --images {images}"
        ledger.write(name, rows, provenance(torch.device("cpu")), time.perf_counter() - began, arguments)
    return rows


def _at_error(classes: dict[int, Tensor], error: float) -> tuple[int, float]:
    """Bytes of all classes at the step whose mean squared error is that, and the step."""
    coefficients = {label: exact(members) for label, members in classes.items()}
    size = next(iter(classes.values())).shape[2:]
    finest, coarsest = 1.0, 1000.0
    for _ in range(HALVINGS):
        step = (finest * coarsest) ** 0.5
        steps = {label: quantise(values, step) for label, values in coefficients.items()}
        read = {label: pictures(values, step, (size[0], size[1])) for label, values in steps.items()}
        finest, coarsest = (step, coarsest) if _error(classes, read) <= error else (finest, step)
    return sum(CodedClass.of(quantise(values, finest), finest).nbytes for values in coefficients.values()), finest


def _error(classes: dict[int, Tensor], read: dict[int, Tensor]) -> float:
    """Mean squared error in grey levels."""
    errors = [(read[label].double() - members.double()).square().mean() for label, members in classes.items()]
    return float(torch.stack(errors).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=300)
    given = parser.parse_args()
    for row in main(given.data, given.images):
        print(
            f"{row['name']}: {row['value']:.1f} {row['unit']}"
            + (f", ratio {row['ratio']:.2f}" if "ratio" in row else "")
        )
