"""Memories of distilled and real images under one budget, and the choice of the share of each."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from iid_cl.config import NetworkConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.memory.budget import LABEL_BYTES
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.real import Order, store_whole
from iid_cl.nets import build_network
from iid_cl.seeding import draw_seed, make_generator
from iid_cl.training import predict, train_classifier

Distil = Callable[[Mapping[int, Tensor], Mapping[int, Tensor], int], ExemplarSet]
"""From images and weights of each class and a number to so many distilled images of each."""
Ordering = Callable[[Mapping[int, Tensor], Mapping[int, Tensor]], Order]
"""From images and weights of each class to the order in which real ones are picked."""

HELD_OUT = 0.1  # of each class's images; at most 200
NETWORKS = 3
UPDATES = 200
BATCH = 64


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
    distilled = distil(images_by_class, weights, some) if some else None
    if some == count:
        return mix(distilled, None)
    return mix(distilled, store_whole(images_by_class, ordering(images_by_class, weights), room, partition, old))


def mix(distilled: ExemplarSet | None, real: ExemplarSet | None) -> ExemplarSet:
    """Both kinds of images of each class, spread evenly, so that the first ones keep the share.

    Raises:
        ValueError: neither of them, or two that are stored in different ways.
    """
    if distilled is None or real is None:
        if distilled is None and real is None:
            raise ValueError("a memory needs images of one kind at least")
        return distilled or real  # type: ignore[return-value]
    if distilled.partition != real.partition:
        raise ValueError("only memories stored in the same way can be mixed")
    first, second = distilled.by_class(), real.by_class()
    mixed = {label: _interleave(first[label], second[label]) for label in distilled.classes}
    return ExemplarSet.from_classes(mixed, distilled.metadata, partition=distilled.partition)


def _interleave(first: Tensor, second: Tensor) -> Tensor:
    places = [(i + 0.5) / len(part) for part in (first, second) for i in range(len(part))]
    order = sorted(range(len(places)), key=places.__getitem__)
    return torch.cat([first, second])[order]


def hold_out(
    images_by_class: Mapping[int, Tensor], weights: Mapping[int, Tensor], generator: torch.Generator
) -> tuple[dict[int, Tensor], dict[int, Tensor], LabelledImages]:
    """Parts a tenth of each class's new images from the rest: (rest, its weights, held out).

    What the memory held before (the images that weigh more than one stay in front) is not held out; a class with fewer
    than ten new images gives none.
    """
    rest, rest_weights = dict(images_by_class), dict(weights)
    held: list[Tensor] = []
    labels: list[int] = []
    for label, images in images_by_class.items():
        before = 0 if label not in weights else len(images) - _trailing_ones(weights[label])
        new = len(images) - before
        count = min(200, int(new * HELD_OUT))
        order = before + torch.randperm(new, generator=generator)
        held.append(images[order[:count]])
        labels += [label] * count
        kept = torch.cat([torch.arange(before), order[count:].sort().values])
        rest[label] = images[kept]
        if label in weights:
            rest_weights[label] = weights[label][kept]
    return rest, rest_weights, LabelledImages(torch.cat(held), torch.tensor(labels, dtype=torch.int64))


def choose(
    candidates: Sequence[ExemplarSet],
    held_out: LabelledImages,
    older: Exemplars | None,
    network: NetworkConfig,
    *,
    normalization: Normalization,
    augmentations: Sequence[str],
    device: torch.device | str,
    generator: torch.Generator,
    on_candidate: Callable[[int, float], None] | None = None,
) -> int:
    """The candidate on which networks learn best what is held out.

    A few networks are trained on each candidate together with the ``older`` classes, all with the same weights and
    draws; the lowest mean cross-entropy on the held-out images wins, the first of equals.

    Args:
        candidates: memories of the current experience's classes.
        held_out: real images of these classes that no candidate was made from.
        older: the memory of other classes.
        network: what to train.
        normalization: what networks see.
        augmentations: drawn from per image while training.
        device: where to train.
        generator: one number is drawn from it.
        on_candidate: called with each candidate's number and cross-entropy.
    """
    seed = draw_seed(generator)
    known = candidates[0].classes + ([] if older is None else older.classes)
    images = normalization.apply(held_out.images.to(device))
    labels = held_out.labels.to(device)
    losses = []
    for number, candidate in enumerate(candidates):
        parts = [candidate.decoded()] + ([] if older is None else [older.decoded()])
        train_images = normalization.apply(torch.cat([part.images for part in parts]).to(device))
        train_labels = torch.cat([part.labels for part in parts]).to(device)
        total = 0.0
        for i in range(NETWORKS):
            shape = (images.shape[1], images.shape[2], images.shape[3])
            one = build_network(network, shape, max(known) + 1, make_generator(seed, "weights", i), device)
            per_epoch = -(-len(train_images) // BATCH)
            train_classifier(
                one, train_images, train_labels, epochs=max(1, UPDATES // per_epoch), batch_size=BATCH, lr=0.01,
                momentum=0.9, weight_decay=5e-4, augmentations=augmentations,
                generator=make_generator(seed, "training", i),
            )  # fmt: skip
            with torch.no_grad():
                total += float(functional.cross_entropy(torch.cat(list(predict(one, images))), labels))
        losses.append(total / NETWORKS)
        if on_candidate is not None:
            on_candidate(number, losses[-1])
    return losses.index(min(losses))


def _trailing_ones(weights: Tensor) -> int:
    other = (weights != 1).nonzero()
    return len(weights) - (int(other[-1]) + 1 if len(other) else 0)
