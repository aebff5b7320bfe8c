"""Which method is which buffer, and what the run tells it."""

import io

import pytest
import torch
from rich.console import Console

from iid_cl.data.datasets import load_dataset
from iid_cl.methods.auto import Auto
from iid_cl.methods.build import make_method
from iid_cl.runs.experiment import run_method
from iid_cl.runs.learners import ProgressPlugin, make_memory_buffer
from iid_cl.terminal.reporter import Reporter
from tests.runs.helpers import miniature


@pytest.mark.parametrize(("mode", "replayed"), [("replay", True), ("memory_only", False)])
def test_auto_is_judged_in_the_way_its_memory_will_be_used(mode: str, replayed: bool) -> None:
    config = miniature(train={"mode": mode}, memory={"method": "auto"})
    method = make_method(config, "auto")
    assert isinstance(method, Auto)
    assert method.replayed == replayed
    dataset = load_dataset(config.stream, None, config.seed)
    with Reporter(Console(quiet=True)) as reporter:
        buffer = make_memory_buffer(config, "auto", dataset, ProgressPlugin(reporter, ""), reporter)
    assert buffer is not None
    # the learner's own features, which has seen what it replays beside; without one a network is trained for them
    assert (buffer.own_features is None) == replayed


@pytest.mark.usefixtures("brief_trials")
def test_a_run_says_once_what_auto_keeps_and_what_it_tried() -> None:
    config = miniature(memory={"method": "auto", "ipc": 2})
    dataset = load_dataset(config.stream, None, config.seed)
    shown = io.StringIO()
    result, memory = run_method(config, "auto", dataset, torch.device("cpu"), Reporter(Console(file=shown, width=500)))
    assert memory is not None
    method = memory.method
    assert isinstance(method, Auto)
    assert method.choice is not None
    assert result.choice == method.choice.label
    (line,) = (line for line in shown.getvalue().splitlines() if line.startswith("auto keeps: "))
    assert line.startswith(f"auto keeps: {result.choice} (held-out cross-entropy: ")
    tried, _, remark = line.removesuffix(")").partition("cross-entropy: ")[2].partition("; ")
    losses = dict(part.rsplit(" ", 1) for part in tried.split(", "))
    assert losses == {label: f"{loss:.3f}" for label, loss in method.tried.items() if loss is not None}
    assert list(losses.values()) == sorted(losses.values(), key=float)
    assert remark == ("" if next(iter(losses)) == result.choice else "no difference beyond two standard errors")


def test_other_methods_choose_nothing() -> None:
    config = miniature(memory={"method": "random"})
    dataset = load_dataset(config.stream, None, config.seed)
    shown = io.StringIO()
    result, _ = run_method(config, "random", dataset, torch.device("cpu"), Reporter(Console(file=shown)))
    assert result.choice is None
    assert "keeps" not in shown.getvalue()
