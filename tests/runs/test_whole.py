"""The memory of a whole data set, without files."""

import io
from collections.abc import Collection
from typing import Any

import pytest
import torch
from rich.console import Console

from iid_cl.config.experiment import Config
from iid_cl.data.datasets import load_dataset
from iid_cl.distill.watch import OnSnapshot
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.runs.experiment import run_method
from iid_cl.runs.whole import whole_memory
from iid_cl.terminal.reporter import Reporter

from .helpers import miniature

CPU = torch.device("cpu")


def whole(
    config: Config, on_snapshot: OnSnapshot | None = None, snapshots: Collection[int] = ()
) -> tuple[Exemplars, str]:
    """The memory, and what was said meanwhile."""
    shown = io.StringIO()
    with Reporter(Console(file=shown, width=200)) as reporter:
        dataset = load_dataset(config.stream, None, config.seed)
        memory = whole_memory(config, dataset, CPU, reporter, on_snapshot=on_snapshot, snapshots=snapshots)
    return memory, shown.getvalue()


@pytest.mark.parametrize("method", ["distilled", "herding", "random"])
@pytest.mark.parametrize("memory", [{"ipc": 2}, {"ipc": 12, "jpeg": 50}], ids=str)
def test_it_is_the_memory_of_a_run_that_meets_everything_at_once(method: str, memory: dict[str, Any]) -> None:
    config = miniature(
        stream={"classes": [list(range(10))]},
        memory={"method": method, **memory},
        train={"mode": "memory_only", "memory_epochs": 1},
        seed=3,
    )
    one, _ = whole(config)
    with Reporter(Console(quiet=True)) as reporter:
        _, buffer = run_method(config, config.memory.method, load_dataset(config.stream, None, 3), CPU, reporter)
    assert buffer is not None
    assert buffer.exemplars is not None
    of_run = buffer.exemplars.tensors()
    assert one.tensors().keys() == of_run.keys()
    for name, tensor in one.tensors().items():
        assert torch.equal(tensor, of_run[name]), name


def test_snapshots_are_of_all_classes_at_once() -> None:
    seen: dict[int, ExemplarSet] = {}
    memory, _ = whole(miniature(), seen.__setitem__, [0, 2, 3])
    assert list(seen) == [0, 2, 3]
    assert all(snapshot.classes == list(range(10)) for snapshot in seen.values())
    assert isinstance(memory, ExemplarSet)
    assert torch.equal(seen[3].images, memory.images)
    assert not torch.equal(seen[0].images, memory.images)


def test_snapshots_of_more_images_than_a_class_has_are_refused() -> None:
    """The smallest class holds 174 eights, of which 43 are test images."""
    config = miniature(memory={"ipc": 132})
    with pytest.raises(UserError, match=r"^memory\.ipc: 132 is too much for a class of 131 images; use less\.$"):
        whole(config, lambda *_: None, [0])
    assert whole(miniature(memory={"ipc": 131}), lambda *_: None, [0])[0].labels.bincount().tolist() == [131] * 10


@pytest.mark.parametrize("method", ["herding", "k_centre", "closest", "random", "distilled"])
def test_a_network_is_trained_where_features_choose(method: str) -> None:
    _, said = whole(miniature(memory={"method": method}))
    assert (f"training a network for {method}'s features" in said) == (method not in ("random", "distilled"))
