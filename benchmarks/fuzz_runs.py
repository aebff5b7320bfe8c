"""Unfinished runs for :mod:`benchmarks.fuzz`: what a resumed run reads, changed."""

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console

from benchmarks.fuzz_inputs import altered, damaged, mutated_yaml
from iid_cl.config_files import parse_config
from iid_cl.runs import experiment
from iid_cl.runs.checkpoint import Checkpoints
from iid_cl.runs.run import resume, run

NETWORK = {"width": 4, "depth": 1}
SMALL = {
    "name": "unfinished",
    "stream": {"dataset": "digits", "experiences": 2, "train_limit": 10, "test_limit": 4},
    "model": NETWORK,
    "train": {"epochs": 2, "batch_size": 16},
    "memory": {"ipc": 1},
    "distill": {"iterations": 3, "real_batch": 4, "embedder": NETWORK},
    "checkpoint": {"every": 0.0},
    "device": "cpu",
}
SAVES = 18  # after so many the example is interrupted, in its second experience
TENSORS = (torch.zeros(0), torch.zeros(3, dtype=torch.int64), torch.full((5000,), 255, dtype=torch.uint8))


class Reached(Exception):
    """The run would go on."""


def unfinished_runs(random_: random.Random, folder: Path) -> Callable[[], object]:
    """One file of an unfinished run damaged, or a value of its checkpoint another one under a right checksum."""
    place = folder / "run"
    for name, data in _example().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    kind = random_.randrange(4)
    if kind == 0:
        file = random_.choice(sorted((place / "state").iterdir()))
        file.write_bytes(damaged(random_, file.read_bytes()))
    elif kind == 1:
        begun = altered(random_, json.loads((place / "begun.json").read_text()))
        (place / "begun.json").write_text(json.dumps(begun))
    elif kind == 2:
        (place / "config.yaml").write_bytes(mutated_yaml(random_, (place / "config.yaml").read_text()))
    else:
        checkpoints = Checkpoints(place / "state")
        state = checkpoints.newest(lambda _: None)
        assert state is not None  # of the example
        checkpoints.write(_forged(random_, state))

    def read() -> None:
        with tempfile.TemporaryDirectory() as copy, patch.object(experiment._Course, "run", side_effect=Reached):
            shutil.copytree(place, Path(copy) / "run")
            try:
                resume(Path(copy) / "run", Console(quiet=True))
            except Reached:
                return

    return read


def _forged(random_: random.Random, value: Any) -> Any:
    """Nested data and tensors with one of them changed."""
    if isinstance(value, dict) and value and random_.random() < 0.95:
        key = random_.choice(list(value))
        return {**value, key: _forged(random_, value[key])}
    if isinstance(value, list) and value and random_.random() < 0.9:
        index = random_.randrange(len(value))
        return [*value[:index], _forged(random_, value[index]), *value[index + 1 :]]
    if isinstance(value, torch.Tensor) or random_.random() < 0.2:
        return random_.choice(TENSORS)
    return altered(random_, value if isinstance(value, int | float | str | None) else 0)


@cache
def _example() -> dict[str, bytes]:
    """The files of a run that was interrupted."""
    saves = 0
    write = Checkpoints.write

    def counted(checkpoints: Checkpoints, state: Any) -> None:
        nonlocal saves
        write(checkpoints, state)
        saves += 1
        if saves == SAVES:
            raise Reached

    with tempfile.TemporaryDirectory() as folder, patch("iid_cl.runs.saver.SHARE", 1e9):
        path = Path(folder) / "run"
        try:
            with patch.object(Checkpoints, "write", counted):
                run(parse_config(SMALL, "example"), None, path, Console(quiet=True))
        except Reached:
            pass
        files = [file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")]
        return {str(file.relative_to(path)): file.read_bytes() for file in files}
