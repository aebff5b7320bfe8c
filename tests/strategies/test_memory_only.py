import copy
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import LRSchedulerPlugin

from iid_cl.strategies import MemoryOnly, RandomBuffer
from iid_cl.strategies.memory_only import UpdateLimitPlugin

from .conftest import NORMALIZATION, make_benchmark


class Spy(SupervisedPlugin):
    """Weights at the start of each experience's training, and all images trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[dict[str, torch.Tensor]] = []
        self.images: list[set[bytes]] = []
        self.momenta: list[int] = []

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.weights.append({name: value.clone() for name, value in strategy.model.state_dict().items()})
        self.momenta.append(sum("momentum_buffer" in state for state in strategy.optimizer.state.values()))
        self.images.append(set())

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        self.images[-1] |= {image.numpy().tobytes() for image in strategy.mb_x}


def train(network: torch.nn.Module, kind: str) -> tuple[Spy, MemoryOnly]:
    spy = Spy()
    strategy = MemoryOnly(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
        criterion=torch.nn.CrossEntropyLoss(),
        memory=RandomBuffer(2, normalization=NORMALIZATION),
        train_mb_size=4,
        train_epochs=3,
        plugins=[spy],
        evaluator=None,
    )
    for experience in make_benchmark(kind).train_stream:
        strategy.train(experience)
    return spy, strategy


def test_each_experience_starts_from_the_initial_weights(network: torch.nn.Module, kind: str) -> None:
    spy, strategy = train(network, kind)
    for name, value in spy.weights[0].items():
        assert torch.equal(value, spy.weights[1][name])
    assert any(not torch.equal(v, strategy.model.state_dict()[k]) for k, v in spy.weights[1].items())
    assert spy.momenta == [0, 0]  # nor does the optimizer carry anything over


def test_it_trains_on_the_memory_and_nothing_else(network: torch.nn.Module, kind: str) -> None:
    spy, strategy = train(network, kind)
    stored = [NORMALIZATION.apply(image).numpy().tobytes() for image in strategy.memory.exemplars.images]
    assert spy.images[0] == set(stored[:4])
    assert spy.images[1] == set(stored)


def test_a_second_strategy_trains_on_the_memory_of_the_first(network: torch.nn.Module, kind: str) -> None:
    memory = RandomBuffer(2, normalization=NORMALIZATION)
    updates = []
    fill = memory.post_adapt
    memory.post_adapt = lambda strategy, experience: (updates.append(experience), fill(strategy, experience))  # type: ignore[method-assign]
    spies = [Spy(), Spy()]
    networks = [network, copy.deepcopy(network)]
    first, second = (
        MemoryOnly(
            model=one,
            optimizer=torch.optim.SGD(one.parameters(), lr=0.1),
            criterion=torch.nn.CrossEntropyLoss(),
            memory=memory,
            fill_memory=number == 0,
            train_mb_size=4,
            plugins=[spies[number]],
            evaluator=None,
        )
        for number, one in enumerate(networks)
    )
    experiences = list(make_benchmark(kind).train_stream)
    for experience in experiences:
        first.train(experience)
        second.train(experience)
    assert updates == experiences
    assert spies[0].images == spies[1].images
    assert [len(images) for images in spies[1].images] == [4, 8]


class Counted(SupervisedPlugin):
    """Learning rates of each experience's updates."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[list[float]] = []

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.rates.append([])

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        self.rates[-1].append(strategy.optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("updates", [1, 2, 3, 7])
def test_a_limit_of_updates_holds_for_each_experience_and_drops_the_rate_half_way(
    network: torch.nn.Module, updates: int
) -> None:
    counted = Counted()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    half = (updates + 1) // 2
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [half], gamma=0.1)
    strategy = MemoryOnly(
        model=network,
        optimizer=optimizer,
        criterion=torch.nn.CrossEntropyLoss(),
        memory=RandomBuffer(2, normalization=NORMALIZATION),
        train_mb_size=3,  # passes of a few batches, which end at the limit or in the midst of a pass
        plugins=[LRSchedulerPlugin(schedule, step_granularity="iteration"), UpdateLimitPlugin(updates), counted],
        evaluator=None,
    )
    experiences = list(make_benchmark("plain").train_stream)
    for experience in experiences:
        strategy.train(experience)
    assert len(counted.rates) == len(experiences) > 1
    for rates in counted.rates:
        assert rates == pytest.approx([1.0] * half + [0.1] * (updates - half))
