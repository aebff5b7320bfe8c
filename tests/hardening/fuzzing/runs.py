"""Run directories, changed: unfinished ones, which are resumed, and finished ones, which are reported."""

import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from safetensors import safe_open

from iid_cl.config.reading import parse_config
from iid_cl.errors import UserError
from iid_cl.files import MOST_BYTES, save_tensors
from iid_cl.memory.files import load_memory
from iid_cl.records.checkpoint import Checkpoints
from iid_cl.report.page import report
from iid_cl.runs import experiment
from iid_cl.runs.run import resume, run
from tests.hardening.fuzzing.memories import forged
from tests.hardening.fuzzing.mutations import altered, damaged, endless
from tests.hardening.fuzzing.texts import mutated_yaml

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
    place = unfinished_run(folder)
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
        with _deep_values():
            checkpoints.write(_changed(random_, state))

    def read() -> None:
        with _copy(place) as copy, patch.object(experiment._Course, "run", side_effect=Reached):
            try:
                resume(copy, Console(quiet=True))
            except Reached:
                return

    return read


def reported_runs(random_: random.Random, folder: Path) -> Callable[[], object]:
    """One or two files of a finished run changed. What it says of itself reaches the page as text, and its names."""
    place = finished_run(folder)
    if random_.random() < 1 / 80:
        (place / random_.choice(("run.json", "losses.jsonl", "config.yaml"))).write_bytes(endless(random_, MOST_BYTES))
    else:
        change_files(random_, place)
    drawn = random_.random() < 0.1  # figures take seconds, and what they are drawn of is read in any case

    def read() -> None:
        with _copy(place) as copy, nullcontext() if drawn else patch("iid_cl.report.page.save_figures"):
            before = set(copy.rglob("*"))
            try:
                page = report([copy]).read_text(encoding="utf-8")
            except UserError:
                assert set(copy.rglob("*")) == before, "a refused report left something behind"
                raise
            assert "<script>alert(1)" not in page, "foreign markup got through"

    return read


def change_files(random_: random.Random, place: Path) -> None:
    """One or two files of a finished run that a report reads."""
    names = ["run.json", "history.safetensors", "losses.jsonl", "config.yaml", "memory"]
    for name in random_.sample(names, random_.choice((1, 1, 2))):
        _change_file(random_, place, name)


def _change_file(random_: random.Random, place: Path, name: str) -> None:
    if name == "memory":
        memory = load_memory(place / "memory.safetensors") if random_.random() < 0.9 else None
        data = b"" if memory is None else forged(random_, memory)
        (place / "memory.safetensors").write_bytes(data)
        return
    file = place / name
    if name == "config.yaml":
        file.write_bytes(mutated_yaml(random_, file.read_text()))
    elif random_.random() < 0.2:
        file.write_bytes(damaged(random_, file.read_bytes()))
    elif name == "run.json":
        value = json.loads(file.read_text())
        for _ in range(random_.choice((1, 1, 3))):
            value = altered(random_, value)
        file.write_text(json.dumps(value))
    elif name == "losses.jsonl":
        lines = file.read_text().splitlines() or ["{}"]  # of a memory of real images there are none
        index = random_.randrange(len(lines))
        lines[index] = json.dumps(altered(random_, json.loads(lines[index])))
        file.write_text("\n".join(lines))
    else:
        with safe_open(file, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118, not a mapping
            header = json.loads(opened.metadata()["iid_cl"])
        tensors, header = (
            (_changed(random_, tensors), header) if random_.random() < 0.5 else (tensors, altered(random_, header))
        )
        if isinstance(tensors, dict) and all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
            save_tensors(file, tensors, {"iid_cl": json.dumps(header)})


@contextmanager
def _copy(place: Path) -> Iterator[Path]:
    """A copy of a run, in which a command may write."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(shutil.copytree(place, Path(name) / "run"))


def unfinished_run(folder: Path) -> Path:
    """Writes a run that was interrupted in its second experience."""
    return _written(_example(False), folder)


def finished_run(folder: Path) -> Path:
    """Writes a run with a baseline that has ended."""
    return _written(_example(True), folder)


def _written(files: Mapping[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "run" / name).write_bytes(data)
    return folder / "run"


@contextmanager
def _deep_values() -> Iterator[None]:
    """Lets a state be written whose values are nested deeper than Python follows by default; it is read as always."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _changed(random_: random.Random, value: Any) -> Any:
    """Nested data and tensors with one of them changed."""
    if isinstance(value, dict) and value and random_.random() < 0.95:
        key = random_.choice(list(value))
        return {**value, key: _changed(random_, value[key])}
    if isinstance(value, list) and value and random_.random() < 0.9:
        index = random_.randrange(len(value))
        return [*value[:index], _changed(random_, value[index]), *value[index + 1 :]]
    if isinstance(value, torch.Tensor) or random_.random() < 0.2:
        return random_.choice(TENSORS)
    return altered(random_, value if isinstance(value, int | float | str | None) else 0)


@cache
def _example(finished: bool) -> dict[str, bytes]:
    """The files of a run."""
    saves = 0
    write = Checkpoints.write

    def counted(checkpoints: Checkpoints, state: Any) -> None:
        nonlocal saves
        write(checkpoints, state)
        saves += 1
        if saves == SAVES and not finished:
            raise Reached

    with tempfile.TemporaryDirectory() as folder, patch("iid_cl.runs.saver.SHARE", 1e9):
        path = Path(folder) / "run"
        try:
            with patch.object(Checkpoints, "write", counted):
                run(
                    parse_config({**SMALL, "baselines": ["random"] if finished else []}, "example"),
                    None,
                    path,
                    Console(quiet=True),
                )
        except Reached:
            pass
        files = [file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")]
        return {str(file.relative_to(path)): file.read_bytes() for file in files}
