"""What Avalanche's own tests of replay ask of a buffer (tests/training/test_replay.py of version 0.6.0), asked of ours.

Their data are vectors; here they are images. There is one difference: classes have equal shares in our memories. So up
to one image a class stays free where Avalanche's buffers are filled to the last image.
"""

from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from avalanche.benchmarks import CLScenario, nc_benchmark
from avalanche.benchmarks.utils.flat_data import _flatdata_depth
from avalanche.models import SimpleMLP
from avalanche.training import Naive
from avalanche.training.plugins import ReplayPlugin
from torch.utils.data import TensorDataset

from iid_cl.strategies import DistilledBuffer, HerdingBuffer, MemoryBuffer, RandomBuffer

from ..conftest import TINY

PER_CLASS = 40


def flatten(*_: Any) -> Any:
    return lambda images: images.flatten(1)


BUFFERS: dict[str, Any] = {
    "random": RandomBuffer,
    "herding": lambda **budget: HerdingBuffer(**budget, features=flatten),
    "distilled": lambda **budget: DistilledBuffer(**budget, distill=TINY),
}


@pytest.fixture(params=BUFFERS)
def make(request: pytest.FixtureRequest) -> Any:
    return BUFFERS[request.param]


@pytest.fixture(scope="module")
def benchmark() -> CLScenario:
    """Ten classes in five experiences, with task labels."""
    images = torch.rand(10 * PER_CLASS, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(images, torch.arange(10).repeat_interleave(PER_CLASS))
    return nc_benchmark(data, data, 5, task_labels=True, seed=0)


def learner(buffer: MemoryBuffer, epochs: int) -> Naive:
    model = SimpleMLP(input_size=16, hidden_size=10)
    return Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.001),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=32,
        train_epochs=epochs,
        evaluator=None,
        plugins=[ReplayPlugin(mem_size=buffer.max_size, storage_policy=buffer)],
    )


@pytest.mark.parametrize(("size", "epochs"), [(25, 1), (60, 0)])
def test_the_memory_is_full_and_balanced(make: Any, benchmark: CLScenario, size: int, epochs: int) -> None:
    buffer = make(mem_size=size)
    strategy = learner(buffer, epochs)
    for number, experience in enumerate(benchmark.train_stream, start=1):
        strategy.train(experience)
        share = min(size // (2 * number), PER_CLASS)
        assert [len(group) for group in buffer.buffer_datasets] == [share] * (2 * number)
        assert [len(group.buffer) for group in buffer.buffer_groups.values()] == [share] * (2 * number)
        assert size - 2 * number * share < 2 * number
        assert buffer.max_size == size


def test_a_buffers_data_set_grows_no_deeper(make: Any, benchmark: CLScenario) -> None:
    buffer, depths = make(mem_size=60), []
    for experience in benchmark.train_stream:
        buffer.update_from_dataset(experience.dataset)
        depths.append(_flatdata_depth(buffer.buffer._flat_data))
    assert len(set(depths)) == 1


def test_a_mock_is_strategy_enough(make: Any, benchmark: CLScenario) -> None:
    buffer = make(mem_size=60)
    for experience in benchmark.train_stream:
        buffer.update(MagicMock(experience=experience))
    assert sorted(buffer.buffer_groups) == list(range(10))
