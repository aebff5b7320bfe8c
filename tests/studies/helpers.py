"""Studies of a second, and what is read of them."""

import copy
import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iid_cl.config.reading import parse_section, with_overrides
from iid_cl.config.study import StudyConfig

SMALL = {"width": 4, "depth": 1}
BASE: dict[str, Any] = {
    "stream": {"dataset": "digits"},
    "memory": {"method": "random", "ipc": 2},
    "distill": {
        "iterations": 2,
        "real_batch": 8,
        "embedder": {**SMALL},
        "cc": {"weight": 0, "epochs": 1, "network": {**SMALL}},
        "cm": {"weight": 0},
    },
    "evaluate": {"network": {**SMALL}, "epochs": 3, "networks": 2, "batch_size": 16},
    "device": "cpu",
}
FILES = {"begun.json", "cells", "log.txt", "report.html", ".lock", "study.csv", "study.json", "study.png", "study.yaml"}
TWO = [{"name": "random"}, {"name": "distilled", "set": {"memory.method": "distilled", "memory.ipc": 1}}]


def values_of(dotted: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """A study's plain values; ``dotted`` keys of the base are set."""
    whole = {
        "name": "mini",
        "title": "A study",
        "base": with_overrides(BASE, (dotted or {}).items()),
        "variants": TWO,
        "seeds": 1,
    }
    return copy.deepcopy({**whole, **keys})


def study(dotted: dict[str, Any] | None = None, **keys: Any) -> StudyConfig:
    return parse_section(StudyConfig, values_of(dotted, **keys), "test")


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pixels(path: Path) -> np.ndarray:
    """A PNG's pixels, (height, width, 3)."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def drawn(path: Path) -> np.ndarray:
    """The pixels of a figure, which is of a sensible size and neither blank nor all dark."""
    found = pixels(path)
    assert 300 <= found.shape[0] <= 2000
    assert 400 <= found.shape[1] <= 6000
    white = float((found == 255).all(axis=2).mean())
    assert 0.2 < white < 0.995
    return found


def shows(found: np.ndarray, colour: str) -> bool:
    """Whether this colour, #rrggbb, is in the picture."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((found == np.array(wanted)).all(axis=2).any())
