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

# Public objects whose example is still to be written
TO_COME = {
    "iid_cl.config.distill.DistillConfig",
    "iid_cl.config.distill.EmbedderConfig",
    "iid_cl.config.distill.NetworkConfig",
    "iid_cl.config.experiment.EvaluateConfig",
    "iid_cl.distill.engine.distill",
    "iid_cl.distill.matching.Objective",
    "iid_cl.distill.objectives.centre_distances",
    "iid_cl.distill.objectives.covariance_matching",
    "iid_cl.distill.objectives.exponential_centralization",
    "iid_cl.distill.objectives.in_units",
    "iid_cl.distill.objectives.local_covariance",
    "iid_cl.distill.objectives.mean_matching",
    "iid_cl.distill.objectives.quadratic_centralization",
    "iid_cl.distill.objectives.spread",
    "iid_cl.evaluate.metrics.Summary",
    "iid_cl.evaluate.metrics.average_incremental_accuracy",
    "iid_cl.evaluate.metrics.backward_transfer",
    "iid_cl.evaluate.metrics.final_accuracy",
    "iid_cl.evaluate.metrics.final_task_accuracy",
    "iid_cl.evaluate.metrics.forgetting",
    "iid_cl.evaluate.metrics.mean_by_class",
    "iid_cl.evaluate.metrics.mean_row",
    "iid_cl.evaluate.metrics.seen_accuracy",
    "iid_cl.evaluate.metrics.summary",
    "iid_cl.evaluate.protocol.Judgement",
    "iid_cl.evaluate.protocol.judge",
    "iid_cl.memory.exemplars.ExemplarSet",
    "iid_cl.memory.exemplars.Exemplars",
    "iid_cl.memory.files.load_memory",
    "iid_cl.memory.files.save_memory",
    "iid_cl.memory.selection.features_of",
    "iid_cl.memory.selection.ordering",
    "iid_cl.memory.selection.select_closest",
    "iid_cl.memory.selection.select_herding",
    "iid_cl.memory.selection.select_k_centre",
    "iid_cl.memory.selection.select_random",
    "iid_cl.strategies.buffers.MemoryBuffer",
    "iid_cl.strategies.class_accuracy.ClassAccuracyPlugin",
    "iid_cl.strategies.in_memory.InMemoryPlugin",
    "iid_cl.strategies.memory_only.MemoryOnly",
    "iid_cl.strategies.memory_only.MemoryOnlyPlugin",
    "iid_cl.strategies.named.AutoBuffer",
    "iid_cl.strategies.named.DistilledBuffer",
    "iid_cl.strategies.named.HerdingBuffer",
    "iid_cl.strategies.named.HybridBuffer",
    "iid_cl.strategies.named.RandomBuffer",
    "iid_cl.strategies.named.RealBuffer",
    "iid_cl.strategies.named.ReservoirBuffer",
    "iid_cl.strategies.replay.DistilledReplay",
    "iid_cl.strategies.replay.DistilledReplayPlugin",
    "iid_cl.strategies.replay.MemoryReplayPlugin",
    "iid_cl.strategies.soft_labels.SoftLabelPlugin",
    "iid_cl.strategies.views.TaskLabelled",
}


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
    assert without - TO_COME == set()


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
