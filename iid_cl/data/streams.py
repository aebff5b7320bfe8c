"""Class-incremental streams: the classes of each experience."""

import numpy as np

from iid_cl.config.experiment import StreamConfig
from iid_cl.errors import UserError


def class_order(config: StreamConfig, classes: int, seed: int) -> list[list[int]]:
    """The classes of each experience.

    Without explicit lists, a permutation of the classes is cut into ``experiences`` parts. Their sizes differ by at
    most one class, the larger parts first. The permutation is drawn as in the DM paper's protocol, by ``numpy`` seeded
    with ``order_seed``, or with the run's ``seed``.

    Raises:
        UserError: more experiences than classes, or an explicit class that does not exist.
    """
    if config.classes is not None:
        unknown = [c for group in config.classes for c in group if c >= classes]
        if unknown:
            raise UserError(
                f"stream.classes: {unknown[0]} is no class of {config.dataset!r}; its classes are 0 to {classes - 1}."
            )
        return [list(group) for group in config.classes]
    if config.experiences > classes:
        raise UserError(
            f"stream.experiences: {config.experiences} experiences need as many classes, but {config.dataset!r} "
            f"has {classes}; use at most {classes}."
        )
    order = np.random.RandomState(seed if config.order_seed is None else config.order_seed).permutation(classes)
    return [part.tolist() for part in np.array_split(order, config.experiences)]
