"""A strategy that goes on from a saved state ends, byte for byte, as one that was never interrupted."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics
from avalanche.models import IncrementalClassifier
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, LRSchedulerPlugin, ReplayPlugin
from avalanche.training.supervised import Cumulative, Naive
from torch import nn

from iid_cl.errors import UserError
from iid_cl.strategies import (
    DistilledBuffer,
    DistilledReplay,
    HerdingBuffer,
    InMemoryPlugin,
    MemoryOnly,
    MemoryReplayPlugin,
    ReservoirBuffer,
    load,
    save,
)
from tests.strategies.conftest import TINY, make_benchmark

Build = Callable[[], Any]


class Growing(nn.Module):
    """A network whose last layer grows with the classes it has seen; with dropout, which draws globally."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.2))
        self.classifier = IncrementalClassifier(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.first(x))


def common(model: nn.Module | None = None, **optimizer: Any) -> dict[str, Any]:
    """What all strategies are built from: weights of one seed, momentum, and metrics that remember."""
    torch.manual_seed(5)
    model = model or nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 4))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is logged
        evaluator = EvaluationPlugin(accuracy_metrics(experience=True), forgetting_metrics(experience=True))
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, **optimizer),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": 4,
        "train_epochs": 2,
        "eval_mb_size": 8,
        "evaluator": evaluator,
    }


def distilled_replay() -> Any:
    parts = common()
    schedule = LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(parts["optimizer"], 3), reset_scheduler=False)
    return DistilledReplay(ipc=1, distill=TINY, soft_labels=True, plugins=[schedule], **parts)


def stock_replay() -> Any:
    return Naive(plugins=[ReplayPlugin(mem_size=4, storage_policy=HerdingBuffer(mem_size=4))], **common())


def in_memory() -> Any:
    buffer = DistilledBuffer(mem_size=4, distill=TINY)
    return Naive(plugins=[InMemoryPlugin(seed=1), MemoryReplayPlugin(buffer)], **common())


def growing() -> Any:
    return Naive(plugins=[MemoryReplayPlugin(ReservoirBuffer(mem_size=5))], **common(Growing()))


def memory_only() -> Any:
    return MemoryOnly(memory=DistilledBuffer(ipc=1, distill=TINY), **common())


def cumulative() -> Any:
    return Cumulative(**common())


def weights(strategy: Any) -> dict[str, torch.Tensor]:
    momenta = {
        f"momentum of {name}": strategy.optimizer.state[value].get("momentum_buffer", torch.zeros(1))
        for name, value in strategy.model.named_parameters()
    }
    return {name: value.clone() for name, value in {**strategy.model.state_dict(), **momenta}.items()}


def train(strategy: Any, benchmark: Any, numbers: range, path: Path | None = None) -> list[dict[str, Any]]:
    """Trains and tests on some experiences, and saves each; returns the metrics."""
    metrics = []
    for number in numbers:
        strategy.train(benchmark.train_stream[number])
        metrics.append(dict(strategy.eval(benchmark.test_stream)))
        if path is not None:
            save(strategy, path)
    return metrics


@pytest.mark.parametrize("build", [distilled_replay, stock_replay, in_memory, growing, memory_only, cumulative])
def test_a_resumed_strategy_ends_as_one_that_was_not_interrupted(build: Build, kind: str, tmp_path: Path) -> None:
    benchmark = make_benchmark(kind, experiences=4)
    torch.manual_seed(0)
    np.random.seed(0)
    whole = build()
    expected = train(whole, benchmark, range(4))

    torch.manual_seed(0)
    np.random.seed(0)
    train(build(), benchmark, range(2), tmp_path / "state")
    torch.manual_seed(77)  # another process
    again = build()
    assert load(again, tmp_path / "state", benchmark.train_stream) == 2
    assert train(again, benchmark, range(2, 4)) == expected[2:]
    found, wanted = weights(again), weights(whole)
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert again.clock.train_iterations == whole.clock.train_iterations
    if hasattr(whole, "memory"):
        assert torch.equal(again.memory.exemplars.images, whole.memory.exemplars.images)
        assert again.memory.updates == 4


def test_nothing_saved_is_nothing_loaded(tmp_path: Path) -> None:
    strategy = stock_replay()
    before = weights(strategy)
    assert load(strategy, tmp_path / "state", []) == 0
    assert all(torch.equal(value, before[name]) for name, value in weights(strategy).items())
    assert not (tmp_path / "state").exists()


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path) -> None:
    benchmark = make_benchmark("plain", experiences=4)
    train(stock_replay(), benchmark, range(3), tmp_path)
    newest = max(tmp_path.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"000003\.safetensors: is damaged .* going back to the checkpoint before it"):
        assert load(stock_replay(), tmp_path, benchmark.train_stream) == 2


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The state of a replay strategy after one experience."""
    train(stock_replay(), make_benchmark("plain"), range(1), tmp_path / "state")
    return tmp_path / "state"


def test_a_state_of_another_strategy_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match=r"holds a state of Naive with ReplayPlugin, EvaluationPlugin.*, but this is"):
        load(cumulative(), saved, make_benchmark("plain").train_stream)


def test_a_state_of_another_network_is_refused(saved: Path) -> None:
    parts = common(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    other = Naive(plugins=[ReplayPlugin(mem_size=4, storage_policy=HerdingBuffer(mem_size=4))], **parts)
    with pytest.raises(UserError, match=r"does not fit this strategy .*; build it as the one that was saved"):
        load(other, saved, make_benchmark("plain").train_stream)


def test_a_stream_that_is_too_short_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match="was trained on 1 experiences, but the stream has 0"):
        load(stock_replay(), saved, [])


def test_what_would_be_lost_is_refused(tmp_path: Path) -> None:
    strategy = Naive(plugins=[EWCPlugin(0.1)], **common())
    train(strategy, make_benchmark("plain"), range(1))
    with pytest.raises(UserError, match=r"save: EWCPlugin\.\w+ is a \w+, which cannot be saved; give the class"):
        save(strategy, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_avalanches_own_memories_are_refused(tmp_path: Path) -> None:
    strategy = Naive(plugins=[ReplayPlugin(mem_size=4)], **common())
    with pytest.raises(UserError, match=r"save: ReplayPlugin\.storage_policy is a ExperienceBalancedBuffer"):
        save(strategy, tmp_path)


def test_a_training_under_way_is_refused(tmp_path: Path) -> None:
    strategy = stock_replay()
    strategy.experience = make_benchmark("plain").train_stream[0]
    with pytest.raises(UserError, match="in the middle of an experience"):
        save(strategy, tmp_path)


def test_parameters_are_known_by_their_names(tmp_path: Path) -> None:
    """An optimizer may list the parameters in another order, once a model has grown."""
    benchmark = make_benchmark("plain")

    def build(backwards: bool) -> Any:
        parts = common()
        if backwards:
            parts["optimizer"].param_groups[0]["params"].reverse()
        return Naive(plugins=[ReplayPlugin(mem_size=4, storage_policy=HerdingBuffer(mem_size=4))], **parts)

    first = build(backwards=False)
    train(first, benchmark, range(1), tmp_path)
    again = build(backwards=True)
    load(again, tmp_path, benchmark.train_stream)
    found, wanted = weights(again), weights(first)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
