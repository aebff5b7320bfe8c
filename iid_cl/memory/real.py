"""Memories of real images: chosen by a rule, stored whole, at a part of their size, or as JPEG."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from iid_cl.data.images import Normalization
from iid_cl.memory.exemplars import Exemplars, ExemplarSet, images_in
from iid_cl.memory.jpeg import JpegError, JpegSet, encode, files_in
from iid_cl.memory.partition import cut, join, reduce_bytes
from iid_cl.memory.selection import RULES, FeatureExtractor, Rule, features_of

Order = Callable[[int, int], Tensor]
"""From a class and a number of images to the indices of the best ones, best first."""


def ordering(
    images_by_class: Mapping[int, Tensor],
    rule: str | Rule,
    extract: FeatureExtractor | None,
    *,
    normalization: Normalization,
    device: torch.device | str,
    generator: torch.Generator,
    weights: Mapping[int, Tensor] | None = None,
) -> Order:
    """The order in which a rule picks each class's images.

    Args:
        images_by_class: uint8 images (n_c, C, H, W) of each class.
        rule: a name of :data:`iid_cl.memory.selection.RULES`, or a rule itself.
        extract: features to choose by; a random choice needs none.
        normalization: what the extractor sees.
        device: where it lives.
        generator: source of random draws.
        weights: how many images each one stands for (n_c,), where not one.
    """

    choose = RULES[rule] if isinstance(rule, str) else rule

    def order(label: int, count: int) -> Tensor:
        images = images_by_class[label]
        features = images if extract is None else features_of(images, extract, normalization, device)
        each = (weights or {}).get(label, torch.ones(len(images), dtype=torch.float64))
        return choose(features, count, each, generator)

    return order


def store_whole(
    images_by_class: Mapping[int, Tensor], order: Order, room: int, downscale: int, old: Exemplars | None = None
) -> ExemplarSet:
    """As many images of each class as fit, each shrunk to 1 / ``downscale`` of its side by area.

    Args:
        images_by_class: uint8 images (n_c, C, H, W) of each class, those of ``old`` first.
        order: the choice.
        room: bytes per class.
        downscale: 1 stores images as they are; otherwise downscale * downscale of them share the bytes of one.
        old: a memory that holds some of the classes already; its images are kept as stored, not encoded again.

    Raises:
        UserError: ``downscale`` does not divide the images' sides.
    """
    kept = {} if old is None else old.by_class()
    stored = {}
    for label, images in images_by_class.items():
        tiles = reduce_bytes(images, downscale)
        if label in kept:
            before = cut(kept[label], downscale)
            tiles = torch.cat([before, tiles[len(before) :]])
        count = min(len(images), images_in(room, images[0].numel()) * downscale**2)
        chosen = order(label, count)
        whole = -(-count // downscale**2) * downscale**2
        stored[label] = join(tiles[chosen[torch.arange(whole) % count]], downscale)  # the last grid is filled up
    return ExemplarSet.from_classes(stored, partition=downscale)


def store_jpeg(
    images_by_class: Mapping[int, Tensor],
    order: Order,
    room: int,
    quality: int,
    classes: int,
    old: Exemplars | None = None,
    soft_width: int = 0,
) -> JpegSet:
    """As many images of each class as fit, as JPEG files of this quality.

    The arguments are those of :func:`store_whole`; ``classes`` pay for the header, 0 where that has been done; each
    image leaves room for ``soft_width`` class probabilities.

    Raises:
        JpegError: not even one image fits, or JPEG cannot hold the images.
    """
    kept = old.files_by_class() if isinstance(old, JpegSet) else {}
    stored: dict[int, list[bytes]] = {}
    for label, images in images_by_class.items():
        before = kept.get(label, [])
        files = before + encode(images[len(before) :], quality)
        most = files_in(sorted(files, key=len), room, classes, soft_width)
        best = [files[index] for index in order(label, most).tolist()] if most else []
        count = files_in(best, room, classes, soft_width) if best else 0
        if not count:
            raise JpegError(
                f"memory.jpeg: no image of class {label} fits into {room} bytes at quality {quality}; use a lower "
                "quality, a larger budget, or null."
            )
        stored[label] = best[:count]
    channels, height, width = next(iter(images_by_class.values())).shape[1:]
    return JpegSet.from_classes(stored, (channels, height, width))
