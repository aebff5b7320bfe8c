from collections import Counter
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.supervised import Naive

from iid_cl.errors import UserError
from iid_cl.strategies import DistilledReplay, DistilledReplayPlugin, MemoryReplayPlugin, RandomBuffer

from .conftest import NORMALIZATION, TINY, make_benchmark


class Batches(SupervisedPlugin):
    """Keeps each experience's mini-batch labels."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: dict[int, list[Counter[int]]] = {}
        self.images: list[torch.Tensor] = []

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        number = strategy.clock.train_exp_counter
        self.labels.setdefault(number, []).append(Counter(strategy.mb_y.tolist()))
        self.images.append(strategy.mb_x.clone())


def replay(network: torch.nn.Module, plugins: list[Any], **arguments: Any) -> DistilledReplay:
    return DistilledReplay(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        criterion=torch.nn.CrossEntropyLoss(),
        distill=TINY,
        normalization=NORMALIZATION,
        plugins=plugins,
        evaluator=None,
        **{"ipc": 1, "train_mb_size": 6, **arguments},
    )


@pytest.mark.parametrize("form", ["pil", "bytes", "unit"])
def test_it_trains_on_current_data_and_memory(form: str, kind: str, network: torch.nn.Module) -> None:
    batches = Batches()
    strategy = replay(network, [batches])
    for experience in make_benchmark(kind, form).train_stream:
        strategy.train(experience)
    assert set().union(*batches.labels[0]) == {0, 1}
    for batch in batches.labels[1]:
        assert batch[0] + batch[1] == 6  # two stored images fill the memory's half of the batch
        assert batch[0] == batch[1] == 3
        assert batch[2] + batch[3] == 6
    assert strategy.memory.exemplars.classes == [0, 1, 2, 3]


def test_a_small_memory_survives_drop_last(network: torch.nn.Module) -> None:
    batches = Batches()
    strategy = replay(network, [batches], train_mb_size=8)
    for experience in make_benchmark("plain").train_stream:
        strategy.train(experience, drop_last=True)
    assert all(batch[0] + batch[1] == 8 for batch in batches.labels[1])


def test_the_memory_batch_can_be_set(network: torch.nn.Module) -> None:
    batches = Batches()
    strategy = Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=6,
        plugins=[batches, MemoryReplayPlugin(RandomBuffer(2), batch_size=4, batch_size_mem=6)],
        evaluator=None,
    )
    for experience in make_benchmark("plain").train_stream:
        strategy.train(experience)
    assert [batch[0] + batch[1] for batch in batches.labels[1]] == [6, 6, 6]  # 12 new images, 4 at a time


def test_the_plugin_does_what_the_strategy_does(kind: str, network: torch.nn.Module) -> None:
    plugin = DistilledReplayPlugin(1, distill=TINY, normalization=NORMALIZATION)
    plain = Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=6,
        plugins=[plugin],
        evaluator=None,
    )
    for experience in make_benchmark(kind).train_stream:
        plain.train(experience)
    other = replay(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)), [])
    for experience in make_benchmark(kind).train_stream:
        other.train(experience)
    # the memory is distilled from data alone: learners of any kind get the same
    assert torch.equal(plugin.storage_policy.exemplars.images, other.memory.exemplars.images)


def test_it_evaluates_like_any_strategy(kind: str, network: torch.nn.Module) -> None:
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin

    strategy = DistilledReplay(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9),
        criterion=torch.nn.CrossEntropyLoss(),
        ipc=1,
        distill=TINY,
        train_mb_size=6,
        train_epochs=15,
        evaluator=EvaluationPlugin(accuracy_metrics(stream=True)),
    )
    benchmark = make_benchmark(kind)
    for experience in benchmark.train_stream:
        strategy.train(experience)
    metrics = strategy.eval(benchmark.test_stream)
    (accuracy,) = [value for name, value in metrics.items() if name.startswith("Top1_Acc_Stream")]
    assert accuracy > 0.5  # four classes; without memory the first two are lost and it stays at or below one half


def test_memory_images_are_no_parameters(network: torch.nn.Module) -> None:
    strategy = replay(network, [])
    for experience in make_benchmark("plain").train_stream:
        strategy.train(experience)
    optimised = sum(p.numel() for group in strategy.optimizer.param_groups for p in group["params"])
    assert optimised == sum(p.numel() for p in network.parameters())
    assert not strategy.memory.exemplars.images.requires_grad


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({}, ("ipc", 10)),
        ({"ipc": 3}, ("ipc", 3)),
        ({"mem_size": 8}, ("mem_size", 8)),
        ({"mem_bytes": 700}, ("mem_bytes", 700)),
        ({"class_bytes": 99}, ("class_bytes", 99)),
    ],
    ids=str,
)
def test_any_budget_can_be_given(budget: dict[str, int], expected: tuple[str, int], network: torch.nn.Module) -> None:
    strategy = replay(network, [], **{"ipc": None, **budget})
    for memory in (strategy.memory, DistilledReplayPlugin(**budget).storage_policy):
        assert (memory.budget.key, memory.budget.amount) == expected


def test_two_budgets_are_refused(network: torch.nn.Module) -> None:
    with pytest.raises(UserError, match="ipc: 2, mem_size: 8"):
        replay(network, [], ipc=2, mem_size=8)


def test_a_fixed_total_is_replayed_and_never_exceeded(kind: str, network: torch.nn.Module) -> None:
    batches = Batches()
    strategy = replay(network, [batches], ipc=None, mem_size=5)
    for experience in make_benchmark(kind).train_stream:
        strategy.train(experience)
    assert strategy.memory.exemplars.labels.tolist() == [0, 1, 2, 3]
    assert all(batch[0] + batch[1] == 6 for batch in batches.labels[1])
