"""A distillation shared out by classes."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.launch.jobs import Launch
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.runs.shards import check_shards, distil_classes, shared_memory
from iid_cl.runs.whole import whole_memory
from iid_cl.terminal.reporter import Reporter
from tests.runs.helpers import miniature


@pytest.mark.usefixtures("forked_workers")
def test_the_parts_of_two_workers_are_the_whole(tmp_path: Path) -> None:
    config = miniature(memory={"ipc": 2}, distill={"cm": {"weight": 0.1}})
    dataset = load_dataset(config.stream, None)
    with Reporter(Console(file=io.StringIO())) as reporter:
        whole = whole_memory(config, dataset, torch.device("cpu"), reporter)
        shared = shared_memory(config, dataset, None, Launch(workers=2, threads=1), reporter, tmp_path)
    assert isinstance(whole, ExemplarSet)
    assert torch.equal(shared.labels, whole.labels)
    assert shared.nbytes == whole.nbytes
    assert (shared.images.int() - whole.images.int()).abs().max() <= 1  # sums of other batches round otherwise


def test_a_part_holds_its_classes_alone() -> None:
    config = miniature()
    one, other = (distil_classes(config.model_dump_json(), None, classes) for classes in ([2, 5], [2, 5]))
    assert one == other
    with_more = distil_classes(config.model_dump_json(), None, [2])
    assert len(with_more) < len(one)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"memory": {"method": "herding"}}, "memory.method: 'herding' cannot be divided among workers"),
        ({"distill": {"objective": "idm"}}, "distill.objective: idm ties the classes together"),
        ({"distill": {"embedders": "queue"}}, "distill.embedders: queue ties the classes together"),
        ({"distill": {"cc": {"weight": 0.1}}}, "distill.cc.weight: 0.1 ties the classes together"),
        ({"memory": {"jpeg": 50}}, "memory.jpeg: 50 ties the classes together"),
        ({"memory": {"soft_labels": True}}, "memory.soft_labels: true ties the classes together"),
    ],
)
def test_classes_that_are_tied_are_not_shared_out(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_shards(miniature(**changes))
    assert said in str(caught.value)


def test_a_mistake_in_a_worker_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def diverge(*arguments: object) -> None:
        raise UserError("distill.lr: too much.")

    monkeypatch.setattr("iid_cl.runs.shards.whole_memory", diverge)
    config = miniature()
    dataset = load_dataset(config.stream, None)
    with Reporter(Console(quiet=True)) as reporter, pytest.raises(UserError, match=r"^distill\.lr: too much\.$"):
        shared_memory(config, dataset, None, Launch(threads=1), reporter, tmp_path)
