"""One run: a learner goes through the stream with one method, evaluated after each experience."""

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks import CLScenario
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.determinism.rng_manager import RNGManager
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin
from avalanche.training.supervised import Cumulative, JointTraining, Naive
from avalanche.training.templates import SupervisedTemplate
from torch.nn import CrossEntropyLoss

from iid_cl.config import WITHOUT_MEMORY, Config, Method
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import class_order, make_benchmark
from iid_cl.evaluate.metrics import mean_by_class, mean_row, seen_accuracy, summary
from iid_cl.nets import build_network
from iid_cl.runs.condense import make_buffer
from iid_cl.runs.loggers import Loggers
from iid_cl.runs.reporter import Reporter
from iid_cl.seeding import derive_seed, make_generator
from iid_cl.strategies import (
    ClassAccuracyPlugin,
    InMemoryPlugin,
    MemoryBuffer,
    MemoryOnly,
    MemoryReplayPlugin,
    SoftLabelPlugin,
)
from iid_cl.strategies.augmentation import BatchAugmentationPlugin
from iid_cl.strategies.memory_only import UpdateLimitPlugin

EVAL_BATCH = 500

OnExperience = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Result:
    """What a run measured. Accuracies are in [0, 1]; see :mod:`iid_cl.evaluate.metrics` for definitions.

    ``average_accuracy``, ``forgetting`` and ``backward_transfer`` are None where there is no sequence: for joint
    training, the last two also for a single experience. With several networks, every figure is their mean.

    Attributes:
        class_accuracies: after each experience, the accuracy of each class seen (in JSON, its index is text).
        network_matrices: each network's own matrix.
        test_sizes: test images of each experience, which ``final_accuracy`` and ``average_accuracy`` weigh by.
        train_seconds: of all networks together.
        updates: mini-batches trained on, over all experiences and networks.
    """

    method: Method
    mode: str
    seed: int
    class_order: list[list[int]]
    matrix: list[list[float]]
    final_accuracy: float
    average_accuracy: float | None
    forgetting: float | None
    memory_images: int
    memory_bytes: int
    condense_seconds: float
    train_seconds: float
    total_seconds: float
    final_task_accuracy: float | None = None
    backward_transfer: float | None = None
    class_accuracies: list[dict[int, float]] = field(default_factory=list)
    network_matrices: list[list[list[float]]] = field(default_factory=list)
    test_sizes: list[int] = field(default_factory=list)
    updates: int = 0


def run_method(
    config: Config,
    method: Method,
    dataset: ImageDataset,
    device: torch.device,
    reporter: Reporter,
    *,
    prefix: str = "",
    on_experience: OnExperience | None = None,
    loggers: Loggers | None = None,
) -> tuple[Result, MemoryBuffer | None]:
    """Trains and evaluates one learner over the whole stream; ``train.networks`` of them on one memory.

    Class order and initial weights depend on the configuration and seed only, so methods compare.

    Args:
        config: everything but the method.
        method: which memory, or which bound.
        dataset: the data, as loaded for ``config.stream``.
        device: where to train and distil.
        reporter: shows progress.
        prefix: put before each phase's name.
        on_experience: called after each evaluation with its record.
        loggers: log the first network, and the memory.

    Raises:
        UserError: the stream, the network or the memory's size does not fit the data.
    """
    order = class_order(config.stream, len(dataset.class_names), config.seed)
    with _global_randomness(config.seed):
        started = time.perf_counter()
        progress = _ProgressPlugin(reporter, prefix)
        counts = ClassAccuracyPlugin()
        strategies, memory = _make_strategies(config, method, dataset, device, counts, progress, reporter)
        if loggers is not None:
            loggers.attach(strategies[0], memory)
        benchmark = make_benchmark(dataset, order)
        sizes = [len(experience.dataset) for experience in benchmark.test_stream]
        matrices, class_accuracies, train_seconds = _train_and_evaluate(
            strategies, memory, benchmark, sizes, order, counts, progress, reporter, prefix, on_experience
        )
        total = time.perf_counter() - started
    condense_seconds = 0.0 if memory is None else memory.seconds
    result = Result(
        method=method,
        mode=config.train.mode,
        seed=config.seed,
        class_order=order,
        matrix=[mean_row(rows) for rows in zip(*matrices, strict=True)],
        memory_images=0 if memory is None else len(memory.buffer),
        memory_bytes=0 if memory is None else memory.nbytes,
        condense_seconds=condense_seconds,
        train_seconds=train_seconds - condense_seconds,
        total_seconds=total,
        class_accuracies=class_accuracies,
        network_matrices=matrices,
        test_sizes=sizes,
        **summary(matrices, sizes),
        updates=progress.updates,
    )
    return result, memory


