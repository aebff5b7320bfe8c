"""The memory-only mode: after each experience a fresh network is trained on the memory alone (GDumb)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from avalanche.training.plugins import GDumbPlugin, SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn
from torch.optim import Optimizer

from .arguments import StrategyArguments, with_defaults
from .buffers import MemoryBuffer


class MemoryOnlyPlugin(GDumbPlugin):
    """Avalanche's ``GDumbPlugin`` (ECCV 2020) on a memory of any method.

    Before each experience it puts the experience's classes into the memory, resets the model to its initial
    weights and hands the memory to the training loop in place of the experience's data. In an online stream there is
    no memory before the first task ends; until then the model is trained on what arrives.

    Args:
        buffer: the memory.
        fill: whether this plugin puts the classes there; otherwise another strategy has done so before.

    Attributes:
        fill: the same; it may change between experiences.
    """

    def __init__(self, buffer: MemoryBuffer, fill: bool = True) -> None:
        super().__init__(mem_size=buffer.max_size)
        self.storage_policy = buffer
        self.fill = fill

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Replaces the experience's data by the memory."""
        if self.fill:
            self.storage_policy.update(strategy, **kwargs)
        if len(self.storage_policy.buffer):
            strategy.adapted_dataset = self.storage_policy.buffer


class UpdateLimitPlugin(SupervisedPlugin):
    """Trains for so many mini-batches after each experience, whatever the number of samples.

    Args:
        updates: mini-batches per experience.
    """

    def __init__(self, updates: int) -> None:
        super().__init__()
        self._updates = updates
        self._done = 0

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """As many passes as begin before the limit."""
        strategy.train_epochs = -(-self._updates // len(strategy.dataloader))
        self._done = 0

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Stops in the last pass."""
        self._done += 1
        if self._done == self._updates:
            strategy.stop_training()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Avalanche forgets a stop only when another pass begins: the next experience's would not."""
        strategy._stop_training = False

    def state_dict(self) -> dict[str, Any]:
        """Mini-batches of the experience so far."""
        return {"done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._done = state["done"]


class MemoryOnly(SupervisedTemplate):
    """Trains a fresh network on the memory alone after each experience.

    Args:
        model: the network; each experience starts again from the weights it has now.
        optimizer: its optimizer.
        criterion: the loss.
        memory: what is kept of each class.
        fill_memory: False where another strategy has put the experience's classes into ``memory`` before, so that
            several networks are trained on one memory.
        plugins: further plugins.

    The remaining arguments, such as ``train_epochs`` (passes over the memory), are those of Avalanche's
    ``SupervisedTemplate``.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: Optimizer,
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
            **with_defaults(arguments),
        )
        self.memory = memory
