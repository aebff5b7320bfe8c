"""The experiences of a stream: their classes, and which images arrive in each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.images import ImageDataset
from iid_cl.errors import UserError
from iid_cl.seeding import make_generator


@dataclass(frozen=True)
class Stream:
    """Experiences that share out a data set's images; each image belongs to one at most.

    Attributes:
        order: classes of each experience.
        train: rows (n,) of each experience in the training part.
        test: rows (n,) of each experience in the test part.
    """

    order: list[list[int]]
    train: list[Tensor]
    test: list[Tensor]

    @classmethod
    def of(cls, dataset: ImageDataset, order: Sequence[Sequence[int]], seed: int = 0) -> "Stream":
        """The stream in which a data set's classes arrive in this order.

        The images of a class that comes back are shared out evenly among its experiences, by a draw.

        Raises:
            UserError: a class comes more often than it has images.
        """
        groups = [list(classes) for classes in order]
        train, test = (
            _shared_out(part.labels, groups, dataset.class_names, seed, name)
            for name, part in (("training", dataset.train), ("test", dataset.test))
        )
        return cls(groups, train, test)

    @classmethod
    def of_domains(cls, dataset: ImageDataset) -> "Stream":
        """The stream in which the domains of a data set follow one another, each with all classes."""
        train, test = (
            list(torch.arange(sum(counts)).split(counts))
            for counts in ([domain.train for domain in dataset.domains], [domain.test for domain in dataset.domains])
        )
        return cls([list(range(len(dataset.class_names))) for _ in dataset.domains], train, test)

    @property
    def classes(self) -> list[int]:
        """All classes, in the order in which they first arrive."""
        return first_arrivals(self.order)


def first_arrivals(order: Sequence[Sequence[int]]) -> list[int]:
    """The classes of a stream, in the order in which they first arrive.

    >>> first_arrivals([[3, 1], [1, 2]])
    [3, 1, 2]
    """
    return list(dict.fromkeys(label for classes in order for label in classes))


def _shared_out(
    labels: Tensor, order: Sequence[Sequence[int]], names: Sequence[str], seed: int, part: str
) -> list[Tensor]:
    """Rows of each experience, ascending."""
    times = Counter(label for classes in order for label in classes)
    shares: dict[int, list[Tensor]] = {}
    for label, count in ((label, count) for label, count in times.items() if count > 1):
        rows = (labels == label).nonzero().squeeze(1)
        if len(rows) < count:
            raise UserError(
                f"stream.classes: class {label} comes {count} times, but {names[label]!r} has {len(rows)} {part} "
                "images; let it come less often."
            )
        draw = torch.randperm(len(rows), generator=make_generator(seed, "returning", part, label))
        shares[label] = list(rows[draw].tensor_split(count))
    experiences = []
    for classes in order:
        once = torch.isin(labels, torch.tensor([label for label in classes if times[label] == 1], dtype=torch.int64))
        rows = torch.cat([once.nonzero().squeeze(1), *(shares[label].pop(0) for label in classes if label in shares)])
        experiences.append(rows.sort().values)
    return experiences


def make_stream(config: StreamConfig, dataset: ImageDataset, seed: int) -> Stream:
    """The configured stream of a data set, see :func:`class_order` and :meth:`Stream.of_domains`.

    Raises:
        UserError: as :func:`class_order` and :meth:`Stream.of`.
    """
    if config.domains is not None:
        return Stream.of_domains(dataset)
    return Stream.of(dataset, class_order(config, len(dataset.class_names), seed), _order_seed(config, seed))


def _order_seed(config: StreamConfig, seed: int) -> int:
    return seed if config.order_seed is None else config.order_seed


def class_order(config: StreamConfig, classes: int, seed: int) -> list[list[int]]:
    """The classes of each experience.

    Without explicit lists, a permutation of the classes is cut into ``experiences`` parts. Their sizes differ by at
    most one class, the larger parts first. With ``increment`` each part has that many classes, the first ``initial``,
    and the last what is left. The permutation is drawn as in the DM paper's protocol and in PyCIL, by ``numpy`` seeded
    with ``order_seed``, or with the run's ``seed``. With ``domains`` each experience has all classes.

    Raises:
        UserError: more experiences, or classes of the first one, than classes, or an explicit class that does not
            exist.
    """
    if config.domains is not None:
        return [list(range(classes)) for _ in config.domains]
    if config.classes is not None:
        unknown = [c for group in config.classes for c in group if c >= classes]
        if unknown:
            raise UserError(
                f"stream.classes: {unknown[0]} is no class of {config.dataset!r}; its classes are 0 to {classes - 1}."
            )
        return [list(group) for group in config.classes]
    order = np.random.RandomState(_order_seed(config, seed)).permutation(classes)
    if config.increment is not None:
        first = config.initial or config.increment
        if first > classes:
            raise UserError(
                f"stream.{'initial' if config.initial else 'increment'}: {first} is more than the {classes} classes of "
                f"{config.dataset!r}; use at most {classes}."
            )
        return [part.tolist() for part in np.split(order, range(first, classes, config.increment))]
    if config.experiences > classes:
        raise UserError(
            f"stream.experiences: {config.experiences} experiences need as many classes, but {config.dataset!r} "
            f"has {classes}; use at most {classes}."
        )
    return [part.tolist() for part in np.array_split(order, config.experiences)]
