"""Networks trained on the current experience: for class centralization, soft labels and herding."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from iid_cl.compute.arithmetic import Arithmetic
from iid_cl.compute.classifier import predict, train_classifier
from iid_cl.config.distill import CentralizationConfig
from iid_cl.data.images import Normalization
from iid_cl.distill.objectives import spread
from iid_cl.memory.exemplars import Exemplars
from iid_cl.nets import Network, build_network
from iid_cl.seeding import make_generator

Memory = TypeVar("Memory", bound=Exemplars)

SPREAD_IMAGES = 256  # real images per class that measure a trained network's feature spread


@dataclass(frozen=True)
class TrainedNetwork:
    """A frozen network and each class's real feature spread under it, (K,)."""

    network: Network
    spread: Tensor


def train_networks(
    images_by_class: Mapping[int, Tensor],
    config: CentralizationConfig,
    *,
    seed: int,
    device: torch.device,
    normalization: Normalization,
    augmentations: Sequence[str],
    weights: Mapping[int, Tensor] | None = None,
    arithmetic: Arithmetic | None = None,
) -> list[TrainedNetwork]:
    """Trains networks for class centralization on the current experience's real images and nothing else.

    A few trainings with snapshots along each stand for the paper's pool of a thousand trained networks:
    all stay in memory, none is reloaded from disk.

    Args:
        images_by_class: uint8 images (n_c, C, H, W) of each class of the current experience.
        config: architecture, trainings, epochs, snapshots.
        weights: how many images each image of a class stands for, (n_c,) floating point; classes that are left out
            hold images that stand for themselves. With any, an epoch draws images by them.
        arithmetic: of the trainings, by default as :func:`iid_cl.compute.classifier.train_classifier` says.

    Returns:
        ``trainings * snapshots`` networks (fewer when there are fewer epochs than snapshots).
    """
    classes = sorted(images_by_class)
    images = torch.cat([normalization.apply(images_by_class[c].to(device)) for c in classes])
    counts = torch.tensor([len(images_by_class[c]) for c in classes])
    labels = torch.arange(len(classes)).repeat_interleave(counts).to(device)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    given = weights or {}
    every = [given.get(c, torch.ones(len(images_by_class[c]), dtype=torch.float64)) for c in classes]
    samples = [normalization.apply(_sample(images_by_class[c], given.get(c)).to(device)) for c in classes]
    kept_epochs = {round(config.epochs * (i + 1) / config.snapshots) for i in range(config.snapshots)}
    pool: list[TrainedNetwork] = []

    for training in range(config.trainings):
        network = build_network(config.network, shape, len(classes), make_generator(seed, "weights", training), device)

        def keep(epoch: int, network: Network = network) -> None:
            if epoch in kept_epochs:
                snapshot = copy.deepcopy(network).eval().requires_grad_(False)
                pool.append(TrainedNetwork(snapshot, _real_spread(snapshot, samples)))
                network.train()

        train_classifier(
            network, images, labels, epochs=config.epochs, batch_size=64, lr=0.01, momentum=0.9, weight_decay=5e-4,
            augmentations=augmentations, generator=make_generator(seed, "training", training), lr_drop=False,
            weights=torch.cat(every) if given else None, arithmetic=arithmetic, after_epoch=keep,
        )  # fmt: skip
    return pool


def label_softly(
    memory: Memory,
    images_by_class: Mapping[int, Tensor],
    config: CentralizationConfig,
    *,
    seed: int,
    device: torch.device,
    normalization: Normalization,
    augmentations: Sequence[str],
    weights: Mapping[int, Tensor] | None = None,
) -> Memory:
    """:func:`add_soft_labels` by networks trained on the images that the memory was made from.

    The arguments are those of :func:`train_networks`. A single class leaves networks nothing to tell apart, and none is
    trained.
    """
    trained: list[TrainedNetwork] = []
    if len(images_by_class) > 1:
        trained = train_networks(
            images_by_class,
            config,
            seed=seed,
            device=device,
            normalization=normalization,
            augmentations=augmentations,
            weights=weights,
        )
    return add_soft_labels(memory, trained, normalization, device)


def _sample(images: Tensor, weights: Tensor | None) -> Tensor:
    """The images that measure a class's spread: the first ones, or by evenly spaced steps through the weights (n,)."""
    if weights is None:
        return images[:SPREAD_IMAGES]
    ends = weights.double().cumsum(0)
    steps = (torch.arange(SPREAD_IMAGES, dtype=torch.float64) + 0.5) * (ends[-1] / SPREAD_IMAGES)
    return images[torch.searchsorted(ends, steps)]


@torch.no_grad()
def _real_spread(network: Network, samples: Sequence[Tensor]) -> Tensor:
    return torch.cat([spread(network.features(batch)[None]) for batch in samples])


@torch.no_grad()
def add_soft_labels(
    memory: Memory, trained: Sequence[TrainedNetwork], normalization: Normalization, device: torch.device
) -> Memory:
    """Stores with each decoded image its class probabilities, averaged over the trained networks.

    Without networks (an experience of one class) each image belongs to its class entirely.
    """
    images = normalization.apply(memory.decoded().images.to(device))
    if not trained:
        return memory.with_soft_labels(torch.ones(len(images), 1), memory.classes)
    scores = [torch.cat(list(predict(one.network, images))).softmax(1) for one in trained]
    return memory.with_soft_labels(torch.stack(scores).mean(0), memory.classes)
