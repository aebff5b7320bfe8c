"""What a run would do, counted without doing it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from iid_cl.budget import LABEL_BYTES
from iid_cl.config.experiment import DISTILLED_METHODS, REAL_METHODS, WITHOUT_MEMORY, Config, Method
from iid_cl.data.images import ImageDataset
from iid_cl.memory.exemplars import distilled_images
from iid_cl.memory.jpeg import fitting_as_jpeg
from iid_cl.methods.mixing import DENSE, JPEG_QUALITY, condensable, suited_partitions

SAMPLED = 10  # images of a class that are encoded


@dataclass(frozen=True)
class Distillation:
    """One of an experience: so many classes, each into so many stored images, made for JPEG or not."""

    classes: int
    count: int
    jpeg: bool = False


@dataclass(frozen=True)
class Step:
    """One experience of a method. Counts are those of one network where several share a memory.

    Attributes:
        classes: that arrive.
        train_images: of these classes.
        test_images: evaluated on afterwards, all classes seen.
        memory_bytes: that the budget allows afterwards.
        updates: mini-batches trained on; of JPEG and auto memories, whose number of images only the run tells, those
            that full-size images would take.
        distillations: made when it ends; `auto`, where it has chosen, is taken to distil in the way it begins with.
        judged: memories that `auto` compares.
    """

    classes: tuple[int, ...]
    train_images: int
    test_images: int
    memory_bytes: int
    updates: int
    distillations: tuple[Distillation, ...]
    judged: int = 0


def plan(config: Config, method: Method, dataset: ImageDataset, order: Sequence[Sequence[int]]) -> list[Step]:
    """The steps of a method through the stream, whose classes arrive in ``order``; for joint training a single one.

    Raises:
        UserError: the budget has no room for the classes.
    """
    if method == "joint":
        order = [[c for group in order for c in group]]
    train, test = (part.labels.bincount(minlength=len(dataset.class_names)) for part in (dataset.train, dataset.test))
    steps: list[Step] = []
    seen: list[int] = []
    way: Distillation | None = Distillation(0, 0)  # of `auto`: whole, where the first experience tells nothing apart
    for index, classes in enumerate(order):
        old, seen = list(seen), [*seen, *classes]
        counts = [int(train[c]) for c in seen]
        arrived = sum(counts[len(old) :])
        widest = max(len(group) for group in order[: index + 1])  # soft labels are as wide as that
        per_class, room = (0, 0) if method in WITHOUT_MEMORY else _per_class(config, method, dataset, seen, widest)
        kept = sum(min(per_class, count) for count in counts) * _parts(config, method)
        if method == "cumulative":
            updates = _batches(sum(counts), config.train.batch_size) * config.train.epochs
        else:
            updates = _updates(config, method, arrived, kept)
        judged = 0
        if method == "auto" and not old and len(classes) > 1:
            found, judged, way = _tried(config, dataset, classes, per_class, room)
        elif way is None:
            found = []
        elif way.jpeg:
            several = _as_jpeg(dataset, classes, room, JPEG_QUALITY)
            found = _distillations(config, method, dataset, old, classes, several, True)
        else:
            jpeg = config.memory.jpeg is not None
            found = _distillations(config, method, dataset, old, classes, per_class, jpeg)
        steps.append(
            Step(
                classes=tuple(classes),
                train_images=arrived,
                test_images=int(test[seen].sum()),
                memory_bytes=room * len(seen),
                updates=updates,
                distillations=tuple(found),
                judged=judged,
            )
        )
    return steps


def _per_class(
    config: Config, method: Method, dataset: ImageDataset, classes: Sequence[int], widest: int
) -> tuple[int, int]:
    """Stored images of a class, and the bytes of its share; soft labels are of ``widest`` classes at most."""
    memory, image_bytes = config.memory, math.prod(dataset.shape)
    room = memory.budget.room(len(classes), image_bytes)
    if method in REAL_METHODS or method == "reservoir":
        factor = memory.downscale if method in REAL_METHODS else 1
        return room // (image_bytes // factor**2 + LABEL_BYTES), room
    width = widest if memory.soft_labels else 0
    if memory.jpeg is not None and method in ("distilled", "hybrid"):
        return max(1, _as_jpeg(dataset, classes, room, memory.jpeg, width)), room
    return distilled_images(memory.budget, room, image_bytes, width, config.distill.factor), room


def _as_jpeg(dataset: ImageDataset, classes: Sequence[int], room: int, quality: int, soft_width: int = 0) -> int:
    """How many images of a class fit as JPEG, by a sample of each."""
    images = dataset.train.of_classes(classes).by_class()
    sampled = {c: members[:SAMPLED] for c, members in images.items()}
    return fitting_as_jpeg(sampled, room, quality, len(classes), soft_width)


def _parts(config: Config, method: Method) -> int:
    """Images trained on for each stored one."""
    return config.distill.factor**2 if method in DISTILLED_METHODS else 1


def _batches(images: int, size: int) -> int:
    return -(-images // size)


def _updates(config: Config, method: Method, arrived: int, kept: int) -> int:
    train = config.train
    if train.mode == "memory_only" and method not in WITHOUT_MEMORY:
        if train.memory_updates is not None:
            return train.memory_updates
        return train.memory_epochs * _batches(kept, train.batch_size)
    return train.epochs * _batches(arrived, train.batch_size)  # the memory is replayed beside them


def _distillations(
    config: Config,
    method: Method,
    dataset: ImageDataset,
    old: Sequence[int],
    arrived: Sequence[int],
    count: int,
    jpeg: bool,
) -> list[Distillation]:
    share = {"distilled": 1.0, "hybrid": config.memory.share, "auto": 1.0}.get(method, 0.0)
    some = round(share * count)
    found = [Distillation(len(arrived), some, jpeg)] if some else []
    shrinks = config.memory.budget.fixed and config.memory.shrink == "redistil" and not config.memory.soft_labels
    if old and shrinks and share == 1.0 and _fewer(config, method, dataset, old, arrived):
        found.append(Distillation(len(old), count, jpeg))
    return found


def _tried(
    config: Config, dataset: ImageDataset, arrived: Sequence[int], count: int, room: int
) -> tuple[list[Distillation], int, Distillation | None]:
    """What `auto` distils to compare, the number of memories compared, and what it begins with; None: real images."""
    new = len(arrived)
    several = _as_jpeg(dataset, arrived, room, JPEG_QUALITY) if dataset.shape[0] in (1, 3) else 0
    if several >= DENSE * count:
        whole = Distillation(new, count)
        if not condensable(several, dataset.train.of_classes(arrived).by_class()):
            return [whole], 2, None
        many = Distillation(new, several, True)
        return [many, Distillation(new, round(0.5 * several), True), whole], 4, many
    found = [Distillation(new, count) for _ in suited_partitions(config.distill, *dataset.shape[1:])]
    kept = found[0]
    found += [Distillation(new, round(0.5 * count))] if count > 1 else []
    return found, len(found) + 1 + (several > 0), kept


def _fewer(config: Config, method: Method, dataset: ImageDataset, old: Sequence[int], new: Sequence[int]) -> bool:
    before, after = (_per_class(config, method, dataset, classes, 0)[0] for classes in (old, [*old, *new]))
    return after < before
