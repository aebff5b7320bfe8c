"""A run's learners, as Avalanche strategies."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from iid_cl.strategies import installed  # noqa: F401  # isort: skip
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin
from avalanche.training.supervised import Cumulative, JointTraining, Naive
from avalanche.training.templates import SupervisedTemplate
from torch.nn import CrossEntropyLoss

from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, MethodName
from iid_cl.data.images import ImageDataset
from iid_cl.distill.watch import Counter
from iid_cl.methods.build import make_method
from iid_cl.methods.features import trained_features
from iid_cl.nets import build_network
from iid_cl.seeding import derive_seed, make_generator
from iid_cl.strategies import InMemoryPlugin, MemoryBuffer, MemoryOnly, MemoryReplayPlugin, SoftLabelPlugin
from iid_cl.strategies.augmentation import BatchAugmentationPlugin
from iid_cl.strategies.memory_only import UpdateLimitPlugin
from iid_cl.terminal.reporter import Reporter

EVAL_BATCH = 500
LEARNERS: dict[str, type[SupervisedTemplate]] = {
    "experience": Naive,
    "so_far": Cumulative,
    "all": JointTraining,
}  # by the data that a method sees


class ProgressPlugin(SupervisedPlugin):
    """Reports the progress of training. Belongs behind all plugins that set the dataloader.

    Attributes:
        experience: name of the current experience and network.
        updates: mini-batches trained on so far.
    """

    def __init__(self, reporter: Reporter, experience: str) -> None:
        super().__init__()
        self.experience = experience
        self.updates = 0
        self._reporter = reporter
        self._done = 0
        self._total = 0

    def label(self, phase: str) -> str:
        """Name of a phase of the current experience."""
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

    def state_dict(self) -> dict[str, Any]:
        """Mini-batches of the run and of the current experience."""
        return {"updates": self.updates, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`."""
        self.updates, self._done = state["updates"], state["done"]


def make_memory_buffer(
    config: Config, method: MethodName, dataset: ImageDataset, progress: ProgressPlugin, reporter: Reporter
) -> MemoryBuffer | None:
    """The memory that the networks share; None for a bound, which has none."""
    if METHODS[method].bound:
        return None

    def tell(done: int, of: int, losses: Mapping[str, float]) -> None:
        reporter.progress(progress.label("distilling"), done, of, lambda: losses)

    counter = Counter(tell)
    memory = MemoryBuffer(
        make_method(config, method),
        config.memory.budget,
        augmentations=dataset.augmentations,
        on_step=counter.on_step,
        seed=config.seed,
        normalization=dataset.normalization,
        precision=config.precision,
        compile=config.compile,
    )
    memory.on_start = counter.on_start
    if config.train.mode == "memory_only":  # the learner trains on the experience only after the memory is filled
        memory.own_features = trained_features(config.model, config.distill.cc)
    return memory


def make_strategy(
    config: Config,
    method: MethodName,
    dataset: ImageDataset,
    device: torch.device,
    memory: MemoryBuffer | None,
    last: Sequence[SupervisedPlugin],
    number: int,
) -> SupervisedTemplate:
    """The strategy of network ``number``, which has its own seed; network 0 fills the memory.

    Args:
        last: plugins that go behind the rest.
    """
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
    return LEARNERS[METHODS[method].sees](**arguments)