def _make_strategies(
    config: Config,
    method: Method,
    dataset: ImageDataset,
    device: torch.device,
    counts: ClassAccuracyPlugin,
    progress: "_ProgressPlugin",
    reporter: Reporter,
) -> tuple[list[SupervisedTemplate], MemoryBuffer | None]:
    """The Avalanche strategy of each network, and the memory they share if the method has one."""
    memory = None
    if method not in WITHOUT_MEMORY:

        def on_step(iteration: int, losses: Mapping[str, float]) -> None:
            label = progress.label("distilling")
            reporter.progress(label, iteration, config.distill.iterations, lambda: losses)

        own_features = config.train.mode == "memory_only"
        memory = make_buffer(config, method, dataset, own_features=own_features, on_step=on_step)
    last = [counts, progress]
    numbers = range(config.train.networks)
    return [_make_strategy(config, method, dataset, device, memory, last, number) for number in numbers], memory


def _make_strategy(
    config: Config,
    method: Method,
    dataset: ImageDataset,
    device: torch.device,
    memory: MemoryBuffer | None,
    last: Sequence[SupervisedPlugin],
    number: int,
) -> SupervisedTemplate:
    """The strategy of network ``number``, which draws from streams of its own; number 0 fills the memory."""
    train = config.train
    seed = derive_seed(config.seed, "network", number) if number else config.seed
    network = build_network(
        config.model, dataset.shape, len(dataset.class_names), make_generator(seed, "model"), device
    )
    memory_only = train.mode == "memory_only" and memory is not None
    epochs = train.memory_epochs if memory_only else train.epochs
    optimizer = torch.optim.SGD(
        network.parameters(), lr=train.lr, momentum=train.momentum, weight_decay=train.weight_decay
    )
    plugins: list[SupervisedPlugin] = [InMemoryPlugin(seed=seed)]
    if train.augment:
        draws = make_generator(seed, "train augmentation")
        plugins.append(BatchAugmentationPlugin(dataset.augmentations, draws))
    updates = train.memory_updates if memory_only else None
    if train.lr_drop:
        half = ((epochs if updates is None else updates) + 1) // 2
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [half], gamma=0.1)
        plugins.append(LRSchedulerPlugin(schedule, step_granularity="epoch" if updates is None else "iteration"))
    if updates is not None:
        plugins.append(UpdateLimitPlugin(updates))
    if memory is not None and not memory_only:
        plugins.append(MemoryReplayPlugin(memory, batch_size_mem=train.memory_batch_size))
    if memory is not None and config.memory.soft_labels:
        plugins.append(SoftLabelPlugin(memory))
    arguments: dict[str, Any] = {
        "model": network,
        "optimizer": optimizer,
        "criterion": CrossEntropyLoss(),
        "train_mb_size": train.batch_size,
        "train_epochs": epochs,
        "eval_mb_size": EVAL_BATCH,
        "device": device,
        "plugins": [*plugins, *last],
        "evaluator": EvaluationPlugin(accuracy_metrics(experience=True)),
    }
    if memory is not None and memory_only:
        return MemoryOnly(memory=memory, fill_memory=number == 0, **arguments)
    if method == "joint":
        return JointTraining(**arguments)
    return Cumulative(**arguments) if method == "cumulative" else Naive(**arguments)


