"""Which method is which buffer, and what the run tells it."""

import io
from typing import Any

import pytest
import torch
from rich.console import Console

from iid_cl.data.datasets import load_dataset
from iid_cl.runs.experiment import run_method
from iid_cl.runs.reporter import Reporter
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

    monkeypatch.setattr("iid_cl.runs.condense.AutoBuffer", auto)
    config = miniature(train={"mode": mode}, memory={"method": "auto"})
    dataset = load_dataset(config.stream, None, config.seed)
    with pytest.raises(Stop):
        run_method(config, "auto", dataset, torch.device("cpu"), Reporter(Console(file=io.StringIO())))
    assert [given["replayed"] for given in seen] == [replayed]
    assert (seen[0]["features"] is None) == replayed  # the learner's own, which has seen what it replays beside
