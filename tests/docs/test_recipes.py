"""The recipes of docs/without_avalanche.md, in the hands of the programs that they are for."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iid_cl import Memory

from . import hosts
from .blocks import ROOT, blocks
from .setups import SETUPS, TINY

PAGE = ROOT / "docs" / "without_avalanche.md"
IMAGES = torch.randint(256, (48, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(48) // 12  # four classes of twelve images


@pytest.fixture(autouse=True)
def _no_hosts_afterwards() -> Iterator[None]:
    yield
    hosts.remove()


def recipe(setup: str) -> dict[str, Any]:
    """The names that the page's block with this setup defines."""
    (block,) = [block for block in blocks(PAGE) if block.setups == [setup]]
    namespace = {"__name__": "a_page", **SETUPS[setup]()}
    exec(compile(block.tested, block.where, "exec"), namespace)
    return namespace


def expected(**budget: int) -> Memory:
    """The memory of two tasks of two classes, by hand."""
    given = SETUPS["loop"]()
    memory = Memory(given["Distilled"](TINY), device="cpu", **budget)  # type: ignore[misc]
    for task in ([0, 1], [2, 3]):
        rows = torch.isin(LABELS, torch.tensor(task))
        memory.update(IMAGES[rows], LABELS[rows])
    return memory


def test_the_loop_replays_what_its_memory_holds(in_tmp_path: object) -> None:
    memory = recipe("loop")["memory"]
    assert Counter(memory[:][1].tolist()) == {0: 2, 1: 2, 2: 2, 3: 2}
    assert memory.updates == 2


class Task:
    """A task of Mammoth's: batches of augmented images, labels and plain images from 0 to 1."""

    def __init__(self, classes: list[int]) -> None:
        rows = torch.isin(LABELS, torch.tensor(classes)).nonzero().squeeze(1)
        self.train_loader = [(-IMAGES[part] / 255, LABELS[part], IMAGES[part] / 255) for part in rows.split(8)]


def test_mammoth_replays_the_memory() -> None:
    model = recipe("mammoth")["ErDistilled"](
        None, None, hosts.arguments(buffer_size=8, minibatch_size=5), transform=lambda image: image + 1
    )
    for classes in ([0, 1], [2, 3]):
        task = Task(classes)
        for inputs, labels, plain in task.train_loader:
            model.observe(inputs, labels, plain)
        model.end_task(task)
    assert [len(batch) for batch in model.seen] == [8, 8, 8, 13, 13, 13]
    assert {label for batch in model.seen[3:] for label in batch[8:]} <= {0, 1}
    images, labels = model.buffer.get_all_data()
    by_hand = expected(mem_size=8)
    assert torch.equal(images, by_hand[:][0])
    assert torch.equal(labels, by_hand[:][1])
    assert len(model.buffer) == 8


@pytest.mark.parametrize(
    ("args", "budget"),
    [
        ({"memory_size": 8}, {"mem_size": 8}),
        ({"memory_size": 99, "memory_per_class": 3, "fixed_memory": True}, {"ipc": 3}),
    ],
    ids=["in total", "per class"],
)
def test_pycil_replays_the_memory(args: dict[str, Any], budget: dict[str, int]) -> None:
    learner = recipe("pycil")["ReplayDistilled"](args)
    manager = hosts.DataManager(IMAGES.permute(0, 2, 3, 1).numpy(), LABELS.numpy(), increment=2)
    for _ in range(2):
        learner.incremental_train(manager)
        learner.after_task()
    first, second = learner.trained_on
    assert len(first) == 24
    replayed = second[24:]
    assert Counter(int(label) for _, label in replayed) == dict.fromkeys((0, 1), len(replayed) // 2)
    assert replayed[0][0].shape == (8, 8, 3)
    assert replayed[0][0].dtype == np.uint8
    by_hand = expected(**budget).exemplars
    assert by_hand is not None
    assert torch.equal(channels_first(learner._data_memory), by_hand.decoded().images)
    assert learner._targets_memory.tolist() == by_hand.decoded().labels.tolist()


def channels_first(images: Any) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)
