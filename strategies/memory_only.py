"""The memory-only mode: after each experience a fresh network is trained on the memory alone (GDumb)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import torch
from avalanche.training.plugins import GDumbPlugin, SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from .arguments import StrategyArguments
from .buffers import MemoryBuffer


class MemoryOnlyPlugin(GDumbPlugin):
    """Avalanche's ``GDumbPlugin`` (ECCV 2020) on a memory of any method.

    Before each experience it puts the experience's classes into the memory, resets the model to its initial
    weights and gives the training loop the memory instead of the experience's data. In an online stream there is
    no memory before the first task ends; until then the model is trained on what arrives.

    Args:
        buffer: the memory.
        fill: whether this plugin fills the memory; otherwise another strategy has filled it before. The attribute
            ``fill`` may change between experiences.

    >>> from iid_cl.strategies import RandomBuffer
    >>> MemoryOnlyPlugin(RandomBuffer(mem_size=50)).mem_size
    50
    """

    def __init__(self, buffer: MemoryBuffer, fill: bool = True) -> None:
        super().__init__(mem_size=buffer.max_size)
        self.storage_policy = buffer
        self.fill = fill

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.memory!r})"

    @property
    def memory(self) -> MemoryBuffer:
        """The memory."""
        memory: MemoryBuffer = self.storage_policy
        return memory

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Replaces the experience's data by the memory."""
        if self.fill:
            self.storage_policy.update(strategy, **kwargs)
        if len(self.storage_policy.buffer):
            strategy.adapted_dataset = self.storage_policy.buffer


class UpdateLimitPlugin(SupervisedPlugin):
    """Trains for a number of mini-batches in each experience, whatever the number of samples.

    Args:
        updates: mini-batches per experience.
    """

    def __init__(self, updates: int) -> None:
        super().__init__()
        self._updates = updates
        self._done = 0

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Sets the number of passes that begin before the limit."""
        strategy.train_epochs = -(-self._updates // len(strategy.dataloader))
        self._done = 0

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Stops at the limit."""
        self._done += 1
        if self._done == self._updates:
            strategy.stop_training()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Forgets the stop, as Avalanche does only when another pass begins."""
        strategy._stop_training = False

    def state_dict(self) -> dict[str, Any]:
        """Number of mini-batches of the experience so far."""
        return {"done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a state."""
        self._done = state["done"]


class MemoryOnly(SupervisedTemplate):
    """Trains a fresh network on the memory alone after each experience.

    Args:
        model: the network; each experience starts again from its present weights.
        optimizer: its optimizer.
        criterion: the loss.
        memory: the memory to train on.
        fill_memory: False where another strategy has filled ``memory`` before, to train several networks on a memory.
        plugins: further plugins.

    Further arguments, such as ``train_epochs`` (passes over the memory): see Avalanche's ``SupervisedTemplate``.

    >>> from iid_cl.strategies import AutoBuffer
    >>> model, memory = nn.Linear(4, 2), AutoBuffer(mem_bytes=1000)
    >>> optimizer, criterion = torch.optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss()
    >>> MemoryOnly(model=model, optimizer=optimizer, criterion=criterion, memory=memory, train_epochs=20).train_epochs
    20
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        criterion: Callable[..., Any],
        memory: MemoryBuffer,
        fill_memory: bool = True,
        plugins: Sequence[SupervisedPlugin] | None = None,
        **arguments: Unpack[StrategyArguments],
    ) -> None:
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=criterion,
            plugins=[*(plugins or []), MemoryOnlyPlugin(memory, fill_memory)],
            **{"eval_mb_size": None, **arguments},  # as in Avalanche's strategies
        )
        self.memory = memory

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.memory!r})"
