"""Which method is which buffer, and what the run tells it."""

import io
from typing import Any

import pytest
import torch
from rich.console import Console

from iid_cl.data.datasets import load_dataset
from iid_cl.runs.experiment import run_method
from iid_cl.strategies import AutoBuffer
from iid_cl.terminal.reporter import Reporter
from tests.runs.helpers import miniature


class Stop(Exception):
    """Enough was seen."""


@pytest.mark.parametrize(("mode", "replayed"), [("replay", True), ("memory_only", False)])
def test_auto_is_judged_in_the_way_its_memory_will_be_used(
    monkeypatch: pytest.MonkeyPatch, mode: str, replayed: bool
) -> None:
    seen: list[dict[str, Any]] = []

    def auto(**given: Any) -> Any:
        seen.append(given)
        raise Stop

    monkeypatch.setattr("iid_cl.methods.build.AutoBuffer", auto)
    config = miniature(train={"mode": mode}, memory={"method": "auto"})
    dataset = load_dataset(config.stream, None, config.seed)
    with pytest.raises(Stop):
        run_method(config, "auto", dataset, torch.device("cpu"), Reporter(Console(file=io.StringIO())))
    assert [given["replayed"] for given in seen] == [replayed]
    assert (seen[0]["features"] is None) == replayed  # the learner's own, which has seen what it replays beside


@pytest.mark.usefixtures("brief_trials")
def test_a_run_says_once_what_auto_keeps_and_what_it_tried() -> None:
    config = miniature(memory={"method": "auto", "ipc": 2})
    dataset = load_dataset(config.stream, None, config.seed)
    shown = io.StringIO()
    result, memory = run_method(config, "auto", dataset, torch.device("cpu"), Reporter(Console(file=shown, width=500)))
    assert isinstance(memory, AutoBuffer)
    assert memory.choice is not None
    assert result.choice == memory.choice.label
    (line,) = (line for line in shown.getvalue().splitlines() if line.startswith("auto keeps: "))
    assert line.startswith(f"auto keeps: {result.choice} (held-out cross-entropy: ")
    tried, _, remark = line.removesuffix(")").partition("cross-entropy: ")[2].partition("; ")
    losses = dict(part.rsplit(" ", 1) for part in tried.split(", "))
    assert losses == {label: f"{loss:.3f}" for label, loss in memory.tried.items() if loss is not None}
    assert list(losses.values()) == sorted(losses.values(), key=float)
    assert remark == ("" if next(iter(losses)) == result.choice else "no difference beyond two standard errors")


def test_other_methods_choose_nothing() -> None:
    config = miniature(memory={"method": "random"})
    dataset = load_dataset(config.stream, None, config.seed)
    shown = io.StringIO()
    result, _ = run_method(config, "random", dataset, torch.device("cpu"), Reporter(Console(file=shown)))
    assert result.choice is None
    assert "keeps" not in shown.getvalue()
