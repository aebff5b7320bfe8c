"""What a run tells of its memory method, and the method of the run."""

import io

import pytest
import torch
from rich.console import Console

from iid_cl.config.experiment import Config
from iid_cl.data.datasets import load_dataset
from iid_cl.methods.auto import Auto
from iid_cl.records.result import Result
from iid_cl.runs.experiment import run_method
from iid_cl.runs.learners import ProgressPlugin, make_memory_buffer
from iid_cl.strategies import MemoryBuffer
from iid_cl.terminal.reporter import Reporter
from tests.runs.helpers import miniature


def ran(config: Config) -> tuple[Result, MemoryBuffer | None, str]:
    shown = io.StringIO()
    dataset = load_dataset(config.stream, None, config.seed)
    with Reporter(Console(file=shown, width=500)) as reporter:
        result, memory = run_method(config, config.memory.method, dataset, torch.device("cpu"), reporter)
    return result, memory, shown.getvalue()


@pytest.mark.parametrize("mode", ["replay", "memory_only"])
def test_features_are_the_learners_where_it_has_seen_the_experience(mode: str) -> None:
    """In memory-only mode the memory is renewed before anything is trained."""
    config = miniature(train={"mode": mode}, memory={"method": "herding"})
    dataset = load_dataset(config.stream, None, config.seed)
    with Reporter(Console(quiet=True)) as reporter:
        memory = make_memory_buffer(config, "herding", dataset, ProgressPlugin(reporter, ""), reporter)
    assert memory is not None
    assert (memory.own_features is None) == (mode == "replay")


def test_a_run_says_once_what_auto_keeps() -> None:
    result, memory, shown = ran(miniature(memory={"method": "auto", "ipc": 2}))
    assert memory is not None
    assert isinstance(memory.method, Auto)
    assert memory.method.choice is not None
    assert result.choice == memory.method.choice.label
    (line,) = (line for line in shown.splitlines() if line.startswith("auto keeps: "))
    assert line == f"auto keeps: {result.choice}"


def test_other_methods_choose_nothing() -> None:
    result, _, shown = ran(miniature(memory={"method": "random"}))
    assert result.choice is None
    assert "keeps" not in shown
