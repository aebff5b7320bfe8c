"""Counts the work of a run in advance."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, MethodName
from iid_cl.data.classes import Classes
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import Stream
from iid_cl.memory.space import Space
from iid_cl.methods.base import Arrival, Method, PlannedDistillation, Work
from iid_cl.methods.build import make_method

SAMPLED = 10  # images of a class that are encoded to estimate the number that fits


@dataclass(frozen=True)
class Step:
    """One experience of a method. If several networks share a memory, counts are for one network.

    Attributes:
        classes: that arrive.
        train_images: of these classes.
        test_images: of all classes seen.
        memory_bytes: that the budget allows afterwards.
        updates: mini-batches trained on; an estimate for JPEG memories, whose size in images only the run shows.
        distillations: at the end of the experience.
    """

    classes: tuple[int, ...]
    train_images: int
    test_images: int
    memory_bytes: int
    updates: int
    distillations: tuple[PlannedDistillation, ...]


def plan(
    config: Config, method: MethodName, dataset: ImageDataset, stream: Stream | Sequence[Sequence[int]]
) -> list[Step]:
    """The steps of a method through a stream, or one whose classes arrive in this order; joint training has one step.

    Raises:
        UserError: the budget has no room for the classes.
    """
    info = METHODS[method]
    stream = stream if isinstance(stream, Stream) else Stream.of(dataset, stream)
    if info.sees == "all":
        stream = Stream([stream.classes], [torch.cat(stream.train)], [torch.cat(stream.test)])
    planner = None if info.bound else _Planner(make_method(config, method), config, dataset)
    steps: list[Step] = []
    counts: Counter[int] = Counter()
    tested = 0
    for classes, rows, test_rows in zip(stream.order, stream.train, stream.test, strict=True):
        arrived = {**dict.fromkeys(classes, 0), **Counter(dataset.train.labels[rows].tolist())}
        counts.update(arrived)
        tested += len(test_rows)
        work, room = (Work(0), 0) if planner is None else planner.next(arrived)
        memory = sum(work.trained_on(count) for count in counts.values())
        data = counts.total() if info.sees == "so_far" else len(rows)
        steps.append(
            Step(
                classes=tuple(classes),
                train_images=len(rows),
                test_images=tested,
                memory_bytes=room * len(counts),
                updates=_updates(config, data, None if planner is None else memory),
                distillations=work.distillations,
            )
        )
    return steps


class _Planner:
    """A memory's work through the stream, from the numbers of images."""

    def __init__(self, method: Method, config: Config, dataset: ImageDataset) -> None:
        self._method, self._budget, self._dataset = method, config.memory.budget, dataset
        self._before: Space | None = None
        self._widest = 0
        self._sample: dict[int, torch.Tensor] = {}

    def next(self, counts: dict[int, int]) -> tuple[Work, int]:
        """The work of an experience, from its number of images per class, and the bytes per class afterwards."""
        images = self._dataset.train.of_classes(list(counts)).by_class()
        self._sample |= {label: images[label][:SAMPLED] for label in counts}
        self._widest = max(self._widest, len(counts))
        room = self._budget.room(len(self._sample), math.prod(self._dataset.shape), self._method.compresses)
        space = Space(self._budget, room, len(self._sample))
        work = self._method.work(Arrival(Classes(self._sample), counts, self._widest, self._before), space)
        self._before = space
        if work.then is not None:
            self._method = work.then
        return work, room


def _updates(config: Config, data: int, memory: int | None) -> int:
    """Mini-batches trained on, from the number of images in the data and in the memory, if any."""
    train = config.train
    if train.mode == "memory_only" and memory is not None:
        if train.memory_updates is not None:
            return train.memory_updates
        return train.memory_epochs * _batches(memory, train.batch_size)
    return train.epochs * _batches(data, train.batch_size)  # replayed images are in the same mini-batches


def _batches(images: int, size: int) -> int:
    return -(-images // size)
