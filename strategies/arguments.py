"""The arguments that every Avalanche strategy takes, for type checkers."""

from collections.abc import Callable
from typing import TypedDict

import torch
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.plugins.evaluation import default_evaluator


class StrategyArguments(TypedDict, total=False):
    """Those of Avalanche's ``SupervisedTemplate`` besides model, optimizer, criterion and plugins."""

    train_mb_size: int
    train_epochs: int
    eval_mb_size: int | None
    device: str | torch.device
    evaluator: EvaluationPlugin | Callable[[], EvaluationPlugin]
    eval_every: int
    peval_mode: str


def with_defaults(arguments: StrategyArguments) -> StrategyArguments:
    """The arguments with Avalanche's defaults where they name none."""
    defaults: StrategyArguments = {
        "train_mb_size": 1,
        "train_epochs": 1,
        "eval_mb_size": None,
        "device": "cpu",
        "evaluator": default_evaluator,
        "eval_every": -1,
    }
    return {**defaults, **arguments}
