"""The numbers in Avalanche's metrics, which have no ``state_dict``: forgetting compares with earlier experiences."""

from collections.abc import Mapping
from typing import Any

from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor

from iid_cl.files import State

WITH_STATE = "avalanche.evaluation"  # modules of metrics, and of what they consist of


def is_plain(value: Any) -> bool:
    """Whether a value is a number, text, a tensor or None, or a list or dictionary of such."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, int | str) and is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str | Tensor)


def evaluator_state(evaluator: EvaluationPlugin) -> State:
    """The metrics' numbers, and the values published so far. What is no number, such as a figure, is left out."""
    curves = {name: list(curve) for name, curve in evaluator.all_metric_results.items()}
    return {
        "metrics": [_state(metric) for metric in evaluator.metrics],
        "last": {name: value for name, value in evaluator.last_metric_results.items() if is_plain(value)},
        "all": {name: curve for name, curve in curves.items() if is_plain(curve)},
    }


def load_evaluator(evaluator: EvaluationPlugin, state: Mapping[str, Any]) -> None:
    """Restores :func:`evaluator_state` in an evaluator with the same metrics."""
    for metric, saved in zip(evaluator.metrics, state["metrics"], strict=True):
        _load(metric, saved)
    evaluator.last_metric_results.update(state["last"])
    evaluator.all_metric_results.update({name: (xs, ys) for name, (xs, ys) in state["all"].items()})


def _state(thing: Any) -> State:
    values = vars(thing)
    parts = {name: _state(value) for name, value in values.items() if type(value).__module__.startswith(WITH_STATE)}
    return {"plain": {name: value for name, value in values.items() if is_plain(value)}, "parts": parts}


def _load(thing: Any, state: Mapping[str, Any]) -> None:
    for name, value in state["plain"].items():
        current = getattr(thing, name)
        if isinstance(current, dict):  # of a kind of its own, such as a defaultdict
            current.clear()
            current.update(value)
        else:
            setattr(thing, name, value)
    for name, part in state["parts"].items():
        _load(getattr(thing, name), part)
