"""Files are data, not programs: nothing of ours is pickled, and other programs' files are read without running them."""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from iid_cl.files import State
from iid_cl.memory.files import load_memory
from iid_cl.records.checkpoint import Checkpoints
from iid_cl.runs.run import run
from tests.runs.helpers import miniature

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = re.compile(
    r"\b(import (c?pickle|dill|joblib|shelve|marshal)|torch\.(load|save)\(|allow_pickle=True|yaml\.load\()"
)


@pytest.mark.parametrize("package", ["iid_cl", "strategies", "examples"])
def test_no_module_names_it(package: str) -> None:
    modules = list((ROOT / package).rglob("*.py"))
    assert modules
    found = [
        f"{module.relative_to(ROOT)}: {line}"
        for module in modules
        for line in module.read_text(encoding="utf-8").splitlines()
        if PROGRAMS.search(line)
    ]
    allowed = {
        "iid_cl/config/reading.py": "yaml.load(",  # with the loader of plain data
        "iid_cl/files.py": 'torch.load(path, map_location="cpu", weights_only=True)',
        "iid_cl/memory/published.py": "torch.save(",  # tensors, for other programs
    }
    kept = [(line.partition(": ")[0], line) for line in found]
    assert [line for module, line in kept if allowed.get(module, "\n") not in line] == []


def test_a_run_is_interrupted_resumed_and_read_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something is pickled")

    for module, names in ((pickle, ("dump", "dumps", "load", "loads")), (torch, ("load", "save"))):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    write, saves = Checkpoints.write, 0

    def killed(checkpoints: Checkpoints, state: State) -> None:
        nonlocal saves
        write(checkpoints, state)
        saves += 1
        if saves == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "write", killed)
    config, path = miniature(checkpoint={"every": 0.0}), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(config, None, path, Console(file=io.StringIO()))
    run(config, None, path, Console(file=io.StringIO()))
    assert len(load_memory(path / "memory.safetensors")) == 4
