"""The published protocol that judges a memory: train fresh networks on it alone, test on real images."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from iid_cl.compute.arithmetic import for_training
from iid_cl.compute.classifier import accuracy, train_classifier
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import EvaluateConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.memory.exemplars import Exemplars
from iid_cl.nets import build_network
from iid_cl.seeding import make_generator


@dataclass(frozen=True)
class Judgement:
    """Test accuracies in [0, 1] of the networks of one architecture."""

    network: NetworkConfig
    accuracies: list[float]

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return sum(self.accuracies) / len(self.accuracies)


def judge(
    memory: Exemplars,
    test: LabelledImages,
    config: EvaluateConfig,
    *,
    normalization: Normalization,
    augmentations: Sequence[str],
    seed: int,
    device: torch.device,
    on_network: Callable[[NetworkConfig, int, float], None] | None = None,
) -> list[Judgement]:
    """Trains ``config.networks`` networks of each architecture on ``memory``, each from weights of its own.

    On a CPU networks are trained side by side, one thread each: small batches keep a core busier than they keep
    several.

    Args:
        memory: the exemplars as stored.
        test: real images of (at least) the memory's classes; others are left out.
        config: architectures and training (DC, ICLR 2021: 1,000 epochs of SGD, lr 0.01, x0.1 half way).
        normalization: what networks see.
        augmentations: drawn from per image while training.
        seed: network ``i`` draws from streams of its own of this seed.
        on_network: called with the architecture, the network's number (from 1) and its accuracy.

    Returns:
        A judgement per architecture: ``config.network``, then those of ``config.transfer``.
    """
    classes = memory.classes
    test = test.of_classes(classes)
    test_images = normalization.apply(test.images.to(device))
    test_labels = test.labels.to(device)
    images = normalization.apply(memory.decoded().images.to(device))
    labels = memory.targets(classes[-1] + 1).to(device)

    def train(architecture: NetworkConfig, number: int) -> float:
        shape = (images.shape[1], images.shape[2], images.shape[3])
        weights = make_generator(seed, "scratch weights", number)
        network = build_network(architecture, shape, classes[-1] + 1, weights, device)
        shown = config.networks * config.epochs * len(images)  # one compilation serves all networks
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
            arithmetic=for_training(network, shape, shown, device, config.precision, config.compile),
        )
        return accuracy(network, test_images, test_labels)

    judgements = []
    for architecture in (config.network, *config.transfer):
        judgement = Judgement(architecture, [])
        for number, value in enumerate(_in_turn(train, architecture, config, device), start=1):
            judgement.accuracies.append(value)
            if on_network is not None:
                on_network(architecture, number, value)
        judgements.append(judgement)
    return judgements


def _in_turn(
    train: Callable[[NetworkConfig, int], float],
    architecture: NetworkConfig,
    config: EvaluateConfig,
    device: torch.device,
) -> Iterator[float]:
    """The accuracies of all networks in their order; eager ones train side by side on a CPU."""
    count, cores = config.networks, torch.get_num_threads()
    workers = min(count, cores) if device.type == "cpu" and not config.compile else 1
    if workers == 1:
        yield from (train(architecture, number) for number in range(count))
        return
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores // workers,)) as pool:
            yield from pool.map(lambda number: train(architecture, number), range(count))
    finally:
        torch.set_num_threads(cores)  # what threads started later begin with
