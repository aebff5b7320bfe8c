"""Distilled and real images under one budget."""

from collections.abc import Callable
from dataclasses import replace

from iid_cl.data.classes import Classes
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.selection import Order
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Storage


def mixture(
    classes: Classes,
    space: Space,
    storage: Storage,
    share: float,
    *,
    distil: Callable[[Classes, int], ExemplarSet],
    ordering: Callable[[], Order] | None,
    soft_width: int = 0,
) -> Exemplars:
    """A share of distilled images and, in the remaining bytes, real ones stored in the same way.

    In a lossy format distilled images start from the first real images, whose changes cost few bytes.

    Args:
        classes: what the images are made from.
        space: the bytes that may be used.
        storage: how all images are stored.
        share: of distilled images, in [0, 1].
        distil: makes a number of images of each class, starting from ``classes.start``.
        ordering: picks real images; None: only distilled images are stored.
        soft_width: number of class probabilities that each image leaves room for.

    Raises:
        UserError: not even one image fits.
    """
    count = storage.count(classes.images, space, soft_width)
    synthetic = round(share * count)
    if ordering is None:
        return storage.keep(distil(classes, max(1, synthetic)), space, soft_width)
    if not synthetic:
        return storage.store(classes.images, ordering(), space, soft_width)
    if storage.lossy is None:
        distilled = distil(classes, synthetic)
        if synthetic == count:
            return distilled
        return storage.join(distilled, classes.images, ordering(), count - synthetic, space, soft_width)
    order = ordering()
    start = {c: images[order(c, min(synthetic, len(images)))] for c, images in classes.images.items()}
    distilled = distil(replace(classes, start=start), synthetic)
    return storage.join(distilled, classes.images, order, count - synthetic, space, soft_width)
