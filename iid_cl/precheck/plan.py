"""What a run would do, counted without doing it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, MethodName
from iid_cl.data.classes import Classes
from iid_cl.data.images import ImageDataset
from iid_cl.memory.space import Space
from iid_cl.methods.base import Arrival, Method, PlannedDistillation, Work
from iid_cl.methods.build import make_method

SAMPLED = 10  # images of a class that are encoded to see how many fit


@dataclass(frozen=True)
class Step:
    """One experience of a method. Counts are those of one network where several share a memory.

    Attributes:
        classes: that arrive.
        train_images: of these classes.
        test_images: evaluated on afterwards, all classes seen.
        memory_bytes: that the budget allows afterwards.
        updates: mini-batches trained on; of JPEG memories, whose number of images only the run tells, an estimate.
        distillations: made when it ends; `auto`, where it has chosen, is taken to distil in the way it begins with.
        judged: memories that `auto` compares.
    """

    classes: tuple[int, ...]
    train_images: int
    test_images: int
    memory_bytes: int
    updates: int
    distillations: tuple[PlannedDistillation, ...]
    judged: int = 0


def plan(config: Config, method: MethodName, dataset: ImageDataset, order: Sequence[Sequence[int]]) -> list[Step]:
    """The steps of a method through the stream, whose classes arrive in ``order``; for joint training a single one.

    Raises:
        UserError: the budget has no room for the classes.
    """
    info = METHODS[method]
    if info.sees == "all":
        order = [[c for group in order for c in group]]
    planner = None if info.bound else _Planner(make_method(config, method), config, dataset)
    train, test = (part.labels.bincount(minlength=len(dataset.class_names)) for part in (dataset.train, dataset.test))
    steps: list[Step] = []
    seen: list[int] = []
    for classes in order:
        seen = [*seen, *classes]
        counts = {c: int(train[c]) for c in seen}
        arrived = sum(counts[c] for c in classes)
        work, room = (Work(0), 0) if planner is None else planner.next({c: counts[c] for c in classes})
        memory = sum(work.trained_on(count) for count in counts.values())
        data = sum(counts.values()) if info.sees == "so_far" else arrived
        steps.append(
            Step(
                classes=tuple(classes),
                train_images=arrived,
                test_images=int(test[seen].sum()),
                memory_bytes=room * len(seen),
                updates=_updates(config, data, None if planner is None else memory),
                distillations=work.distillations,
                judged=work.judged,
            )
        )
    return steps


class _Planner:
    """A memory on its way through the stream, without images."""

    def __init__(self, method: Method, config: Config, dataset: ImageDataset) -> None:
        self._method, self._budget, self._dataset = method, config.memory.budget, dataset
        self._before: Space | None = None
        self._widest = 0
        self._sample: dict[int, torch.Tensor] = {}

    def next(self, counts: dict[int, int]) -> tuple[Work, int]:
        """What an experience of so many images of each class takes, and the bytes of a class after it."""
        images = self._dataset.train.of_classes(list(counts)).by_class()
        self._sample |= {label: images[label][:SAMPLED] for label in counts}
        self._widest = max(self._widest, len(counts))
        room = self._budget.room(len(self._sample), math.prod(self._dataset.shape))
        space = Space(self._budget, room, len(self._sample))
        work = self._method.work(Arrival(Classes(self._sample), counts, self._widest, self._before), space)
        self._before = space
        if work.then is not None:
            self._method = work.then
        return work, room


def _updates(config: Config, data: int, memory: int | None) -> int:
    """Mini-batches trained on, from so many images of the data and, if there is one, of the memory."""
    train = config.train
    if train.mode == "memory_only" and memory is not None:
        if train.memory_updates is not None:
            return train.memory_updates
        return train.memory_epochs * _batches(memory, train.batch_size)
    return train.epochs * _batches(data, train.batch_size)  # the memory is replayed beside them


def _batches(images: int, size: int) -> int:
    return -(-images // size)
