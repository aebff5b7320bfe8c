"""What a memory tells a strategy's user: bars in a terminal, and losses in the loggers."""

import sys
from typing import Any

from avalanche.logging import InteractiveLogger, TextLogger

from iid_cl.distill.watch import Watch


def loggers_of(strategy: Any) -> list[Any]:
    """A strategy's loggers; empty where it evaluates nothing."""
    return list(getattr(getattr(strategy, "evaluator", None), "loggers", None) or [])


def bars_wanted(strategy: Any) -> bool:
    """Whether Avalanche shows bars of its own: in a terminal, by its ``InteractiveLogger``."""
    return sys.stdout.isatty() and any(isinstance(logger, InteractiveLogger) for logger in loggers_of(strategy))


class LossLog:
    """Gives the losses of distillations to loggers as ``Distillation/...``, counted over all distillations.

    Loggers of text print what they are given between two lines of training, so they get none.
    """

    def __init__(self) -> None:
        self._count = 0

    def of(self, strategy: Any) -> Watch | None:
        """An observer that tells the strategy's loggers; None if there are none to tell."""
        loggers = [logger for logger in loggers_of(strategy) if not isinstance(logger, TextLogger)]
        if not loggers:
            return None

        def on_step(iteration: int, losses: dict[str, float]) -> None:
            self._count += 1
            for logger in loggers:
                for name, value in losses.items():
                    logger.log_single_metric(f"Distillation/{name}", value, self._count)

        return Watch(on_step)
