"""The published protocol that judges a memory: train fresh networks on it alone, test on real images."""

from collections.abc import Callable, Sequence

import torch

from iid_cl.config import EvaluateConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.nets import build_network
from iid_cl.seeding import make_generator
from iid_cl.training import accuracy, train_classifier


def train_from_scratch(
    memory: ExemplarSet,
    test: LabelledImages,
    config: EvaluateConfig,
    *,
    normalization: Normalization,
    augmentations: Sequence[str],
    seed: int,
    device: torch.device,
    on_network: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Test accuracy of ``config.networks`` networks, each trained on ``memory`` from weights of its own.

    Args:
        memory: the exemplars as stored.
        test: real images of (at least) the memory's classes; others are left out.
        config: network and training (DC, ICLR 2021: 1,000 epochs of SGD, lr 0.01, x0.1 half way).
        normalization: what networks see.
        augmentations: drawn from per image while training.
        seed: network ``i`` draws from streams of its own of this seed.
        on_network: called with the network's number (from 1) and its accuracy.
    """
    classes = memory.classes
    test = test.of_classes(classes)
    test_images = normalization.apply(test.images.to(device))
    test_labels = test.labels.to(device)
    images = normalization.apply(memory.decoded().images.to(device))
    labels = memory.targets(classes[-1] + 1).to(device)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    results = []
    for number in range(config.networks):
        network = build_network(
            config.network, shape, classes[-1] + 1, make_generator(seed, "scratch weights", number), device
        )
        train_classifier(
            network,
            images,
            labels,
            epochs=config.epochs,
            batch_size=config.batch_size,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            augmentations=augmentations,
            generator=make_generator(seed, "scratch training", number),
        )
        results.append(accuracy(network, test_images, test_labels))
        if on_network is not None:
            on_network(number + 1, results[-1])
    return results
