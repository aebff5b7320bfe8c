"""Saves and restores the position of an Avalanche strategy in its training.

Avalanche's own checkpoints pickle whole strategies, which fails on this torch. Here a strategy is built again from the
configuration, and its weights, momenta, counters and generators are loaded. The interrupted experience then starts
again, without the mini-batches that are finished.
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.determinism.rng_manager import RNGManager
from avalanche.training.plugins import GDumbPlugin, LRSchedulerPlugin
from avalanche.training.supervised import Cumulative
from avalanche.training.templates import SupervisedTemplate

from iid_cl.compute.classifier import schedule_state
from iid_cl.errors import UserError
from iid_cl.files import State
from iid_cl.runs.saver import Saver
from iid_cl.strategies.loading import TensorLoader


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


def strategy_state(strategy: SupervisedTemplate) -> State:
    """Weights, momenta, learning rate, counters and generators of a strategy and its plugins."""
    loader = strategy.dataloader
    return {
        "model": strategy.model.state_dict(),
        "optimizer": strategy.optimizer.state_dict(),
        "clock": {name: count for name, count in vars(strategy.clock).items() if isinstance(count, int)},
        "plugins": [plugin.state_dict() for plugin in _with_state(strategy)],
        "schedules": [schedule_state(plugin.scheduler) for plugin in _schedules(strategy)],
        "loader": loader.state_dict() if isinstance(loader, TensorLoader) else None,
    }


def load_strategy(strategy: SupervisedTemplate, state: Mapping[str, Any]) -> None:
    """Restores :func:`strategy_state` in a strategy that was built in the same way."""
    strategy.model.load_state_dict(state["model"])
    strategy.optimizer.load_state_dict(state["optimizer"])
    strategy.optimizer._opt_called = True  # it has stepped; otherwise the schedule warns that it steps first
    vars(strategy.clock).update(state["clock"])
    for plugin, saved in zip(_with_state(strategy), state["plugins"], strict=True):
        plugin.load_state_dict(saved)
    for schedule, saved in zip(_schedules(strategy), state["schedules"], strict=True):
        schedule.scheduler.load_state_dict(saved)


def prepare_strategy(strategy: SupervisedTemplate, past: Sequence[Any]) -> None:
    """Does what Avalanche does in a strategy's first training; call it before :func:`load_strategy`.

    Args:
        strategy: newly built, with its initial weights.
        past: experiences that it was trained on.
    """
    for plugin in strategy.plugins:
        if isinstance(plugin, GDumbPlugin):
            plugin.init_model = copy.deepcopy(strategy.model)  # each experience starts from these weights
    strategy.make_optimizer(reset_optimizer_state=True)  # now, as it forgets the momenta
    if isinstance(strategy, Cumulative):
        for strategy.experience in past:
            strategy.train_dataset_adaptation()


def global_state() -> State:
    """The state of Python's, NumPy's and PyTorch's global generators."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def load_global_state(state: Mapping[str, Any]) -> None:
    """Restores :func:`global_state`, without the CUDA generators if the number of GPUs has changed."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def global_randomness(seed: int) -> Iterator[None]:
    """Seeds the global generators, from which networks (dropout) and Avalanche may draw; restores them afterwards."""
    before = global_state()
    try:
        RNGManager.set_random_seeds(seed)
        yield
    finally:
        load_global_state(before)


def _with_state(strategy: SupervisedTemplate) -> list[Any]:
    return [plugin for plugin in strategy.plugins if hasattr(plugin, "state_dict")]


def _schedules(strategy: SupervisedTemplate) -> list[LRSchedulerPlugin]:
    return [plugin for plugin in strategy.plugins if isinstance(plugin, LRSchedulerPlugin)]
