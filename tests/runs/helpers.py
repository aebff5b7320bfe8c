"""A run of a second, shared by the tests of runs and comparisons."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iid_cl.config.experiment import Config
from iid_cl.config.reading import parse_config

CLASSES = [[3, 1], [0, 7]]
BYTES_PER_IMAGE = 8 * 8 + 2  # one grey channel, and a 16-bit label


def miniature(**changes: Any) -> Config:
    """A run of a second on four digits; ``changes`` are sections or keys, merged in."""
    values: dict[str, Any] = {
        "name": "mini",
        "stream": {"dataset": "digits", "classes": CLASSES},
        "model": {"width": 8, "depth": 2},
        "train": {"epochs": 2, "memory_epochs": 2, "batch_size": 64},
        "memory": {"method": "distilled", "ipc": 1},
        "distill": {
            "iterations": 3,
            "real_batch": 8,
            "embedder": {"width": 8, "depth": 2},
            "cc": {"weight": 0, "network": {"width": 8, "depth": 2}, "trainings": 1, "epochs": 1, "snapshots": 1},
            "cm": {"weight": 0},
        },
        "device": "cpu",
    }
    for key, change in changes.items():
        values[key] = {**values.get(key, {}), **change} if isinstance(change, dict) else change
    return parse_config(values, "miniature")


def image_folder(root: Path, seed: int = 0) -> Path:
    """Two classes of four images of 8x8 pixels in each part."""
    draws = np.random.default_rng(seed)
    for part, name, number in itertools.product(("train", "test"), "ab", range(4)):
        (root / part / name).mkdir(parents=True, exist_ok=True)
        pixels = draws.integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


@pytest.fixture(autouse=True, scope="package")
def quick_reports() -> Iterator[None]:
    """Runs and comparisons name a report without making it, which takes seconds; test_reports.py makes them."""

    def name(directories: Sequence[Path]) -> Path:
        return directories[0] / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        for module in ("runs.run", "compare.compare"):
            patch.setattr(f"iid_cl.{module}.report", name)
        yield
