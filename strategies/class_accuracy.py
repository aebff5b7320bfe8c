"""Accuracy of each class, counted while Avalanche evaluates."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor


class ClassAccuracyPlugin(SupervisedPlugin):
    """Counts test images and right predictions per class over one call of ``strategy.eval``.

    Avalanche's metrics are means over an experience; means over a class need the predictions.

    >>> from types import SimpleNamespace
    >>> plugin = ClassAccuracyPlugin()
    >>> plugin.after_eval_iteration(SimpleNamespace(mb_y=torch.tensor([0, 2, 2]), mb_output=torch.eye(3)))
    >>> plugin.accuracies  # the scores predict 0, 1 and 2
    {0: 1.0, 2: 0.5}
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts = torch.zeros(2, 0, dtype=torch.int64)

    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Forgets the previous evaluation."""
        self._counts = torch.zeros(2, 0, dtype=torch.int64)

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Counts a mini-batch, on its device."""
        labels: Tensor = strategy.mb_y
        right = labels[strategy.mb_output.argmax(1) == labels]
        width = max(self._counts.shape[1], int(labels.max()) + 1)
        counts = torch.stack([labels.bincount(minlength=width), right.bincount(minlength=width)])
        counts[:, : self._counts.shape[1]] += self._counts.to(counts.device)
        self._counts = counts

    @property
    def accuracies(self) -> dict[int, float]:
        """Share of right predictions in [0, 1] of each class that had test images, in ascending order."""
        total, right = self._counts.tolist()
        return {label: right[label] / count for label, count in enumerate(total) if count}
