"""Networks trained on the current experience: for class centralization, soft labels and herding."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from iid_cl.compute.arithmetic import Arithmetic, for_training
from iid_cl.compute.classifier import Training, predict, train_classifier
from iid_cl.config.distill import CentralizationConfig
from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens
from iid_cl.data.mapped import held_on
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
    classes: Classes, config: CentralizationConfig, lens: Lens, seed: int, arithmetic: Arithmetic | None = None
) -> list[TrainedNetwork]:
    """Trains networks for class centralization on the current experience's real images alone.

    The paper has a pool of a thousand trained networks. A few trainings with several snapshots each take its place
    here, and all networks stay in memory.

    Args:
        classes: the images of the current experience. If any class has weights, an epoch draws images by weight.
        config: architecture, trainings, epochs, snapshots.
        lens: how networks see images.
        seed: of weights and training.
        arithmetic: of the trainings; by default chosen for the lens by
            :func:`iid_cl.compute.arithmetic.for_training`.

    Returns:
        ``trainings * snapshots`` networks, or fewer if there are fewer epochs than snapshots.
    """
    labels = sorted(classes.images)
    images = held_on(torch.cat([classes.images[c] for c in labels]), lens.device)
    counts = torch.tensor([len(classes.images[c]) for c in labels])
    targets = torch.arange(len(labels)).repeat_interleave(counts).to(lens.device)
    samples = [_sample(classes.images[c], classes.weights.get(c)) for c in labels]
    snapshot_epochs = {round(config.epochs * (i + 1) / config.snapshots) for i in range(config.snapshots)}
    pool: list[TrainedNetwork] = []

    for number in range(config.trainings):
        weights = make_generator(seed, "weights", number)
        network = build_network(config.network, classes.shape, len(labels), weights, lens.device)
        passes = arithmetic
        if passes is None:
            views = config.epochs * len(images)
            passes = for_training(network, classes.shape, views, lens.device, lens.precision, lens.compile)

        def keep(epoch: int, network: Network = network) -> None:
            if epoch in snapshot_epochs:
                snapshot = copy.deepcopy(network).eval().requires_grad_(False)
                pool.append(TrainedNetwork(snapshot, _real_spread(snapshot, map(lens.show, samples))))
                network.train()

        train_classifier(
            network, images, targets, Training(config.epochs, batch_size=64, lr_drop=False),
            augmentations=lens.augmentations, generator=make_generator(seed, "training", number),
            weights=_joined_weights(classes), arithmetic=passes, after_epoch=keep, show=lens.show,
        )  # fmt: skip
    return pool


def _joined_weights(classes: Classes) -> Tensor | None:
    """Weights of all images in the classes' order; None if every image counts once."""
    if not classes.weights:
        return None
    plain = {c: torch.ones(len(images), dtype=torch.float64) for c, images in classes.images.items()}
    return torch.cat([classes.weights.get(c, plain[c]) for c in sorted(classes.images)])


def label_softly(memory: Memory, classes: Classes, config: CentralizationConfig, lens: Lens, seed: int) -> Memory:
    """Adds soft labels, see :func:`add_soft_labels`, by networks trained on the images that the memory was made from.

    Arguments besides the memory go to :func:`train_networks`. For a single class no network is trained: it would have
    nothing to learn.
    """
    trained = train_networks(classes, config, lens, seed) if len(classes) > 1 else []
    return add_soft_labels(memory, trained, lens)


def _sample(images: Tensor, weights: Tensor | None) -> Tensor:
    """The images that measure a class's spread: the first ones, or by evenly spaced steps through weights (n,)."""
    if weights is None:
        return images[:SPREAD_IMAGES]
    ends = weights.double().cumsum(0)
    steps = (torch.arange(SPREAD_IMAGES, dtype=torch.float64) + 0.5) * (ends[-1] / SPREAD_IMAGES)
    return images[torch.searchsorted(ends, steps)]


@torch.no_grad()
def _real_spread(network: Network, samples: Iterable[Tensor]) -> Tensor:
    return torch.cat([spread(network.features(batch)[None]) for batch in samples])


@torch.no_grad()
def add_soft_labels(memory: Memory, trained: Sequence[TrainedNetwork], lens: Lens) -> Memory:
    """Adds the class probabilities of each decoded image, averaged over the trained networks.

    Without networks (an experience of a single class) each image has probability 1 for its class.
    """
    images = lens.show(memory.decoded().images)
    if not trained:
        return memory.with_soft_labels(torch.ones(len(images), 1), memory.classes)
    probabilities = [torch.cat(list(predict(member.network, images))).softmax(1) for member in trained]
    return memory.with_soft_labels(torch.stack(probabilities).mean(0), memory.classes)
