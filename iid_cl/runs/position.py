"""Where in its training an Avalanche strategy is, and how it is put back there.

Avalanche's own checkpoints pickle whole strategies, which fails on this torch. Here a strategy is built anew from the
configuration; its weights, momenta, counters and generators are then loaded into it, and the experience it was in the
middle of is begun again with the mini-batches done left out.
"""

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import GDumbPlugin, LRSchedulerPlugin
from avalanche.training.supervised import Cumulative
from avalanche.training.templates import SupervisedTemplate

from iid_cl.compute.classifier import schedule_state
from iid_cl.errors import UserError
from iid_cl.files import State
from iid_cl.runs.saver import Saver
from iid_cl.strategies.loading import TensorLoader


class PositionPlugin(SupervisedPlugin):
    """Counts finished passes of an experience, offers the run's state to be saved, and stops at a loss that is none.

    Belongs last among the plugins, behind Avalanche's own: what it saves must be what all others have done their part
    in. Append it to ``strategy.plugins``.

    Args:
        saver: of the run's state; None: it is never saved.

    Attributes:
        epochs: finished passes in the experience at hand; None outside of training.
    """

    def __init__(self, saver: Saver | None) -> None:
        super().__init__()
        self.epochs: int | None = None
        self._saver = saver
        self._planned = 0
        self._finite: torch.Tensor | None = None
        self._kept: State | None = None
        self._put_back: Callable[[], None] = lambda: None

    def go_on(self, epochs: int, loader: State | None, put_back: Callable[[], None]) -> None:
        """Lets the next training begin in the middle.

        Args:
            epochs: passes that are done.
            loader: where in the next pass the loader was; None: at its beginning, or behind the last one.
            put_back: loads the strategy's state again, once Avalanche has set the training up.
        """
        self._kept, self._put_back = {"epochs": epochs, "loader": loader}, put_back

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Leaves out the passes that are done."""
        self._planned, self.epochs = strategy.train_epochs, 0
        if self._kept is not None:
            self._put_back()
            self.epochs = self._kept["epochs"]
            strategy.train_epochs = self._planned - self.epochs

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Leaves out the mini-batches that are done."""
        if self._kept is not None and self._kept["loader"] is not None:
            strategy.dataloader.load_state_dict(self._kept["loader"])
            strategy.clock.train_epoch_iterations = self._kept["loader"]["served"]
        self._kept = None

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Looks at the loss, and saves where it is time.

        Raises:
            UserError: the loss is not finite.
        """
        finite = strategy.loss.detach().isfinite()
        self._finite = finite if self._finite is None else self._finite & finite
        on_cpu = finite.device.type == "cpu"  # elsewhere a look waits for the device
        due = self._saver is not None and self._saver.due() and not strategy._stop_training
        if on_cpu or due:
            self._check(strategy)
        if due and self._saver is not None:
            self._saver.save()

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Counts."""
        assert self.epochs is not None  # within training
        self._check(strategy)
        self.epochs += 1

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """The next experience has all its passes."""
        strategy.train_epochs = self._planned
        self.epochs = self._kept = None

    def _check(self, strategy: Any) -> None:
        finite, self._finite = self._finite, None
        if finite is None or bool(finite):
            return
        clock, group = strategy.clock, strategy.optimizer.param_groups[0]
        raise UserError(
            f"train.lr: {group.get('initial_lr', group['lr'])} makes the loss infinite or no number "
            f"(experience {clock.train_exp_counter + 1}, pass {(self.epochs or 0) + 1}, mini-batch "
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
    """Loads it into a strategy that was built in the same way."""
    strategy.model.load_state_dict(state["model"])
    strategy.optimizer.load_state_dict(state["optimizer"])
    strategy.optimizer._opt_called = True  # before; a schedule that steps first would warn
    vars(strategy.clock).update(state["clock"])
    for plugin, kept in zip(_with_state(strategy), state["plugins"], strict=True):
        plugin.load_state_dict(kept)
    for schedule, kept in zip(_schedules(strategy), state["schedules"], strict=True):
        schedule.scheduler.load_state_dict(kept)


def prepare_strategy(strategy: SupervisedTemplate, past: Sequence[Any]) -> None:
    """What Avalanche does in a strategy's first training, before a state is loaded into it.

    Args:
        strategy: newly built, with its first weights.
        past: experiences that it has been trained on.
    """
    for plugin in strategy.plugins:
        if isinstance(plugin, GDumbPlugin):
            plugin.init_model = copy.deepcopy(strategy.model)  # which each experience begins with
    strategy.make_optimizer(reset_optimizer_state=True)  # done again, it would forget the momenta
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
    """Goes on from there; generators of devices that are not there any more are left out."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _with_state(strategy: SupervisedTemplate) -> list[Any]:
    return [plugin for plugin in strategy.plugins if hasattr(plugin, "state_dict")]


def _schedules(strategy: SupervisedTemplate) -> list[LRSchedulerPlugin]:
    return [plugin for plugin in strategy.plugins if isinstance(plugin, LRSchedulerPlugin)]
