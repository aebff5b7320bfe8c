"""Class-incremental streams: the classes of each experience."""

import numpy as np

from iid_cl.config.experiment import StreamConfig
from iid_cl.errors import UserError


def class_order(config: StreamConfig, classes: int, seed: int) -> list[list[int]]:
    """The classes of each experience.

    Without explicit lists, a permutation of the classes is cut into ``experiences`` parts. Their sizes differ by at
    most one class, the larger parts first. With ``increment`` each part has that many classes, the first ``initial``,
    and the last what is left. The permutation is drawn as in the DM paper's protocol and in PyCIL, by ``numpy`` seeded
    with ``order_seed``, or with the run's ``seed``.

    Raises:
        UserError: more experiences, or classes of the first one, than classes, or an explicit class that does not
            exist.
    """
    if config.classes is not None:
        unknown = [c for group in config.classes for c in group if c >= classes]
        if unknown:
            raise UserError(
                f"stream.classes: {unknown[0]} is no class of {config.dataset!r}; its classes are 0 to {classes - 1}."
            )
        return [list(group) for group in config.classes]
    order = np.random.RandomState(seed if config.order_seed is None else config.order_seed).permutation(classes)
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
