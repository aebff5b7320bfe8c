"""Memories of whole data sets, made and judged in a second."""

import io
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from iid_cl.config.experiment import Config
from iid_cl.config.reading import parse_config
from iid_cl.evaluate.protocol import Judgement
from iid_cl.runs.condense import condense_dataset
from iid_cl.runs.judge import evaluate_memory

METHODS = ["distilled", "herding", "random"]
SMALL = "convnet (width 8, depth 2)"  # the miniature's network, as it is printed


def miniature(method: str = "random", ipc: int = 2, **sections: Any) -> Config:
    """A condensation and a judgement of a second."""
    small = {"width": 8, "depth": 2}
    off = {"weight": 0.0}
    values: dict[str, Any] = {
        "stream": {"dataset": "digits"},
        "model": small,
        "memory": {"method": method, "ipc": ipc},
        "distill": {
            "iterations": 3,
            "real_batch": 8,
            "embedder": small,
            "cc": {**off, "epochs": 1, "network": small},
            "cm": off,
        },
        "evaluate": {"network": small, "epochs": 2, "networks": 2},
        "device": "cpu",
    }
    return parse_config({**values, **sections}, "miniature")


def condense(out: Path, config: Config, data_root: Path | None = None) -> str:
    printed = io.StringIO()
    condense_dataset(config, data_root, out, Console(file=printed, width=200))
    return printed.getvalue()


def evaluate_all(path: Path, config: Config, data_root: Path | None = None) -> tuple[list[Judgement], str]:
    printed = io.StringIO()
    judgements = evaluate_memory(path, config, data_root, Console(file=printed, width=200))
    return judgements, printed.getvalue()


def evaluate(path: Path, config: Config, data_root: Path | None = None) -> tuple[list[float], str]:
    """The accuracies of the only architecture, which is the one asked for."""
    (judgement,), printed = evaluate_all(path, config, data_root)
    assert judgement.network == config.evaluate.network
    return judgement.accuracies, printed


def image_folder(root: Path, value: int, names: tuple[str, ...] = ("a", "b")) -> Path:
    for part in ("train", "test"):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for i in range(2):
                Image.new("L", (8, 8), value + i).save(root / part / name / f"{i}.png")
    return root
