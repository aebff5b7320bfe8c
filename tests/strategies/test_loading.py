"""Mini-batches from tensors against those of Avalanche's loaders."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_tensor_classification_dataset
from avalanche.benchmarks.utils.data_loader import (
    GroupBalancedDataLoader,
    GroupBalancedInfiniteDataLoader,
    ReplayDataLoader,
    SingleDatasetDataLoader,
    TaskBalancedDataLoader,
)
from torch.utils.data import DataLoader, RandomSampler, WeightedRandomSampler

from iid_cl.errors import UserError
from iid_cl.strategies.in_memory import InMemoryPlugin
from iid_cl.strategies.loading import Source, TensorLoader, translate


def data(tasks: list[int], start: int = 0) -> AvalancheDataset:
    """A sample of its own value per entry, with that task label."""
    values = torch.arange(start, start + len(tasks))
    return _make_taskaware_tensor_classification_dataset(values.float().view(-1, 1), values, task_labels=tasks)


def ours(loader: Any, seed: int = 0) -> TensorLoader:
    """What the plugin makes of a loader."""
    strategy = SimpleNamespace(dataloader=loader, device=torch.device("cpu"))
    InMemoryPlugin(seed=seed).before_training_epoch(strategy)
    assert isinstance(strategy.dataloader, TensorLoader)
    return strategy.dataloader


def by_task(loader: Any) -> list[Counter[int]]:
    """How many samples of each task every mini-batch has."""
    return [Counter(batch[2].tolist()) for batch in loader]


EVEN, UNEVEN, MEMORY = data([0] * 10), data([0] * 7 + [1] * 3), data([5] * 5, start=100)
LOADERS: dict[str, Any] = {
    "plain": lambda: DataLoader(EVEN, batch_size=4, shuffle=True),
    "plain, last dropped": lambda: DataLoader(EVEN, batch_size=4, shuffle=True, drop_last=True),
    "plain, too few": lambda: DataLoader(EVEN, batch_size=20, shuffle=True, drop_last=True),
    "single": lambda: SingleDatasetDataLoader(EVEN, batch_size=5),
    "balanced": lambda: GroupBalancedDataLoader([EVEN, MEMORY], batch_size=5, shuffle=True),
    "balanced, repeated": lambda: GroupBalancedDataLoader(
        [EVEN, MEMORY], oversample_small_groups=True, batch_size=5, shuffle=True
    ),
    "tasks": lambda: TaskBalancedDataLoader(UNEVEN, batch_size=4, shuffle=True),
    "tasks, repeated": lambda: TaskBalancedDataLoader(UNEVEN, batch_size=4, oversample_small_groups=True, shuffle=True),
    "replay": lambda: ReplayDataLoader(
        EVEN, MEMORY, oversample_small_tasks=True, batch_size=3, batch_size_mem=2, shuffle=True
    ),
    "replay, not repeated": lambda: ReplayDataLoader(EVEN, MEMORY, batch_size=2, batch_size_mem=2, shuffle=True),
    "replay, large memory": lambda: ReplayDataLoader(
        MEMORY, EVEN, oversample_small_tasks=True, batch_size=2, batch_size_mem=3, shuffle=True
    ),
    "replay, last dropped": lambda: ReplayDataLoader(
        EVEN, MEMORY, oversample_small_tasks=True, batch_size=3, batch_size_mem=2, shuffle=True, drop_last=True
    ),
    "replay, memory dropped": lambda: ReplayDataLoader(
        EVEN, MEMORY, oversample_small_tasks=True, batch_size=3, batch_size_mem=8, shuffle=True, drop_last=True
    ),
    "replay, by task": lambda: ReplayDataLoader(
        EVEN,
        UNEVEN,
        oversample_small_tasks=True,
        batch_size=4,
        batch_size_mem=4,
        task_balanced_dataloader=True,
        shuffle=True,
    ),
}


@pytest.mark.parametrize("name", LOADERS)
def test_mini_batches_are_made_up_as_avalanches_are(name: str) -> None:
    stock = LOADERS[name]()
    loader = ours(stock)
    assert len(loader) == len(stock)
    assert by_task(loader) == by_task(stock)
    for mine, theirs in zip(loader, stock, strict=True):
        assert [item.dtype for item in mine] == [item.dtype for item in theirs]
        assert [item.shape for item in mine] == [item.shape for item in theirs]
        assert torch.equal(mine[0].squeeze(1).long(), mine[1])  # image and label belong together
        assert mine[2].tolist() == theirs[2].tolist()  # current data first, then memory


def test_replay_counted_by_hand() -> None:
    loader = ours(LOADERS["replay"]())
    # ten images by threes; five of memory by twos, and again
    expected = [{0: 3, 5: 2}, {0: 3, 5: 2}, {0: 3, 5: 1}, {0: 1, 5: 2}]
    assert by_task(loader) == expected
    values = torch.cat([batch[1] for batch in loader])
    assert sorted(v for v in values.tolist() if v < 100) == list(range(10))
    memory = [v for v in values.tolist() if v >= 100]
    assert sorted(memory[:5]) == [100, 101, 102, 103, 104]
    assert len(set(memory[5:])) == 2


def test_each_pass_is_shuffled_afresh() -> None:
    loader = ours(LOADERS["replay, large memory"]())
    epochs = [[v for batch in loader for v in batch[1].tolist()] for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    stock = ReplayDataLoader(EVEN, MEMORY, oversample_small_tasks=True, batch_size=1, batch_size_mem=5, shuffle=True)
    assert len({tuple(batch[1].tolist()[1:]) for batch in ours(stock)}) > 5  # of ten passes over five images


def test_unshuffled_loaders_keep_the_order() -> None:
    batches = [batch[1].tolist() for batch in ours(SingleDatasetDataLoader(EVEN, batch_size=4))]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_seed_repeats_the_order() -> None:
    one, again, other = ([batch[1].tolist() for batch in ours(LOADERS["plain"](), seed)] for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_an_empty_data_set_has_no_mini_batches() -> None:
    loader = ours(SingleDatasetDataLoader(EVEN.subset([]), batch_size=4))
    assert len(loader) == 0
    assert list(loader) == []


def test_what_is_served_is_a_copy() -> None:
    images = torch.ones(4, 1)
    source = Source([images], torch.arange(4), [], [], 4)
    settings = {"lead": 0, "oversample": False, "drop_last": False, "generator": torch.Generator()}
    for batch in TensorLoader([source], shuffle=False, **settings):
        batch[0].zero_()
    assert images.sum() == 4


def test_sources_with_transforms_of_their_own_are_transformed_apart() -> None:
    sources = [
        Source([torch.full((2, 1), value), torch.arange(2)], torch.arange(2), [], [(0, transform)], 2)
        for value, transform in ((1.0, lambda x: x + 1), (10.0, lambda x: x * 2))
    ]
    settings = {"lead": 0, "oversample": True, "shuffle": False, "drop_last": False, "generator": torch.Generator()}
    (batch,) = TensorLoader(sources, **settings)
    assert batch[0].flatten().tolist() == [2, 2, 20, 20]
    assert batch[1].tolist() == [0, 1, 0, 1]


def test_samples_of_different_make_are_not_joined() -> None:
    sources = [Source([torch.zeros(2, 1)] * 2, torch.arange(2), extra, [], 2) for extra in ([], [torch.zeros(2)])]
    settings = {"lead": 0, "oversample": True, "shuffle": False, "drop_last": False, "generator": torch.Generator()}
    with pytest.raises(UserError, match="differ in what a sample holds"):
        next(iter(TensorLoader(sources, **settings)))


class OwnLoader(DataLoader[Any]):
    pass


REFUSED: dict[str, Any] = {
    "list": lambda: [[torch.zeros(1)]],
    "OwnLoader": lambda: OwnLoader(EVEN),
    "DataLoader": lambda: DataLoader(EVEN, collate_fn=lambda samples: samples),
    "DataLoader, weighted": lambda: DataLoader(EVEN, sampler=WeightedRandomSampler([1.0] * 10, 10)),
    "DataLoader, with replacement": lambda: DataLoader(EVEN, sampler=RandomSampler(EVEN, replacement=True)),
    "DataLoader, some only": lambda: DataLoader(EVEN, sampler=RandomSampler(EVEN, num_samples=4)),
    "DataLoader, batches of its own": lambda: DataLoader(EVEN, batch_sampler=[[0, 1], [5]]),
    "GroupBalancedInfiniteDataLoader": lambda: GroupBalancedInfiniteDataLoader([EVEN]),
    "SingleDatasetDataLoader": lambda: SingleDatasetDataLoader(EVEN, collate_fn=lambda samples: samples),
}


@pytest.mark.parametrize("name", REFUSED)
def test_loaders_with_a_mind_of_their_own_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"come from a {name.split(',')[0]} .* leave it out"):
        translate(REFUSED[name]())


def test_distributed_training_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from avalanche.distributed.distributed_helper import _DistributedHelperCls

    monkeypatch.setattr(_DistributedHelperCls, "is_distributed", True)
    with pytest.raises(UserError, match="distributed training"):
        translate(DataLoader(EVEN))
