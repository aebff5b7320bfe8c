"""Where a run is in the training of a strategy: counts epochs, and lets a training start in the middle."""

from collections.abc import Callable
from typing import Any

import torch
from avalanche.core import SupervisedPlugin

from iid_cl.errors import UserError
from iid_cl.files import State
from iid_cl.runs.saver import Saver


class PositionPlugin(SupervisedPlugin):
    """Counts epochs, saves the run's state when it is due, and stops when the loss is NaN or infinite.

    Belongs last among the plugins, behind Avalanche's, so that all have finished the mini-batch when it saves. Append
    it to ``strategy.plugins``.

    Args:
        saver: of the run's state; None: never save.

    Attributes:
        epochs: finished epochs of the current experience; None outside of training.
    """

    def __init__(self, saver: Saver | None) -> None:
        super().__init__()
        self.epochs: int | None = None
        self._saver = saver
        self._planned = 0
        self._finite: torch.Tensor | None = None
        self._start: tuple[int, State | None, Callable[[], None]] | None = None

    def resume(self, epochs: int, loader: State | None, restore: Callable[[], None]) -> None:
        """Lets the next training start in the middle.

        Args:
            epochs: finished epochs.
            loader: the loader's state in the next epoch; None: at its start, or behind the last epoch.
            restore: loads the strategy's state again, once Avalanche has set up the training.
        """
        self._start = epochs, loader, restore

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Leaves out the finished epochs."""
        self._planned, self.epochs = strategy.train_epochs, 0
        if self._start is not None:
            self.epochs, _, restore = self._start
            restore()
            strategy.train_epochs = self._planned - self.epochs

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Leaves out the finished mini-batches."""
        if self._start is not None and self._start[1] is not None:
            strategy.dataloader.load_state_dict(self._start[1])
            strategy.clock.train_epoch_iterations = self._start[1]["served"]
        self._start = None

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Checks the loss, and saves when it is due.

        Raises:
            UserError: the loss is NaN or infinite.
        """
        finite = strategy.loss.detach().isfinite()
        self._finite = finite if self._finite is None else self._finite & finite
        on_cpu = finite.device.type == "cpu"  # elsewhere, reading the value waits for the device
        due = self._saver is not None and self._saver.due() and not strategy._stop_training
        if on_cpu or due:
            self._check_loss(strategy)
        if due and self._saver is not None:
            self._saver.save()

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        assert self.epochs is not None  # within training
        self._check_loss(strategy)
        self.epochs += 1

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        strategy.train_epochs = self._planned
        self.epochs = self._start = None

    def _check_loss(self, strategy: Any) -> None:
        finite, self._finite = self._finite, None
        if finite is None or bool(finite):
            return
        clock, group = strategy.clock, strategy.optimizer.param_groups[0]
        raise UserError(
            f"train.lr: {group.get('initial_lr', group['lr'])} makes the loss NaN or infinite "
            f"(experience {clock.train_exp_counter + 1}, epoch {(self.epochs or 0) + 1}, mini-batch "
            f"{clock.train_epoch_iterations}); use a smaller rate or another train.momentum."
        )
