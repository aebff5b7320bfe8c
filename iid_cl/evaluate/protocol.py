"""The published protocol that judges a memory: train fresh networks on it alone, test on real images."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from iid_cl.compute.arithmetic import for_training
from iid_cl.compute.classifier import Training, accuracy, train_classifier
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import EvaluateConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.data.lens import Lens
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


OnNetwork = Callable[[NetworkConfig, int, float], None]


def judge(
    memory: Exemplars,
    test: LabelledImages,
    config: EvaluateConfig,
    *,
    normalization: Normalization,
    augmentations: Sequence[str],
    seed: int,
    device: torch.device,
    on_network: OnNetwork | None = None,
) -> list[Judgement]:
    """Trains ``config.networks`` networks of each architecture on ``memory``, each from weights of its own.

    On a CPU networks are trained side by side, one thread each: small batches keep a core busier than they keep
    several.

    Args:
        memory: the exemplars as stored.
        test: real images of (at least) the memory's classes; others are left out.
        config: architectures, epochs and batches (DC, ICLR 2021: 1,000 epochs of SGD, lr 0.01, x0.1 half way).
        normalization: what networks see.
        augmentations: drawn from per image while training.
        seed: network ``i`` draws from streams of its own of this seed.
        on_network: called with the architecture, the network's number (from 1) and its accuracy.

    Returns:
        A judgement per architecture: ``config.network``, then those of ``config.transfer``.
    """
    exam = _Exam(memory, test, config, Lens(normalization, tuple(augmentations), device), seed)
    judgements = []
    for architecture in (config.network, *config.transfer):
        judgement = Judgement(architecture, [])
        for number, value in enumerate(_in_turn(exam.train_and_test, architecture, config, device), start=1):
            judgement.accuracies.append(value)
            if on_network is not None:
                on_network(architecture, number, value)
        judgements.append(judgement)
    return judgements


class _Exam:
    """What every network trains on and is tested by, on the device."""

    def __init__(self, memory: Exemplars, test: LabelledImages, config: EvaluateConfig, lens: Lens, seed: int) -> None:
        self._config, self._lens, self._seed = config, lens, seed
        self._classes = memory.classes[-1] + 1
        self._images = lens.show(memory.decoded().images)
        self._targets = memory.targets(self._classes).to(lens.device)
        test = test.of_classes(memory.classes)
        self._test_images, self._test_labels = lens.show(test.images), test.labels.to(lens.device)

    def train_and_test(self, architecture: NetworkConfig, number: int) -> float:
        """The test accuracy of network ``number``, trained on the memory."""
        config, images, device = self._config, self._images, self._lens.device
        shape = (images.shape[1], images.shape[2], images.shape[3])
        weights = make_generator(self._seed, "scratch weights", number)
        network = build_network(architecture, shape, self._classes, weights, device)
        shown = config.networks * config.epochs * len(images)  # one compilation serves all networks
        train_classifier(
            network,
            images,
            self._targets,
            Training(config.epochs, config.batch_size),
            augmentations=self._lens.augmentations,
            generator=make_generator(self._seed, "scratch training", number),
            arithmetic=for_training(network, shape, shown, device, config.precision, config.compile),
        )
        return accuracy(network, self._test_images, self._test_labels)


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
