"""Public classes and functions have an example in their docstring, and the package's examples run."""

import doctest
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FACES = ("iid_cl", "iid_cl.config", "iid_cl.strategies")  # whose __all__ is public
FILES = {*(ROOT / "iid_cl").rglob("*.py"), *(ROOT / "iid_cl" / "strategies").rglob("*.py")}  # the latter is a link
MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in FILES
    if ">>>" in file.read_text(encoding="utf-8")
)


def exported() -> Iterator[Any]:
    """Members of the faces. ``iid_cl.distill`` is a package that can be called, and stands for its function."""
    for face in map(import_module, FACES):
        for name in face.__all__:
            member = getattr(face, name)
            yield getattr(member, name) if inspect.ismodule(member) else member


def documented() -> Iterator[Any]:
    """Objects on the API's pages. A module stands for what it defines without a leading underscore."""
    for page in (ROOT / "docs" / "api").glob("*.md"):
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            home, _, last = re.sub(r"^strategies\.", "iid_cl.strategies.", name).rpartition(".")
            member = getattr(import_module(home), last, None) or import_module(f"{home}.{last}")
            if inspect.ismodule(member):
                inner = [part for key, part in vars(member).items() if not key.startswith("_")]
                yield from (part for part in inner if getattr(part, "__module__", None) == member.__name__)
            else:
                yield member


def public() -> dict[str, Any]:
    """Public classes and functions by the full name of their definition."""
    members = [*exported(), *documented()]
    return {f"{m.__module__}.{m.__qualname__}": m for m in members if inspect.isclass(m) or inspect.isfunction(m)}


def test_public_classes_and_functions_have_an_example() -> None:
    without = {name for name, member in public().items() if ">>>" not in (member.__doc__ or "")}
    assert without == set()


def test_the_public_classes_and_functions_are_collected() -> None:
    names = public().keys()
    assert {"iid_cl.budget.Budget", "iid_cl.config.experiment.Config", "iid_cl.distill.engine.distill"} <= names
    assert {"iid_cl.evaluate.metrics.forgetting", "iid_cl.strategies.replay.DistilledReplay"} <= names
    assert len(names) > 40
    assert {"iid_cl", "iid_cl.budget"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    outcome = doctest.testmod(import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
