"""The measures of the code's shape, on a made-up package, with values counted by hand."""

import sys
from pathlib import Path

import pytest

from benchmarks import shape, typing_check
from benchmarks.rooms import Module, read_package
from benchmarks.shape import Place

METHODS = ("auto", "none", "random", "herding", "hybrid")

BUFFERS = '''"""Buffers; hybrid in a docstring is no mention."""

from iid_cl.methods.hybrid import Hybrid, mix
from iid_cl.config import REAL_METHODS


class HybridBuffer:  # a hybrid in a comment is none either
    """Mixes.

    >>> HybridBuffer(1)
    """

    name = "hybrid"

    def __init__(self, a, b, c, d, e, f, g, h, *args, i, j=1, **kwargs):
        self.hybrid_share = a

    def _hidden(self):
        return isinstance(self, HybridBuffer) or isinstance(self, Loader)


class Loader:
    def load(self, method, kind):
        if method == "hybrid" or method in REAL_METHODS:
            return {"hybrid": 1.0}.get(method)
        return kind == "auto" or method != "auto"


def free(a, b, c, d, e, f, g, h, i):
    """A function of nine parameters."""

    def inner(j):
        return f"a hybrid of {j}"

    return inner
'''

TREE = {
    "iid_cl/__init__.py": '"""The package.\n\n>>> 1\n"""\n',
    "iid_cl/config.py": 'REAL_METHODS = ("random", "herding")\nKNOWN: tuple[str, ...] = ("hybrid",)\nOTHER = ("a",)\n',
    "iid_cl/methods/__init__.py": "",
    "iid_cl/methods/hybrid.py": "class Hybrid:\n    pass\n\n\ndef mix(kind):\n    return kind in KNOWN\n",
    "iid_cl/strategies/__init__.py": "",
    "iid_cl/strategies/buffers.py": BUFFERS,
}


def short(places: list[Place]) -> list[tuple[str, int, str]]:
    return [(place.module.removeprefix("iid_cl."), place.line, place.what) for place in places]


@pytest.fixture
def modules(tmp_path: Path) -> dict[str, Module]:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return read_package(tmp_path)


def test_mentions_by_hand(modules):
    assert sorted(short(shape.mentions(modules, "hybrid"))) == [
        ("config", 2, "string"),
        ("methods.hybrid", 1, "identifier"),
        ("strategies.buffers", 3, "identifier"),  # the imported class
        ("strategies.buffers", 3, "module"),
        ("strategies.buffers", 7, "identifier"),
        ("strategies.buffers", 13, "string"),
        ("strategies.buffers", 16, "identifier"),
        ("strategies.buffers", 19, "identifier"),
        ("strategies.buffers", 24, "string"),
        ("strategies.buffers", 25, "string"),
        ("strategies.buffers", 33, "string"),
    ]


@pytest.mark.parametrize(
    ("code", "name", "count"),
    [
        ("from nets.lenet import LeNet", "lenet", 2),
        ("LeNet(lenets, le_net_5)", "lenet", 2),
        ('x = "select k_centre or closest"', "k_centre", 1),
        ("def select_k_centre(): pass", "k_centre", 1),
        ("class KCentre: pass", "k_centre", 1),
        ("k_centres", "k_centre", 0),
        ('"SVHN"; x = {"SVHN": svhn, "svhn2": 1}', "svhn", 2),
    ],
)
def test_a_name_has_to_be_a_word(tmp_path, code, name, count):
    module = Module("iid_cl.m", tmp_path / "m.py", code)
    assert len(shape.mentions({"iid_cl.m": module}, name)) == count


