"""Replay from a distilled memory, used like Avalanche's own ``Replay``."""

from collections.abc import Callable, Sequence
from math import lcm
from typing import Any, Unpack

import torch
from avalanche.benchmarks.utils.data_loader import ReplayDataLoader
from avalanche.training.plugins import ReplayPlugin, SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from iid_cl.config.distill import DistillConfig
from iid_cl.data.images import Normalization

from .arguments import StrategyArguments
from .buffers import BudgetArguments, MemoryArguments, MemoryBuffer
from .named import DistilledBuffer
from .soft_labels import SoftLabelPlugin


class MemoryReplayPlugin(ReplayPlugin):
    """Avalanche's ``ReplayPlugin`` on a memory of any method and budget.

    Args:
        buffer: the memory.
        batch_size: images of the current data per mini-batch; None takes the strategy's batch size.
        batch_size_mem: memory images per mini-batch; None takes the strategy's batch size. A smaller memory is
            repeated to fill it.

    >>> from iid_cl.strategies import HerdingBuffer
    >>> MemoryReplayPlugin(HerdingBuffer(mem_size=50), batch_size_mem=32).batch_size_mem
    32
    """

    def __init__(self, buffer: MemoryBuffer, batch_size: int | None = None, batch_size_mem: int | None = None) -> None:
        super().__init__(buffer.max_size, batch_size, batch_size_mem, storage_policy=buffer)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.memory!r})"

    @property
    def memory(self) -> MemoryBuffer:
        """The memory."""
        memory: MemoryBuffer = self.storage_policy
        return memory

    def before_training_exp(self, strategy: Any, num_workers: int = 0, shuffle: bool = True, **kwargs: Any) -> None:
        """Joins current data and memory in each mini-batch.

        A memory smaller than ``batch_size_mem`` is repeated. Avalanche's loader serves it once per mini-batch, so that
        the current data outvotes a few distilled images; with ``drop_last`` it serves no memory at all.

        Raises:
            UserError: the memory could not take the experience's images.
        """
        if isinstance(self.storage_policy, MemoryBuffer):
            self.storage_policy.check(strategy, strategy.experience)
        memory = self.storage_policy.buffer
        if len(memory) == 0:
            return
        batch_size_mem = self.batch_size_mem or strategy.train_mb_size
        copies = lcm(len(memory), batch_size_mem) // len(memory) if len(memory) < batch_size_mem else 1
        strategy.dataloader = ReplayDataLoader(
            strategy.adapted_dataset,
            memory.subset(list(range(len(memory))) * copies),
            oversample_small_tasks=True,
            batch_size=self.batch_size or strategy.train_mb_size,
            batch_size_mem=batch_size_mem,
            task_balanced_dataloader=self.task_balanced_dataloader,
            num_workers=num_workers,
            shuffle=shuffle,
            **{key: kwargs[key] for key in ("ffcv_args", "persistent_workers") if key in kwargs},
        )


class DistilledReplayPlugin(MemoryReplayPlugin):
    """Replay of distilled images: ``MemoryReplayPlugin(DistilledBuffer(...))`` in one call.

    Args:
        ipc: images per class; None means 10 without another budget.
        distill: settings of the distillation.
        soft_labels: store class probabilities with each image; training on them takes a :class:`SoftLabelPlugin`.
        batch_size: see :class:`MemoryReplayPlugin`.
        batch_size_mem: see :class:`MemoryReplayPlugin`.

    Further arguments: ``mem_size``, ``mem_bytes``, ``class_bytes``, ``seed``, ``normalization``, ``precision``,
    ``compile`` and ``progress`` of :class:`MemoryBuffer`.

    >>> DistilledReplayPlugin(mem_size=50).storage_policy.budget.pair
    ('mem_size', 50)
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        distill: DistillConfig | None = None,
        soft_labels: bool = False,
        batch_size: int | None = None,
        batch_size_mem: int | None = None,
        **arguments: Unpack[MemoryArguments],
    ) -> None:
        if ipc is None and all(arguments.get(key) is None for key in BudgetArguments.__optional_keys__):
            ipc = 10
        buffer = DistilledBuffer(ipc, distill=distill, soft_labels=soft_labels, **arguments)
        super().__init__(buffer, batch_size, batch_size_mem)


class DistilledReplay(SupervisedTemplate):
    """Experience replay whose memory is distilled; a drop-in for ``avalanche.training.Replay``.

    Args:
        model: the network.
        optimizer: its optimizer.
        criterion: the loss.
        ipc: images per class; None means 10 without another budget.
        distill: settings of the distillation.
        soft_labels: store class probabilities with each image and train on them.
        plugins: further plugins.
        progress: whether bars show distillations; by default where Avalanche shows its own.

    ``mem_size``, ``mem_bytes``, ``class_bytes``, ``seed`` and ``normalization``: see :class:`MemoryBuffer`. Further
    arguments: see Avalanche's ``SupervisedTemplate``.

    Attributes:
        memory: the distilled memory; ``memory.exemplars`` and ``memory.save(path)``.

    >>> model = nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> DistilledReplay(model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss()).memory.budget.pair
    ('ipc', 10)
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        criterion: Callable[..., Any],
        ipc: int | None = None,
        mem_size: int | None = None,
        mem_bytes: int | None = None,
        class_bytes: int | None = None,
        distill: DistillConfig | None = None,
        soft_labels: bool = False,
        seed: int = 0,
        normalization: Normalization | None = None,
        plugins: Sequence[SupervisedPlugin] | None = None,
        progress: bool | None = None,
        **arguments: Unpack[StrategyArguments],
    ) -> None:  # all named, as Avalanche refuses keywords that are not in a strategy's signature
        replay = DistilledReplayPlugin(
            ipc, mem_size=mem_size, mem_bytes=mem_bytes, class_bytes=class_bytes, distill=distill,
            soft_labels=soft_labels, seed=seed, normalization=normalization, progress=progress,
        )  # fmt: skip
        self.memory: MemoryBuffer = replay.storage_policy
        soft = [SoftLabelPlugin(self.memory)] if soft_labels else []
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=criterion,
            plugins=[*(plugins or []), replay, *soft],
            **{"eval_mb_size": None, **arguments},  # as in Avalanche's strategies
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.memory!r})"
