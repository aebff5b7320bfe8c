"""Memories of distilled and real images under one budget, and the choice of the share of each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from iid_cl.budget import LABEL_BYTES
from iid_cl.compute.classifier import Training, predict, train_classifier
from iid_cl.config.distill import DistillConfig, NetworkConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.jpeg import JpegSet, fitting_as_jpeg
from iid_cl.memory.real import Order, store_jpeg, store_whole
from iid_cl.nets import build_network
from iid_cl.seeding import draw_seed, make_generator

K = TypeVar("K")

Distil = Callable[[Mapping[int, Tensor], Mapping[int, Tensor], int, Mapping[int, Tensor] | None], ExemplarSet]
"""From images and weights of each class, a number and what to start from (None: chance) to so many distilled ones."""
Ordering = Callable[[Mapping[int, Tensor], Mapping[int, Tensor]], Order]
"""From images and weights of each class to the order in which real ones are picked."""

JPEG_QUALITY = 25  # of auto's memories: the best on held-out images
DENSE = 4  # times as many images in the same bytes make JPEG worth its loss: as many as at half the side
MOST_HELD_OUT = 200  # images of a class
UPDATES = 300
BATCH = 32
TRIALS = 2  # networks a candidate
TRIAL_WIDTH = 32  # channels at most: those that were measured are no wider


def hybrid_memory(
    images_by_class: Mapping[int, Tensor],
    weights: Mapping[int, Tensor],
    count: int,
    share: float,
    *,
    distil: Distil,
    ordering: Ordering,
    partition: int,
    old: Exemplars | None = None,
) -> ExemplarSet:
    """A share of distilled images and, in the same bytes, real ones stored in the same way.

    Args:
        images_by_class: uint8 images (n_c, C, H, W) of each class, those of ``old`` first.
        weights: how many images each one stands for, for classes in ``old``.
        count: stored images per class.
        share: of distilled images, in [0, 1].
        distil: makes those.
        ordering: picks the others.
        partition: of both, see :mod:`iid_cl.memory.partition`.
        old: a memory that holds some of the classes already.
    """
    some = round(share * count)
    image_bytes = next(iter(images_by_class.values()))[0].numel()
    room = (count - some) * (image_bytes + LABEL_BYTES)
    distilled = distil(images_by_class, weights, some, None) if some else None
    if some == count:
        return mix(distilled, None)
    return mix(distilled, store_whole(images_by_class, ordering(images_by_class, weights), room, partition, old))


def hybrid_jpeg(
    images_by_class: Mapping[int, Tensor],
    weights: Mapping[int, Tensor],
    room: int,
    share: float,
    quality: int,
    *,
    distil: Distil,
    ordering: Ordering | None,
    paying: int,
    old: Exemplars | None = None,
    soft_width: int = 0,
) -> JpegSet:
    """A share of distilled images, and real ones in the bytes that are left, all as JPEG.

    So many are distilled of each class as fit of the class whose real images weigh most. Those that weigh more than
    expected are left out at the end. They start from the real images that come first, and those that are stored beside
    them come next.

    Args:
        images_by_class: uint8 images (n_c, C, H, W) of each class, those of ``old`` first.
        weights: how many images each one stands for, for classes in ``old``.
        room: bytes per class.
        share: of distilled images, in [0, 1].
        quality: of JPEG, 1 to 95.
        distil: makes those.
        ordering: picks the others; None stores distilled ones only, which start from random images.
        paying: classes that pay for the header; 0 where that has been done.
        old: a memory that holds some of the classes already.
        soft_width: class probabilities that each image leaves room for.

    Raises:
        JpegError: not even one image fits, or JPEG cannot hold the images.
    """
    some = round(share * fitting_as_jpeg(images_by_class, room, quality, paying, soft_width))
    if ordering is None:
        some = max(1, some)
    real = None if ordering is None else ordering(images_by_class, weights)
    start = None
    if real is not None and some:
        start = {c: images[real(c, min(some, len(images)))] for c, images in images_by_class.items()}
    distilled = distil(images_by_class, weights, some, start) if some else None
    first = {} if distilled is None else distilled.by_class()
    pool = {c: torch.cat([images, first[c]]) if some else images for c, images in images_by_class.items()}

    def order(label: int, count: int) -> Tensor:
        images = len(images_by_class[label])
        own = torch.arange(images, len(pool[label]))
        if real is None or count <= len(own):
            return own[:count]
        best = real(label, min(count, images))
        return torch.cat([own, best[len(own) :], best[: len(own)]])[:count]  # those distilled ones start from come last

    memory = store_jpeg(pool, order, room, quality, paying, old, soft_width)
    return memory if distilled is None else replace(memory, metadata=distilled.metadata)


def mix(distilled: ExemplarSet | None, real: ExemplarSet | None) -> ExemplarSet:
    """Both kinds of images of each class, spread evenly, so that the first ones keep the share.

    Raises:
        ValueError: neither of them, or two that are stored in different ways.
    """
    if distilled is None:
        if real is None:
            raise ValueError("a memory needs images of one kind at least")
        return real
    if real is None:
        return distilled
    if distilled.partition != real.partition:
        raise ValueError("only memories stored in the same way can be mixed")
    first, second = distilled.by_class(), real.by_class()
    mixed = {label: _interleave(first[label], second[label]) for label in distilled.classes}
    return ExemplarSet.from_classes(mixed, distilled.metadata, partition=distilled.partition)


def _interleave(first: Tensor, second: Tensor) -> Tensor:
    places = [(i + 0.5) / len(part) for part in (first, second) for i in range(len(part))]
    order = sorted(range(len(places)), key=places.__getitem__)
    return torch.cat([first, second])[order]


def suited_partitions(config: DistillConfig, height: int, width: int) -> list[int]:
    """Partitions worth a try: the one in force; where none is, 2 if its parts keep 12 pixels a side, and 1."""
    if config.partition is not None or config.factor > 1:
        return [config.factor]
    return [2, 1] if all(side % 2 == 0 and side >= 24 for side in (height, width)) else [1]


def condensable(count: int, images_by_class: Mapping[int, Tensor]) -> bool:
    """Whether it is worth a try to condense each class into ``count`` images: several, and at most half of its own."""
    return 1 < count <= min(map(len, images_by_class.values())) // 2


def hold_out(
    images_by_class: Mapping[int, Tensor], generator: torch.Generator
) -> tuple[dict[int, Tensor], LabelledImages]:
    """Parts a tenth of each class's images (n_c, C, H, W), at most 200, from the rest: (rest, held out)."""
    rest: dict[int, Tensor] = {}
    held: list[Tensor] = []
    labels: list[int] = []
    for label, images in images_by_class.items():
        count = min(MOST_HELD_OUT, len(images) // 10)
        order = torch.randperm(len(images), generator=generator)
        held.append(images[order[:count]])
        labels += [label] * count
        rest[label] = images[order[count:].sort().values]
    return rest, LabelledImages(torch.cat(held), torch.tensor(labels, dtype=torch.int64))


def held_out_losses(
    candidates: Mapping[K, Exemplars],
    held_out: LabelledImages,
    network: NetworkConfig,
    *,
    beside: Mapping[int, Tensor] | None,
    normalization: Normalization,
    augmentations: Sequence[str],
    device: torch.device | str,
    generator: torch.Generator,
) -> dict[K, Tensor]:
    """Cross-entropy of each held-out image, (M,), under networks trained on each candidate.

    Two networks are trained per candidate, with weights and draws that depend on the generator alone; losses are their
    means. With ``beside`` one of them sees the memory of every other class together with as many real images of the
    rest, the second one the other way round, as in replay: what tells the memory from real images misleads it there.

    Args:
        candidates: memories of the same classes.
        held_out: real images of these classes that no candidate was made from.
        network: what to train.
        beside: real images of each class, or None for networks that see nothing but the memory.
        normalization: what networks see.
        augmentations: drawn from per image while training.
        device: where to train.
        generator: one number is drawn from it.
    """
    seed = draw_seed(generator)
    images = normalization.apply(held_out.images.to(device))
    labels = held_out.labels.to(device)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    losses = {}
    for name, candidate in candidates.items():
        total = torch.zeros(len(labels))
        for turn in range(TRIALS):
            draws = make_generator(seed, "training", turn)
            mixed = _beside_real(candidate, beside, turn, draws) if beside is not None else candidate.decoded()
            one = build_network(
                network, shape, max(candidate.classes) + 1, make_generator(seed, "weights", turn), device
            )
            train_classifier(
                one, normalization.apply(mixed.images.to(device)), mixed.labels.to(device),
                Training(max(1, UPDATES // -(-len(mixed) // BATCH)), BATCH), augmentations=augmentations,
                generator=draws,
            )  # fmt: skip
            with torch.no_grad():
                scores = torch.cat(list(predict(one, images)))
                total += functional.cross_entropy(scores, labels, reduction="none").cpu() / TRIALS
        losses[name] = total
    return losses


def trial_network(embedder: NetworkConfig) -> NetworkConfig:
    """What candidates are judged by: a network like the embedder, and a ConvNet no wider than need be."""
    if embedder.name != "convnet":
        return embedder
    return embedder.model_copy(update={"width": min(embedder.width, TRIAL_WIDTH)})


def _beside_real(
    memory: Exemplars, real: Mapping[int, Tensor], turn: int, generator: torch.Generator
) -> LabelledImages:
    """The memory of every second class, from the first or the second on, and equally many real images of the others."""
    kept, classes = memory.decoded(), sorted(real)
    own = kept.of_classes(classes[turn::2])
    others = classes[1 - turn :: 2]
    images = torch.cat([real[c] for c in others])
    labels = torch.cat([torch.full((len(real[c]),), c) for c in others])
    chosen = torch.randperm(len(images), generator=generator)[: UPDATES * BATCH // 2]
    number = torch.arange(max(len(chosen), len(own)))  # the fewer ones come again
    again, chosen = number % len(own), chosen[number % len(chosen)]
    return LabelledImages(
        torch.cat([own.images[again], images[chosen]]), torch.cat([own.labels[again], labels[chosen]])
    )


def mean_loss(losses: Tensor) -> float:
    """The mean, infinite instead of NaN where networks diverged: what they were trained on is no good."""
    mean = float(losses.mean())
    return math.inf if math.isnan(mean) else mean


def significantly_best(losses: Mapping[K, Tensor], first: K) -> K:
    """The candidate with the lowest mean loss, if it beats ``first`` by two standard errors; else ``first``.

    Args:
        losses: of each candidate on the same M >= 2 images, (M,); NaN where networks diverged, which any other beats.
        first: the candidate in possession.
    """
    best = min([first, *losses], key=lambda name: mean_loss(losses[name]))
    if math.isinf(mean_loss(losses[first])):
        return best
    gain = losses[first] - losses[best]
    error = gain.std() / len(gain) ** 0.5
    return best if float(gain.mean()) > 2 * float(error) else first