def test_branches_by_hand(modules):
    assert short(shape.branches(modules, METHODS)) == [
        ("methods.hybrid", 6, "kind in KNOWN"),
        ("strategies.buffers", 19, "isinstance(self, HybridBuffer)"),
        ("strategies.buffers", 24, "method == 'hybrid'"),
        ("strategies.buffers", 24, "method in REAL_METHODS"),
        ("strategies.buffers", 25, "{'hybrid': 1.0}.get(method)"),
        ("strategies.buffers", 26, "method != 'auto'"),
    ]


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('{"hybrid", "herding"} & methods', 1),
        ('{"a", "b"} & methods', 0),
        ('{"hybrid": 1}[name]', 1),
        ('{"a": 1}[name]', 0),
        ('match name:\n    case "hybrid" | "herding":\n        pass\n    case "a":\n        pass', 1),
        ('device == "auto"', 0),
        ('norm not in ("none", "batch")', 0),
        ('rule != "random"', 1),
        ('label in ("none", "herding")', 1),
    ],
)
def test_what_is_a_branch(tmp_path, code, count):
    module = Module("iid_cl.m", tmp_path / "m.py", code)
    assert len(shape.branches({"iid_cl.m": module}, METHODS)) == count


def test_signatures_by_hand(modules):
    assert shape.long_signatures(modules) == [(10, "iid_cl.strategies.buffers.HybridBuffer.__init__")]
    assert shape.long_signatures(modules, 9)[1:] == [(9, "iid_cl.strategies.buffers.free")]


def test_lengths_by_hand(modules):
    lengths = {name.rpartition(".")[2]: shape.length(function) for name, function in shape.functions(modules)}
    assert lengths == {"mix": 2, "__init__": 2, "_hidden": 2, "load": 4, "free": 7, "inner": 2}


def test_public_objects_by_hand(modules):
    found = {name: ">>>" in text for name, text in shape.public_objects(modules)}
    assert sum(found.values()) == 2
    assert [name.removeprefix("iid_cl.strategies.buffers.") for name in found if "buffers." in name] == [
        "HybridBuffer",
        "Loader",
        "Loader.load",
        "free",
    ]
    assert len(found) == 6 + 4 + 2


def test_the_table_by_hand(modules):
    rows = {row.measure: row.now for row in shape.measure(modules, METHODS)}
    assert rows["import circles of files"] == "0"
    assert rows["imports against the order of the rooms"] == "0"
    assert rows["loose modules"] == "1"
    assert rows["lines in all"] == str(4 + 3 + 6 + 35)
    assert rows["mentions of hybrid, a memory method"] == "6 in 2 files, and 5 identifiers"
    assert rows["mentions of lenet, a network"] == "0 in 0 files, and 0 identifiers"
    assert rows["branches on a method's name or class"] == "6 in 2 files"
    assert rows["functions of 10 or more parameters"] == "1"
    assert rows["lines of a module, median"] == "3.5"  # 0, 0, 3, 4, 6, 35
    assert rows["lines of a function, median"] == "2"  # 2, 2, 2, 2, 4, 7
    assert rows["public objects with an example"] == "2 of 12"


def test_keys_are_leaves():
    found = shape.keys()
    assert {"seed", "memory.method", "distill.cc.weight"} <= set(found)
    assert not {"memory", "distill", "distill.cc"} & set(found)


def test_the_command_prints_every_row_and_what_it_consists_of(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["shape", "--quick"])
    shape.main()
    table, _, parts = capsys.readouterr().out.partition("\n\n")
    assert table.splitlines()[:2] == ["| | now | goal |", "|---|---:|---:|"]
    assert "| loose modules | " in table
    assert "  iid_cl.errors" in parts
    assert "mypy" not in table


def test_a_checker_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(typing_check, "find_spec", lambda name: None)
    assert [told[1] for told in typing_check.checkers()] == ["not installed", "not installed"]


def test_what_a_checker_says_is_counted(monkeypatch):
    def rough(command: list[str], script: str) -> list[str]:
        return [f"script.py:1: error: {word}" for word in script.split() if "iterations=" in word or "rool=" in word]

    monkeypatch.setattr(typing_check, "find_spec", lambda name: name)
    monkeypatch.setattr(typing_check, "errors", rough)
    assert [told[1] for told in typing_check.checkers()] == ["1", "seen", "1", "seen"]
    monkeypatch.setattr(typing_check, "errors", lambda command, script: [])
    assert [told[1] for told in typing_check.checkers()] == ["0", "not seen", "0", "not seen"]
