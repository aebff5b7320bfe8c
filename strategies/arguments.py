"""The arguments that every Avalanche strategy takes, for type checkers."""

from collections.abc import Callable
from typing import TypedDict

import torch
from avalanche.training.plugins import EvaluationPlugin


class StrategyArguments(TypedDict, total=False):
    """Arguments of Avalanche's ``SupervisedTemplate`` besides model, optimizer, criterion and plugins."""

    train_mb_size: int
    train_epochs: int
    eval_mb_size: int | None
    device: str | torch.device
    evaluator: EvaluationPlugin | Callable[[], EvaluationPlugin]
    eval_every: int
    peval_mode: str
