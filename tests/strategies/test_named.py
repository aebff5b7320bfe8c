"""The methods as storage policies: their arguments, and that Avalanche changes nothing of what is stored."""

from typing import Any

import pytest
import torch

import iid_cl.strategies.buffers as buffers
from iid_cl.budget import Budget
from iid_cl.config.distill import DistillConfig
from iid_cl.config.methods import METHODS
from iid_cl.config.reading import parse_config
from iid_cl.memory.storage import Jpeg, Whole
from iid_cl.methods.auto import Auto, Way
from iid_cl.methods.base import Method
from iid_cl.methods.build import make_method
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.memory import Memory
from iid_cl.methods.mixed import Mixed
from iid_cl.methods.real import Real
from iid_cl.methods.reservoir import Reservoir
from iid_cl.nets import NamedLayer
from iid_cl.strategies import (
    AutoBuffer,
    DistilledBuffer,
    HerdingBuffer,
    HybridBuffer,
    MemoryBuffer,
    RandomBuffer,
    RealBuffer,
    ReservoirBuffer,
)
from tests.methods.helpers import labelled

from .conftest import NORMALIZATION, TINY
from .made_up import AGENT, experience, flatten, noise

EMBEDDER = NamedLayer(torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3)), "0")


def distance(real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    return (real.flatten(2).mean(1) - synthetic.flatten(2).mean(1)).square().sum(1)


OF_DISTILLED: dict[str, Any] = {
    "distill": TINY, "soft_labels": True, "shrink": "cut", "jpeg": 30, "embedder": EMBEDDER, "objective": distance,
}  # fmt: skip
DISTILLED = Distilled(TINY, Jpeg(30), soft_labels=True, shrink_by="cut", embedder=EMBEDDER, objective=distance)
PLAIN = {key: OF_DISTILLED[key] for key in ("distill", "shrink", "embedder", "objective")}


@pytest.mark.parametrize(
    ("buffer", "method"),
    [
        (lambda: RealBuffer(2), Real("random")),
        (lambda: RealBuffer(2, rule="closest", downscale=2), Real("closest", Whole(2))),
        (lambda: RealBuffer(2, rule=max, jpeg=30), Real(max, Jpeg(30))),
        (lambda: RandomBuffer(2, jpeg=30), Real("random", Jpeg(30))),
        (lambda: HerdingBuffer(2, downscale=2), Real("herding", Whole(2))),
        (lambda: ReservoirBuffer(2), Reservoir()),
        (lambda: DistilledBuffer(2), Distilled(DistillConfig())),
        (lambda: DistilledBuffer(2, **OF_DISTILLED), DISTILLED),
        (lambda: HybridBuffer(2), Mixed(0.5, Distilled(DistillConfig()))),
        (lambda: HybridBuffer(2, share=0.25, **OF_DISTILLED), Mixed(0.25, DISTILLED)),
        (lambda: AutoBuffer(2), Auto(Distilled(DistillConfig()))),
        (lambda: AutoBuffer(2, soft_labels=True), Auto(Distilled(DistillConfig(), soft_labels=True))),
        (
            lambda: AutoBuffer(2, **PLAIN),
            Auto(Distilled(TINY, shrink_by="cut", embedder=EMBEDDER, objective=distance)),
        ),
    ],
    ids=lambda value: "" if callable(value) else type(value).__name__,
)
def test_arguments_of_a_buffer_are_those_of_its_method(buffer: Any, method: Method) -> None:
    assert buffer().method == method


BUFFERS: dict[str, type[MemoryBuffer]] = {
    "random": RandomBuffer,
    "distilled": DistilledBuffer,
    "hybrid": HybridBuffer,
    "auto": AutoBuffer,
    "reservoir": ReservoirBuffer,
    "herding": HerdingBuffer,
}


@pytest.mark.parametrize("name", BUFFERS)
def test_every_buffer_takes_any_budget_seed_and_normalisation(name: str) -> None:
    for budget in ({"ipc": 3}, {"mem_size": 4}, {"mem_bytes": 500}, {"class_bytes": 60}):
        buffer = BUFFERS[name](**budget, seed=7, normalization=NORMALIZATION)
        assert buffer.budget == Budget(**budget)
        assert buffer.memory.seed == 7
        assert buffer.normalization == NORMALIZATION


@pytest.mark.parametrize("name", ["distilled", "hybrid", "auto"])
def test_buffers_that_distil_take_a_place_augmentations_and_a_listener(name: str) -> None:
    def listener(iteration: int, losses: dict[str, float]) -> None:
        pass

    buffer = BUFFERS[name](3, device="meta", augmentations=["crop"], on_step=listener)
    assert (buffer.device, buffer.memory.augmentations, buffer.on_step) == ("meta", ("crop",), listener)
    assert BUFFERS[name](3).memory.augmentations == ("color", "crop", "cutout", "scale", "rotate")


@pytest.mark.parametrize(
    ("buffer", "arguments"),
    [
        (AutoBuffer, {"share": 0.2}),  # which it chooses itself
        (AutoBuffer, {"jpeg": 50}),
        (DistilledBuffer, {"share": 0.2}),
        (HerdingBuffer, {"rule": "random"}),
        (ReservoirBuffer, {"downscale": 2}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_what_means_nothing_to_a_buffer_is_no_argument(buffer: type[MemoryBuffer], arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(arguments))):
        buffer(1, **arguments)


# --- a plain loop


STREAM = (
    {0: noise(12), 3: noise(14, 1)},
    {5: noise(12, 2)},
    {3: noise(13, 3), 6: noise(12, 4), 7: noise(12, 5)},
)  # class 3 comes back


def buffer_of(name: str, method: Method, budget: Budget) -> MemoryBuffer:
    """By its class where it has one."""
    arguments: dict[str, Any] = {budget.key: budget.amount, "seed": 4}
    if name == "random":
        return RandomBuffer(**arguments)
    if name == "reservoir":
        return ReservoirBuffer(**arguments)
    if isinstance(method, Real):
        return RealBuffer(rule=name, features=flatten, **arguments)
    if name == "distilled":
        return DistilledBuffer(distill=TINY, **arguments)
    return {"hybrid": HybridBuffer, "auto": AutoBuffer}[name](distill=TINY, features=flatten, **arguments)


@pytest.mark.parametrize("budget", [Budget(ipc=2), Budget(mem_bytes=17 * 66)], ids=lambda budget: budget.key)
@pytest.mark.parametrize("name", [name for name, info in METHODS.items() if not info.bound])
def test_a_plain_loop_stores_the_bytes_of_the_buffer_in_avalanche(name: str, budget: Budget) -> None:
    config = parse_config({"distill": TINY.model_dump(mode="json")}, "a test")
    memory = Memory(make_method(config, name), budget, seed=4)
    buffer = buffer_of(name, make_method(config, name), budget)
    for groups in STREAM:
        memory.update(labelled(groups), features=lambda _, lens, __: lambda x: lens.show(x).flatten(1))
        buffer.post_adapt(AGENT, experience(groups))
        assert memory.exemplars is not None
        assert buffer.exemplars is not None
        stored, of_buffer = memory.exemplars.tensors(), buffer.exemplars.tensors()
        assert stored.keys() == of_buffer.keys()
        assert all(torch.equal(stored[key], of_buffer[key]) for key in stored)
    assert memory.describe() == buffer.describe()
    assert memory.keys == buffer.keys


def test_a_plain_loop_takes_task_labels_as_avalanche_does() -> None:
    memory, buffer = Memory("random", 2, seed=1), RandomBuffer(2, seed=1)
    for task in (0, 1, 0):
        part = {0: noise(6, task), 1: noise(6, 10 + task)}
        memory.update(labelled(part), tasks=torch.full((12,), task))
        one = experience(part)
        one.dataset.targets_task_labels = [task] * 12
        buffer.post_adapt(AGENT, one)
    assert memory.keys == buffer.keys == {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1)}
    assert memory.exemplars is not None
    assert torch.equal(memory.exemplars.tensors()["images"], buffer.exemplars.images)


# --- auto


def test_auto_shows_its_choice_and_takes_it_back_where_the_host_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an interrupt may come after the memory is made and before Avalanche has it."""
    memory = AutoBuffer(2, distill=TINY, features=flatten)
    assert memory.choice is None
    seen: list[Any] = []

    def stop(*_: Any) -> None:
        seen.append((memory.choice, len(memory.exemplars)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(buffers.Origins, "as_avalanche", stop)
        with pytest.raises(KeyboardInterrupt):
            memory.post_adapt(AGENT, experience({0: noise(200)}))
    ((choice, count),) = seen
    assert choice == Way(1.0, dct=True)
    assert count > 2
    assert (memory.choice, memory.exemplars, len(memory.buffer)) == (None, None, 0)
    memory.post_adapt(AGENT, experience({0: noise(200)}))
    assert memory.choice == Way(1.0, dct=True)
    assert memory.describe()["choice"] == "distilled as DCT"


def test_the_choice_of_auto_is_part_of_the_buffers_state() -> None:
    part = experience({0: noise(200)})
    memory, again = AutoBuffer(2, distill=TINY, features=flatten), AutoBuffer(2, distill=TINY, features=flatten)
    memory.post_adapt(AGENT, part)
    again.load_state_dict(memory.state_dict(), part.dataset)
    assert again.choice == memory.choice == Way(1.0, dct=True)
    assert len(again.buffer) == len(memory.buffer) > 2
