"""What CONTRIBUTING.md says it takes to add something: a toy of each kind, added in exactly those places, at work.

A copy of the sources is edited as a contributor would, and the command line is used on it.
"""

import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Edit:
    """``text`` goes into ``file`` before the line that begins with ``before``; a new file has no such line."""

    file: str
    text: str
    before: str = ""


METHOD = [
    Edit(
        "iid_cl/config/methods.py",
        '    MethodInfo("first", "the first images of each class"),\n',
        '    MethodInfo("distilled"',
    ),
    Edit(
        "iid_cl/methods/first.py",
        '''"""The first images of each class."""

from typing import Any

import torch

from iid_cl.data.classes import Classes
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Whole
from iid_cl.methods.base import Arrival, Method, Scene, Work


class First(Method):
    """Keeps what comes first."""

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        return Whole().store(arrived.images, lambda label, count: torch.arange(count), space)

    def work(self, arrival: Arrival, space: Space) -> Work:
        return Work(Whole().count(arrival.sample.images, space))

    def describe(self) -> dict[str, Any]:
        return {"method": "first"}
''',
    ),
    Edit(
        "iid_cl/methods/build.py",
        'from iid_cl.methods.first import First\n\nBUILDERS["first"] = lambda config: First()\n',
    ),
]
RULE = [
    Edit(
        "iid_cl/config/methods.py",
        '    MethodInfo("last", "the last images of each class", _REAL, real=True),\n',
        '    MethodInfo("distilled"',
    ),
    Edit(
        "iid_cl/memory/selection.py",
        '    "last": lambda features, count, weights, generator: torch.arange(len(features)).flip(0)[:count],\n',
        '    "random": select_random',
    ),
]
OBJECTIVE = [
    Edit(
        "iid_cl/config/objectives.py",
        '        ObjectiveInfo("median", "medians", 1, "fresh"),\n',
        "        ObjectiveInfo(",
    ),
    Edit(
        "iid_cl/distill/matching.py",
        '    "median": lambda config, features, generator: OwnObjective(\n'
        "        lambda real, made: (real.median(1).values - made.median(1).values).square().sum((1, 2))\n    ),\n",
        '    "dm": _means',
    ),
]
NETWORK = [
    Edit("iid_cl/config/networks.py", '        NetworkInfo("wide"),\n', "        NetworkInfo("),
    Edit(
        "iid_cl/nets/__init__.py",
        '    "wide": lambda config, shape, classes: ConvNet(shape, classes, width=16, depth=1),\n',
        '    "convnet": build_convnet',
    ),
]
DATASET = [
    Edit(
        "iid_cl/config/datasets.py",
        """    DatasetInfo(
        "kmnist",
        files=tuple(f"KMNIST/raw/{name}" for name in _IDX),
        layout="KMNIST/raw/*-ubyte",
        source="KMNIST",
        mean=(0.19,),
        std=(0.35,),
        flips=False,
    ),
""",
        "    DatasetInfo(",
    )
]
COMMAND = [
    Edit("iid_cl/cli/look.py", '\n\ndef greet(name: str) -> None:\n    """Greet."""\n    print(f"Hello, {name}.")\n'),
    Edit("iid_cl/cli/__init__.py", "    look.greet,\n", "    look.show,"),
]
PLACES = {
    "memory method": (METHOD, 3),
    "selection rule": (RULE, 2),
    "objective": (OBJECTIVE, 2),
    "network": (NETWORK, 2),
    "data set": (DATASET, 1),
    "command": (COMMAND, 2),
}

CONFIG = {
    "name": "toys",
    "stream": {"dataset": "kmnist", "classes": [[0, 1], [2, 3]]},
    "model": {"name": "wide"},
    "train": {"epochs": 1},
    "memory": {"method": "first", "ipc": 1},
    "baselines": ["last", "distilled"],
    "distill": {"objective": "median", "iterations": 2, "real_batch": 4, "embedder": {"width": 4, "depth": 1}},
    "device": "cpu",
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with a toy of each kind."""
    copy = tmp_path_factory.mktemp("sources")
    for folder in ("iid_cl", "strategies", "configs"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for edits, _ in PLACES.values():
        for edit in edits:
            apply(edit, copy / edit.file)
    write_kmnist(copy / "data" / "KMNIST" / "raw")
    (copy / "toys.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    return copy


def apply(edit: Edit, path: Path) -> None:
    """As an editor would."""
    if not edit.before:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(text + edit.text, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if line.startswith(edit.before))
    path.write_text("".join([*lines[:place], edit.text, *lines[place:]]), encoding="utf-8")


def write_kmnist(folder: Path) -> None:
    """Twelve training and four test images of 28x28 pixels for each of four classes, in MNIST's format."""
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for part, each in (("train", 12), ("t10k", 4)):
        labels = np.repeat(np.arange(4, dtype=np.uint8), each)
        images = draws.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        for name, magic, array in ((f"{part}-images-idx3", 2051, images), (f"{part}-labels-idx1", 2049, labels)):
            data = struct.pack(f">{array.ndim + 1}i", magic, *array.shape) + array.tobytes()
            (folder / f"{name}-ubyte").write_bytes(data)
            (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(data))  # which torchvision checks for


COMMANDS = {
    "run": ["run", "toys.yaml", "--data-root", "data", "--out", "run"],
    "distill": [
        *("distill", "kmnist", "--data-root", "data", "-o", "m.safetensors"),
        *("--method", "last", "--ipc", "2", "--set", "stream.first_classes=4"),
    ],
    "schema": ["schema"],
    "greet": ["greet", "reader"],
}
# One process for all commands, as its imports take longer than they do. Figures for papers take longer still.
PROGRAM = """
import contextlib
import io
import json
import sys

import iid_cl.report.page
from iid_cl.cli import main

iid_cl.report.page.save_figures = lambda *_: None
answers = {}
for name, arguments in json.loads(sys.argv[1]).items():
    sys.argv = ["iid-cl", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            main()
        except SystemExit as ended:
            assert not ended.code, f"{name}: {ended.code}"
    answers[name] = printed.getvalue()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(sources: Path) -> dict[str, str]:
    """What each of the commands prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(COMMANDS)],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(sources), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, str] = json.loads(done.stdout)
    return printed


@pytest.mark.parametrize("kind", PLACES)
def test_so_many_places_and_no_more(kind: str) -> None:
    edits, places = PLACES[kind]
    assert len(edits) == places


def test_toys_of_every_kind_work_in_a_run(answers: dict[str, str], sources: Path) -> None:
    assert "toys: kmnist, 48 training and 16 test images of 28x28x1" in answers["run"]
    for method in ("first", "last", "distilled"):
        assert f"\n {method} " in answers["run"].replace("\x1b", "")
    assert (sources / "run" / "report.html").is_file()


def test_a_selection_rule_serves_a_whole_data_set(answers: dict[str, str]) -> None:
    assert "8 images of 4 classes (last), 6,288 bytes" in answers["distill"]  # 8 * (784 + 2)


def test_a_toy_stands_in_schema_and_help(answers: dict[str, str]) -> None:
    for name in ("first", "last", "median", "wide", "kmnist"):
        assert f'"{name}"' in answers["schema"]
    assert answers["greet"] == "Hello, reader.\n"