def _train_and_evaluate(
    strategies: Sequence[SupervisedTemplate],
    memory: MemoryBuffer | None,
    benchmark: CLScenario,
    sizes: list[int],
    order: list[list[int]],
    counts: ClassAccuracyPlugin,
    progress: "_ProgressPlugin",
    reporter: Reporter,
    prefix: str,
    on_experience: OnExperience | None,
) -> tuple[list[list[list[float]]], list[dict[int, float]], float]:
    """Each network's accuracy matrix, accuracies of classes, and the seconds in training (condensing included)."""
    joint = isinstance(strategies[0], JointTraining)
    matrices: list[list[list[float]]] = [[] for _ in strategies]
    class_accuracies: list[dict[int, float]] = []
    seconds = 0.0
    for index, experience in enumerate(benchmark.train_stream):
        last = len(sizes) - 1 if joint else index
        reporter.stage(index, 1 if joint else len(sizes), memory_bytes=None if memory is None else memory.nbytes)
        where = f"{prefix}all experiences" if joint else f"{prefix}experience {index + 1}/{len(sizes)}"
        of_classes = []
        for number, (strategy, matrix) in enumerate(zip(strategies, matrices, strict=True), start=1):
            progress.experience = where if len(strategies) == 1 else f"{where}, network {number}/{len(strategies)}"
            start = time.perf_counter()
            strategy.train(benchmark.train_stream if joint else experience)
            seconds += time.perf_counter() - start
            matrix.append(_accuracies(strategy.eval(benchmark.test_stream[: last + 1]), last + 1))
            of_classes.append(counts.accuracies)
        class_accuracies.append(mean_by_class(of_classes))
        row = mean_row([matrix[-1] for matrix in matrices])
        seen = seen_accuracy(row, sizes)
        cells = " ".join(f"{accuracy:.3f}" for accuracy in row)
        reporter.line(f"{where}  seen classes {seen:.3f}  each experience {cells}")
        if on_experience is not None:
            classes = [c for group in order for c in group] if joint else order[index]
            scores = summary(matrices, sizes)
            on_experience(
                {
                    "experience": last,
                    "classes": classes,
                    "accuracy_each": row,
                    "accuracy_seen": seen,
                    "accuracy_tasks": scores["final_task_accuracy"],
                    "accuracy_classes": class_accuracies[-1],
                    "average_accuracy": scores["average_accuracy"],
                    "forgetting": scores["forgetting"],
                    "backward_transfer": scores["backward_transfer"],
                    "memory_bytes": 0 if memory is None else memory.nbytes,
                }
            )
        if joint:
            break
    return matrices, class_accuracies, seconds


def _accuracies(metrics: Mapping[str, float], count: int) -> list[float]:
    """Accuracy on each of the first ``count`` test experiences, read from Avalanche's metric names."""
    found = {}
    for name, value in metrics.items():
        match = re.fullmatch(r"Top1_Acc_Exp/eval_phase/test_stream/(?:Task\d+/)?Exp(\d+)", name)
        if match:
            found[int(match[1])] = float(value)
    return [found[j] for j in range(count)]


class _ProgressPlugin(SupervisedPlugin):
    """Tells the reporter how far training is. Belongs last among the plugins: others set the dataloader."""

    def __init__(self, reporter: Reporter, prefix: str) -> None:
        super().__init__()
        self.experience = prefix
        self.updates = 0
        self._reporter = reporter
        self._done = 0
        self._total = 0

    def label(self, phase: str) -> str:
        """What a phase of the current experience is called."""
        return f"{self.experience} {phase}"

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self._done = 0
        self._total = strategy.train_epochs * len(strategy.dataloader)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self._done += 1
        self.updates += 1
        self._reporter.progress(
            self.label("training"),
            self._done,
            self._total,
            lambda: {"loss": float(strategy.loss.detach())},
            images=len(strategy.mb_x),
        )


@contextmanager
def _global_randomness(seed: int) -> Iterator[None]:
    """Networks may draw from the global generators (dropout), and Avalanche too: seeds them, and restores them."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        RNGManager.set_random_seeds(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
