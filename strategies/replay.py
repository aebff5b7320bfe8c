"""Replay from a distilled memory, used like Avalanche's own ``Replay``."""

from collections.abc import Callable, Sequence
from math import lcm
from typing import Any

import torch
from avalanche.benchmarks.utils.data_loader import ReplayDataLoader
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin, SupervisedPlugin
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate
from torch import nn
from torch.optim import Optimizer

from iid_cl.config.distill import DistillConfig
from iid_cl.data.images import Normalization

from .buffers import MemoryBuffer
from .distilled import DistilledBuffer
from .soft_labels import SoftLabelPlugin


class MemoryReplayPlugin(ReplayPlugin):
    """Avalanche's ``ReplayPlugin`` on a memory of any method and budget.

    Args:
        buffer: the memory; of any method.
        batch_size: images of the current data per mini-batch; None takes the strategy's.
        batch_size_mem: memory images per mini-batch; None takes the strategy's batch size. A memory smaller
            than this is repeated to fill it.
    """

    def __init__(self, buffer: MemoryBuffer, batch_size: int | None = None, batch_size_mem: int | None = None) -> None:
        super().__init__(
            mem_size=buffer.max_size,
            batch_size=batch_size,
            batch_size_mem=batch_size_mem,
            storage_policy=buffer,
        )

    def before_training_exp(self, strategy: Any, num_workers: int = 0, shuffle: bool = True, **kwargs: Any) -> None:
        """Joins current data and memory in each mini-batch.

        Avalanche's loader serves a memory smaller than ``batch_size_mem`` once per mini-batch, which leaves a
        handful of distilled images outvoted by the current data; and with ``drop_last`` it serves none at all.
        Here such a memory is repeated.
        """
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
        ipc: images per class; None means 10 where no other budget is given.
        mem_size: images in total, in place of ``ipc``, see :class:`MemoryBuffer`.
        mem_bytes: bytes in total, likewise.
        class_bytes: bytes per class, likewise.
        distill: settings of the distillation.
        soft_labels: store class probabilities with each image; training on them takes a :class:`SoftLabelPlugin`.
        seed: of every random draw of the memory.
        normalization: see :class:`MemoryBuffer`.
        batch_size: see :class:`MemoryReplayPlugin`.
        batch_size_mem: see :class:`MemoryReplayPlugin`.
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        mem_size: int | None = None,
        mem_bytes: int | None = None,
        class_bytes: int | None = None,
        distill: DistillConfig | None = None,
        soft_labels: bool = False,
        seed: int = 0,
        normalization: Normalization | None = None,
        batch_size: int | None = None,
        batch_size_mem: int | None = None,
    ) -> None:
        buffer = DistilledBuffer(
            10 if ipc is mem_size is mem_bytes is class_bytes is None else ipc,
            mem_size=mem_size,
            mem_bytes=mem_bytes,
            class_bytes=class_bytes,
            distill=distill,
            soft_labels=soft_labels,
            seed=seed,
            normalization=normalization,
        )
        super().__init__(buffer, batch_size, batch_size_mem)


class DistilledReplay(SupervisedTemplate):
    """Experience replay whose memory is distilled; a drop-in for ``avalanche.training.Replay``.

    Args:
        model: the network.
        optimizer: its optimizer.
        criterion: the loss.
        ipc: images stored per class; None means 10 where no other budget is given.
        mem_size: images in total, in place of ``ipc``, see :class:`MemoryBuffer`.
        mem_bytes: bytes in total, likewise.
        class_bytes: bytes per class, likewise.
        distill: settings of the distillation.
        soft_labels: store class probabilities with each image and train on them.
        seed: of every random draw of the memory.
        normalization: see :class:`MemoryBuffer`.
        plugins: further plugins.

    The remaining arguments are those of Avalanche's ``SupervisedTemplate``.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: Optimizer,
        criterion: Callable[..., Any],
        ipc: int | None = None,
        mem_size: int | None = None,
        mem_bytes: int | None = None,
        class_bytes: int | None = None,
        distill: DistillConfig | None = None,
        soft_labels: bool = False,
        seed: int = 0,
        normalization: Normalization | None = None,
        train_mb_size: int = 1,
        train_epochs: int = 1,
        eval_mb_size: int | None = None,
        device: str | torch.device = "cpu",
        plugins: Sequence[SupervisedPlugin] | None = None,
        evaluator: EvaluationPlugin | Callable[[], EvaluationPlugin] = default_evaluator,
        eval_every: int = -1,
        **base_kwargs: Any,
    ) -> None:
        replay = DistilledReplayPlugin(
            ipc,
            mem_size=mem_size,
            mem_bytes=mem_bytes,
            class_bytes=class_bytes,
            distill=distill,
            soft_labels=soft_labels,
            seed=seed,
            normalization=normalization,
        )
        soft = [SoftLabelPlugin(replay.storage_policy)] if soft_labels else []
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=criterion,
            train_mb_size=train_mb_size,
            train_epochs=train_epochs,
            eval_mb_size=eval_mb_size,
            device=device,
            plugins=[*(plugins or []), replay, *soft],
            evaluator=evaluator,
            eval_every=eval_every,
            **base_kwargs,
        )
        self.memory: MemoryBuffer = replay.storage_policy
        """The distilled memory; ``memory.exemplars`` and ``memory.save(path)``."""
