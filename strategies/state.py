"""The state of an Avalanche strategy: weights, momenta, counters and generators.

Avalanche's own checkpoints pickle whole strategies, which fails on this torch. Here a strategy is built again in the
same way, and its state is loaded.
"""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from avalanche.training.determinism.rng_manager import RNGManager
from avalanche.training.plugins import GDumbPlugin, LRSchedulerPlugin
from avalanche.training.supervised import Cumulative
from avalanche.training.templates import SupervisedTemplate

from iid_cl.compute.classifier import schedule_state
from iid_cl.files import State

from .loading import TensorLoader


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
