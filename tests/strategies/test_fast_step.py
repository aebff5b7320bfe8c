"""A faster step trains as the strategy's own does: the same weights, metrics and loggers, whatever acts in between."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin
from avalanche.training.supervised import Naive
from torch import nn

from iid_cl.config.distill import NetworkConfig
from iid_cl.nets import build_network
from iid_cl.seeding import make_generator
from iid_cl.strategies import FastStepPlugin, InMemoryPlugin, MemoryOnly, MemoryReplayPlugin, RandomBuffer, fast_step
from iid_cl.strategies.augmentation import BatchAugmentationPlugin
from tests.strategies.conftest import NORMALIZATION, make_benchmark

Trained = tuple[list[torch.Tensor], dict[str, float]]


class Doubled(SupervisedPlugin):
    """Acts between the passes of a step."""

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.loss = 2 * strategy.loss


def network(norm: str = "instance") -> nn.Module:
    config = NetworkConfig(width=6, depth=2, norm=norm)
    return build_network(config, (1, 8, 8), 4, make_generator(1))


def trained(
    plugin: FastStepPlugin | None,
    *others: Any,
    memory_only: bool = False,
    criterion: nn.Module | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    model: nn.Module | None = None,
) -> Trained:
    """Weights and metrics after two experiences, with replay, augmentation and a falling rate."""
    model = model or network("batch")
    made = optimizer(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.MultiStepLR(made, [2], gamma=0.1)
    memory = RandomBuffer(2, seed=3, normalization=NORMALIZATION)
    plugins = [
        InMemoryPlugin(seed=5), BatchAugmentationPlugin(("crop", "scale"), make_generator(6)),
        LRSchedulerPlugin(schedule), *([] if memory_only else [MemoryReplayPlugin(memory)]), *others,
        *([] if plugin is None else [plugin]),
    ]  # fmt: skip
    arguments: dict[str, Any] = {
        "model": model, "optimizer": made, "criterion": criterion or nn.CrossEntropyLoss(), "plugins": plugins,
        "train_mb_size": 8, "train_epochs": 3, "eval_mb_size": 50,
        "evaluator": EvaluationPlugin(accuracy_metrics(minibatch=True, experience=True), loss_metrics(epoch=True)),
    }  # fmt: skip
    strategy = MemoryOnly(memory=memory, **arguments) if memory_only else Naive(**arguments)
    benchmark = make_benchmark("plain")
    for experience in list(benchmark.train_stream)[:2]:
        strategy.train(experience)
        assert not {"forward", "backward", "optimizer_step"} & set(vars(strategy))
        strategy.eval(list(benchmark.test_stream)[:2])
    metrics = {key: float(value) for key, value in strategy.evaluator.get_last_metrics().items()}
    return [value.detach().clone() for value in model.state_dict().values()], metrics


def same(one: Trained, other: Trained) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True)) and one[1] == other[1]


@pytest.fixture
def recordable(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A CPU that passes for a device on which steps are recorded; counts the steps taken at once."""
    taken = [0]
    step = fast_step.SgdStep.__call__

    def count(self: Any, *inputs: Any) -> torch.Tensor:
        taken[0] += 1
        return step(self, *inputs)

    monkeypatch.setattr(fast_step, "recordable", lambda strategy: True)
    monkeypatch.setattr(fast_step.SgdStep, "__call__", count)
    return taken


@pytest.mark.parametrize("memory_only", [False, True])
def test_a_step_taken_at_once_is_the_strategys_own(memory_only: bool, recordable: list[int]) -> None:
    own = trained(None, memory_only=memory_only)
    assert recordable == [0]
    fast = trained(FastStepPlugin(say=pytest.fail), memory_only=memory_only)
    assert recordable[0] > 0
    assert len(own[1]) == 4
    assert same(fast, own)


def test_where_nothing_is_recorded_a_short_training_stays_as_it_was() -> None:
    assert same(trained(FastStepPlugin(say=pytest.fail)), trained(None))


def test_passes_in_bfloat16_differ_by_rounding() -> None:
    own, rounded = trained(None, model=network()), trained(FastStepPlugin("bfloat16"), model=network())
    assert not same(rounded, own)
    for ours, theirs in zip(rounded[0], own[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.01)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"others": [Doubled()]}, "Doubled acts in before_backward"),
        ({"criterion": nn.CrossEntropyLoss(label_smoothing=0.1)}, "its loss is not the plain cross-entropy"),
        ({"optimizer": torch.optim.Adam}, "its optimizer is Adam, not SGD"),
    ],
)
def test_what_acts_in_between_keeps_the_strategys_own_step(
    changes: dict[str, Any], reason: str, recordable: list[int]
) -> None:
    lines: list[str] = []
    others = changes.pop("others", [])
    fast = trained(FastStepPlugin(say=lines.append), *others, **changes)
    assert lines == [f"steps of training are not recorded for the GPU, because {reason}."]
    assert recordable == [0]
    assert same(fast, trained(None, *others, **changes))


def test_another_model_is_trained_as_before_and_a_line_says_so() -> None:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))

    lines: list[str] = []
    fast = trained(FastStepPlugin(compile=True, say=lines.append), model=model())
    assert lines == ["Sequential is trained without a faster step, because it is no network of iid_cl.nets."]
    assert same(fast, trained(None, model=model()))


@pytest.mark.gpu
def test_recorded_steps_of_a_strategy_go_the_way_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, in float32; the memories and the mini-batches are the same."""
    model, own = network().cuda(), network().cuda()
    train = Naive.__init__
    monkeypatch.setattr(Naive, "__init__", lambda self, **rest: train(self, device=torch.device("cuda"), **rest))
    fast = trained(FastStepPlugin("float32", False, say=pytest.fail), model=model)
    for ours, theirs in zip(fast[0], trained(None, model=own)[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
