"""Benchmarks of made-up images, experience by experience, of both of Avalanche's kinds."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline, with_task_labels
from avalanche.benchmarks.utils import (
    _make_taskaware_tensor_classification_dataset,
    as_classification_dataset,
)
from torch import Tensor
from torch.utils.data import TensorDataset

Counts = Mapping[int, int]  # images of each class


class Pictures(TensorDataset):
    """Float images in [0, 1] with int labels, as Avalanche's class-incremental benchmarks want them."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(images, labels)
        self.targets = labels.tolist()

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.tensors[0][index], self.targets[index]


def pictures(counts: Counts, shape: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Random images of whole bytes, class c around brightness 20 (c + 1), and their labels."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.tensor([c for c, count in counts.items() for _ in range(count)])
    noise = torch.randint(-15, 16, (len(labels), *shape), generator=draws)
    return (20 * (labels + 1)[:, None, None, None] + noise).to(torch.uint8).float() / 255, labels


def make_stream(
    kind: str,
    experiences: Sequence[Counts],
    shape: tuple[int, int, int] = (1, 8, 8),
    tasks: Sequence[int] = (0, 0),
) -> CLScenario:
    """A train stream of these experiences and a test stream of the same classes.

    ``kind``: ``task-aware`` samples are (x, y, t) with the task labels of ``tasks``, ``plain`` ones (x, y).
    """

    def dataset(number: int, seed: int) -> Any:
        images, labels = pictures(experiences[number], shape, seed)
        if kind == "task-aware":
            return _make_taskaware_tensor_classification_dataset(
                images, labels, task_labels=[tasks[number]] * len(labels)
            )
        return as_classification_dataset(Pictures(images, labels))

    numbers = range(len(experiences))
    benchmark = benchmark_from_datasets(
        train=[dataset(number, number) for number in numbers],
        test=[dataset(number, 100 + number) for number in numbers],
    )
    benchmark = with_classes_timeline(benchmark)
    return with_task_labels(benchmark) if kind == "task-aware" else benchmark
