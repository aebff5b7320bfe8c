"""The published protocol that judges a memory: train fresh networks on it alone, test on real images."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch

from iid_cl.compute.arithmetic import for_training
from iid_cl.compute.classifier import Training, accuracy, train_classifier
from iid_cl.config.base import Precision
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import EvaluateConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.data.lens import Lens
from iid_cl.data.mapped import held_on
from iid_cl.memory.exemplars import Exemplars
from iid_cl.nets import build_network
from iid_cl.seeding import make_generator


@dataclass(frozen=True)
class Judgement:
    """Test accuracies in [0, 1] of the networks of one architecture.

    >>> Judgement(NetworkConfig(), [0.5, 0.75]).mean
    0.625
    """

    network: NetworkConfig
    accuracies: list[float]

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return sum(self.accuracies) / len(self.accuracies)


OnNetwork = Callable[[NetworkConfig, int, float], None]
Known = Callable[[NetworkConfig, int], float | None]


class JudgeOptions(TypedDict, total=False):
    """Further keyword arguments of :func:`judge`.

    Attributes:
        on_network: called with the architecture, the network's number (from 1) and its accuracy.
        known: the accuracy of a network that was judged before, by its architecture and number; None: train it.
        after_epoch: called after each epoch of each network, in the thread that trains it; may raise to end.
        precision: number format of the networks' passes in training: ``float32``, ``bfloat16``, or ``auto`` for the
            fastest one.
        compile: whether these passes are compiled, which takes up to a minute; None: only on a GPU, if it pays.
    """

    on_network: OnNetwork | None
    known: Known | None
    after_epoch: Callable[[int], None] | None
    precision: Precision
    compile: bool | None


def judge(
    memory: Exemplars,
    test: LabelledImages,
    config: EvaluateConfig,
    *,
    normalization: Normalization,
    augmentations: Sequence[str],
    seed: int,
    device: torch.device,
    **options: Unpack[JudgeOptions],
) -> list[Judgement]:
    """Trains ``config.networks`` networks of each architecture on ``memory``, each from different random weights.

    On a CPU networks train side by side, each on one thread: small batches do not keep several threads busy.

    Args:
        memory: the exemplars as stored.
        test: real images of at least the memory's classes; other classes are ignored.
        config: architectures, epochs and batches (DC, ICLR 2021: 1,000 epochs of SGD, lr 0.01, x0.1 half way).
        normalization: what networks see.
        augmentations: drawn from per image while training.
        seed: source of all randomness; each network has separate streams.
        device: where networks are trained.
        options: rarely needed arguments, see :class:`JudgeOptions`.

    Returns:
        A judgement per architecture: ``config.network`` first, then ``config.transfer``.

    >>> images = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(40, 1, 8, 8) * 6
    >>> data = LabelledImages(images, torch.arange(40) // 20)  # dark images and bright ones
    >>> config = EvaluateConfig(network=NetworkConfig(width=4, depth=1), epochs=1, networks=2)
    >>> from iid_cl.memory.exemplars import ExemplarSet
    >>> memory = ExemplarSet.from_classes(data.by_class())
    >>> (judgement,) = judge(
    ...     memory,
    ...     data,
    ...     config,
    ...     normalization=Normalization((0.5,), (0.25,)),
    ...     augmentations=(),
    ...     seed=0,
    ...     device=torch.device("cpu"),
    ... )
    >>> len(judgement.accuracies)
    2
    """
    precision, compiling = options.get("precision", "auto"), options.get("compile")
    lens = Lens(normalization, tuple(augmentations), device, precision, compiling)
    exam, on_network = _Exam(memory, test, config, lens, seed), options.get("on_network")
    exam.after_epoch, known = options.get("after_epoch"), options.get("known")

    def of_network(architecture: NetworkConfig, number: int) -> float:
        before = None if known is None else known(architecture, number + 1)
        return exam.train_and_test(architecture, number) if before is None else before

    judgements = []
    for architecture in (config.network, *config.transfer):
        judgement = Judgement(architecture, [])
        for number, value in enumerate(_in_turn(of_network, architecture, config.networks, lens), start=1):
            judgement.accuracies.append(value)
            if on_network is not None:
                on_network(architecture, number, value)
        judgements.append(judgement)
    return judgements


class _Exam:
    """The training and test images of all networks, on the device."""

    def __init__(self, memory: Exemplars, test: LabelledImages, config: EvaluateConfig, lens: Lens, seed: int) -> None:
        self._config, self._lens, self._seed = config, lens, seed
        self._classes = memory.classes[-1] + 1
        self._images = lens.show(memory.decoded().images)
        self._targets = memory.targets(self._classes).to(lens.device)
        self.after_epoch: Callable[[int], None] | None = None
        test = test.of_classes(memory.classes)
        self._test_images, self._test_labels = held_on(test.images, lens.device), test.labels.to(lens.device)

    def train_and_test(self, architecture: NetworkConfig, number: int) -> float:
        """The test accuracy of network ``number``, trained on the memory."""
        config, images, lens = self._config, self._images, self._lens
        shape = (images.shape[1], images.shape[2], images.shape[3])
        weights = make_generator(self._seed, "scratch weights", number)
        network = build_network(architecture, shape, self._classes, weights, lens.device)
        views = config.networks * config.epochs * len(images)  # one compilation serves all networks
        train_classifier(
            network,
            images,
            self._targets,
            Training(config.epochs, config.batch_size),
            augmentations=lens.augmentations,
            generator=make_generator(self._seed, "scratch training", number),
            arithmetic=for_training(network, shape, views, lens.device, lens.precision, lens.compile),
            after_epoch=self.after_epoch,
        )
        return accuracy(network, self._test_images, self._test_labels, lens.show)


def _in_turn(
    train: Callable[[NetworkConfig, int], float], architecture: NetworkConfig, count: int, lens: Lens
) -> Iterator[float]:
    """The accuracies of ``count`` networks in their order; eager ones train side by side on a CPU."""
    cores = torch.get_num_threads()
    workers = min(count, cores) if lens.device.type == "cpu" and not lens.compile else 1
    if workers == 1:
        yield from (train(architecture, number) for number in range(count))
        return
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores // workers,)) as pool:
            yield from pool.map(lambda number: train(architecture, number), range(count))
    finally:
        torch.set_num_threads(cores)  # for threads that start later
