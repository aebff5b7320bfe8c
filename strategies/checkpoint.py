"""Saves a whole Avalanche strategy with its memory between experiences, and goes on with it in another process."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from avalanche.training.plugins import EvaluationPlugin, GDumbPlugin, LRSchedulerPlugin
from avalanche.training.supervised import Cumulative
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from iid_cl.errors import UserError
from iid_cl.files import State
from iid_cl.records.checkpoint import Checkpoints

from .buffers import MemoryBuffer
from .fast_step import FastStepPlugin
from .metrics_state import evaluator_state, is_plain, load_evaluator
from .soft_labels import SoftLabelPlugin
from .state import global_state, load_global_state, load_strategy, prepare_strategy, strategy_state
from .views import TaskLabelled

# Plugins whose other attributes follow from how they were made, or are saved apart
HANDLED = (EvaluationPlugin, FastStepPlugin, GDumbPlugin, LRSchedulerPlugin, SoftLabelPlugin)


def save(strategy: SupervisedTemplate, path: Path | str) -> None:
    """Saves a strategy after ``strategy.train``: weights, momenta, schedules, counters, memories, metrics, generators.

    The last two states are kept, as data (safetensors and JSON), not as pickles.

    Args:
        strategy: any strategy whose memories are buffers of :mod:`iid_cl.strategies`.
        path: folder of the states; it is made.

    Raises:
        UserError: the strategy is in the middle of a training, or a plugin keeps something that cannot be saved.

    >>> import tempfile
    >>> from avalanche.training.supervised import Naive
    >>> model = nn.Linear(4, 2)
    >>> strategy = Naive(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(strategy, folder)
    ...     load(strategy, folder, [])
    0
    """
    if strategy.experience is not None:
        raise UserError("save: the strategy is in the middle of an experience; call it after strategy.train(...).")
    state = {
        "names": _names(strategy),
        "trained": strategy.clock.train_exp_counter,
        "strategy": strategy_state(strategy),
        "optimized": _optimized(strategy),
        "own": _own(strategy),
        "plugins": [_of_plugin(plugin) for plugin in strategy.plugins],
        "memories": [memory.state_dict() for memory in _memories(strategy)],
        "metrics": evaluator_state(strategy.evaluator),
        "global": global_state(),
    }
    Checkpoints(Path(path)).write(state)


def load(strategy: SupervisedTemplate, path: Path | str, stream: Sequence[Any]) -> int:
    """Loads the newest state of :func:`save` into a strategy that was built in the same way.

    Python's, NumPy's and PyTorch's global generators are set, too, so that the rest equals an uninterrupted training.

    Args:
        strategy: newly built.
        path: folder of the states; it may be missing.
        stream: the experiences that the strategy was trained on, and those that follow.

    Returns:
        The number of experiences that it has been trained on; 0 where nothing has been saved.

    Raises:
        UserError: the states are damaged, or are of another strategy or stream.

    >>> import tempfile
    >>> from avalanche.training.supervised import Naive
    >>> model = torch.nn.Linear(4, 2)
    >>> strategy = Naive(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(strategy, folder, stream=[])
    0
    """
    state = Checkpoints(Path(path)).newest(lambda text: warnings.warn(text, stacklevel=2))
    if state is None:
        return 0
    names, trained = _names(strategy), state.get("trained")
    if state.get("names") != names:
        raise UserError(f"{path}: holds a state of {_listed(state.get('names'))}, but this is {_listed(names)}.")
    if type(trained) is not int or not 0 <= trained <= len(stream):
        raise UserError(f"{path}: the strategy was trained on {trained} experiences, but the stream has {len(stream)}.")
    try:
        _load(strategy, state, stream, trained)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: does not fit this strategy ({reason}); build it as the one that was saved.") from None
    return trained


def _load(strategy: SupervisedTemplate, state: State, stream: Sequence[Any], trained: int) -> None:
    past = [stream[number] for number in range(trained)]
    strategy.model.to(strategy.device)
    prepare_strategy(strategy, past)
    _grow(strategy, state["strategy"]["model"], stream, trained)
    strategy.make_optimizer()
    for memory, saved in zip(_memories(strategy), state["memories"], strict=True):
        memory.load_state_dict(saved, past[-1].dataset if past else None)
    load_strategy(strategy, {**state["strategy"], "optimizer": _in_order(strategy, state)})
    vars(strategy).update(state["own"])
    for plugin, plain in zip(strategy.plugins, state["plugins"], strict=True):
        vars(plugin).update(plain)
    load_evaluator(strategy.evaluator, state["metrics"])
    strategy.experience = None
    load_global_state(state["global"])


def _grow(strategy: SupervisedTemplate, weights: Mapping[str, Tensor], stream: Sequence[Any], trained: int) -> None:
    """Adapts a model that grows with its experiences, until its weights have the shapes of ``weights``.

    An evaluation may have shown it later experiences than those it was trained on.
    """
    wanted = {name: value.shape for name, value in weights.items()}
    for number in range(len(stream)):
        fits = {name: value.shape for name, value in strategy.model.state_dict().items()} == wanted
        if fits and number >= trained:
            return
        strategy.experience = stream[number]
        strategy.model = strategy.model_adaptation()


def _names(strategy: SupervisedTemplate) -> list[str]:
    """What the strategy consists of."""
    return [type(strategy).__name__, *(type(plugin).__name__ for plugin in strategy.plugins)]


def _listed(names: Any) -> str:
    return f"{names[0]} with {', '.join(names[1:])}" if isinstance(names, list) and names else "another program"


def _optimized(strategy: SupervisedTemplate) -> list[list[str]]:
    """Names of the parameters in the optimizer's order, which depends on how the model has grown.

    A name is empty where the model has another parameter in its place: it has grown since, and Avalanche forgets the
    momentum when the next training begins.
    """
    present = dict(strategy.model.named_parameters())
    known = strategy.optimized_param_id or present
    names = {id(parameter): name for name, parameter in known.items() if present.get(name) is parameter}
    groups = strategy.optimizer.param_groups
    return [[names.get(id(parameter), "") for parameter in group["params"]] for group in groups]


def _in_order(strategy: SupervisedTemplate, state: State) -> State:
    """The saved state of the optimizer in the order of this one's parameters. Others than the saved have no momentum.

    Raises:
        ValueError: a parameter is missing.
    """
    saved = state["strategy"]["optimizer"]
    numbers: dict[str, int] = {}
    for names, group in zip(state["optimized"], saved["param_groups"], strict=True):
        numbers |= {name: number for name, number in zip(names, group["params"], strict=True) if name}
    now = _optimized(strategy)
    missing = next((name for name in numbers if not any(name in names for names in now)), None)
    if missing is not None:
        raise ValueError(f"its optimizer lacks {missing}")
    unused = count(1 + max((number for group in saved["param_groups"] for number in group["params"]), default=0))
    order = [[numbers[name] if name in numbers else next(unused) for name in names] for names in now]
    groups = [{**group, "params": own} for group, own in zip(saved["param_groups"], order, strict=True)]
    momenta = {number: kept for number, kept in saved["state"].items() if number in numbers.values()}
    return {**saved, "state": momenta, "param_groups": groups}


def _memories(strategy: SupervisedTemplate) -> list[MemoryBuffer]:
    """The strategy's memories, each once."""
    found = [memory for owner in (strategy, *strategy.plugins) for memory in _held(owner)]
    return [memory for number, memory in enumerate(found) if not any(memory is other for other in found[:number])]


def _held(owner: Any) -> Iterator[MemoryBuffer]:
    for value in vars(owner).values():
        inner = value.memory if isinstance(value, TaskLabelled) else value
        if isinstance(inner, MemoryBuffer):
            yield inner


def _own(strategy: SupervisedTemplate) -> State:
    """What a kind of strategy keeps beside what every strategy has."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)  # which draws nothing
    common = SupervisedTemplate(model=nn.Identity(), optimizer=optimizer, evaluator=strategy.evaluator)
    also = {*vars(common), "dataset"} if isinstance(strategy, Cumulative) else set(vars(common))
    return _plain(strategy, also)


def _of_plugin(plugin: Any) -> State:
    """The attributes of a plugin that has no ``state_dict``."""
    if hasattr(plugin, "state_dict") or isinstance(plugin, HANDLED):
        return {}
    return _plain(plugin, set())


def _plain(owner: Any, handled: set[str]) -> State:
    """The plain attributes of an object, without its memories and without those that are ``handled``.

    Raises:
        UserError: another attribute, which would be lost.
    """
    state = {}
    for name, value in vars(owner).items():
        if name in handled or isinstance(value, MemoryBuffer | TaskLabelled):
            continue
        if not is_plain(value):
            raise UserError(
                f"save: {type(owner).__name__}.{name} is a {type(value).__name__}, which cannot be saved; give the "
                "class state_dict() and load_state_dict(state), or leave it out."
            )
        state[name] = value
    return state
