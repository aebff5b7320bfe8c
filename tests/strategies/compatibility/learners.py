"""A small learner with one of our memories, and what its network gets to see."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.supervised import Naive
from torch import Tensor, nn

from iid_cl.strategies import MemoryBuffer, MemoryReplayPlugin


class Pooled(nn.Module):
    """A classifier of images of any size and colour."""

    def __init__(self, channels: int, head: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 6), nn.ReLU())
        self.classifier = head

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class Deliveries(SupervisedPlugin):
    """What reached the network: (class, task) counts, and the images, in each experience."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[Counter[tuple[int, int]]] = []
        self.images: list[list[Tensor]] = []

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.counts.append(Counter())
        self.images.append([])

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        tasks = strategy.mbatch[2].tolist() if len(strategy.mbatch) > 2 else [0] * len(strategy.mb_y)
        self.counts[-1].update(zip(strategy.mb_y.tolist(), tasks, strict=True))
        self.images[-1].append(strategy.mb_x)


def learner(model: nn.Module, buffer: MemoryBuffer, plugins: Sequence[Any] = (), criterion: Any = None) -> Naive:
    return Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss() if criterion is None else criterion,
        train_mb_size=4,
        eval_mb_size=4,
        plugins=[MemoryReplayPlugin(buffer), *plugins],
        evaluator=None,
    )
