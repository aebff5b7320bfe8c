"""The reading of imports, on made-up packages."""

from pathlib import Path

import pytest

from benchmarks.rooms import backward, circles, imports, loose, read_package, roomless

TREE = {
    "iid_cl/__init__.py": "",
    "iid_cl/errors.py": "",
    "iid_cl/config_distill.py": "from iid_cl.config import base\n",
    "iid_cl/config/__init__.py": "from .base import A\n",
    "iid_cl/config/base.py": "from iid_cl.errors import UserError\n",
    "iid_cl/memory/__init__.py": "",
    "iid_cl/memory/files.py": "import torch\nfrom iid_cl.config.base import A\n",
    "top/__init__.py": "from .buffers import B\n",
    "top/buffers.py": "from ..memory import files\nfrom . import *\n",
    "iid_cl/cli.py": "from iid_cl import __version__\nimport iid_cl.config.base\n",
}


def read(folder: Path, **changed: str):
    """The modules and imports of the made-up package; ``memory__files="..."`` writes another iid_cl/memory/files.py."""
    for name, text in {
        **TREE,
        **{f"iid_cl/{key.replace('__', '/')}.py": text for key, text in changed.items()},
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "iid_cl" / "strategies").symlink_to("../top")
    modules = read_package(folder)
    return modules, imports(modules)


def test_imports_by_hand(tmp_path):
    modules, graph = read(tmp_path)
    assert {name: sorted(targets) for name, targets in graph.items() if targets} == {
        "iid_cl.cli": ["iid_cl", "iid_cl.config.base"],
        "iid_cl.config": ["iid_cl.config.base"],
        "iid_cl.config.base": ["iid_cl.errors"],
        "iid_cl.config_distill": ["iid_cl.config.base"],
        "iid_cl.memory.files": ["iid_cl.config.base"],
        "iid_cl.strategies": ["iid_cl.strategies.buffers"],
        "iid_cl.strategies.buffers": ["iid_cl.memory.files", "iid_cl.strategies"],
    }
    assert loose(modules) == ["iid_cl.cli", "iid_cl.config_distill", "iid_cl.errors"]
    assert modules["iid_cl.memory.files"].lines == 2


def test_a_sound_package_has_nothing_to_say(tmp_path):
    modules, graph = read(tmp_path)
    assert backward(modules, graph) == roomless(modules) == []
    assert circles(graph) == [["iid_cl.strategies", "iid_cl.strategies.buffers"]]  # as written above


@pytest.mark.parametrize(
    "text",
    [
        "from iid_cl.runs import run\n",
        "import iid_cl.runs.run\n",
        "from ..runs.run import a\n",
        "def f():\n    from iid_cl.runs.run import a\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from iid_cl.runs.run import a\n",
        "try:\n    from iid_cl.runs.run import a\nexcept ImportError:\n    a = None\n",
    ],
)
def test_an_arrow_that_runs_back_is_seen_wherever_it_stands(tmp_path, text):
    modules, graph = read(tmp_path, memory__files=text, runs__run="")
    assert backward(modules, graph) == [("iid_cl.memory.files", "iid_cl.runs.run")]


def test_rooms_of_a_row_do_not_import_each_other(tmp_path):
    modules, graph = read(tmp_path, data__a="from iid_cl.nets import b\n", nets__b="", nets__c="from . import b\n")
    assert backward(modules, graph) == [("iid_cl.data.a", "iid_cl.nets.b")]


def test_a_longer_circle_is_one_group(tmp_path):
    _, graph = read(
        tmp_path,
        memory__a="from iid_cl.memory.b import x\n",
        memory__b="def f():\n    from .c import x\n",
        memory__c="from . import a\n",
        memory__d="from . import a\n",  # leads in, is not in
    )
    assert ["iid_cl.memory.a", "iid_cl.memory.b", "iid_cl.memory.c"] in circles(graph)


def test_a_folder_without_a_place_is_named(tmp_path):
    modules, _ = read(tmp_path, odds__ends="", configs__x="")
    assert roomless(modules) == ["iid_cl.odds.ends"]
