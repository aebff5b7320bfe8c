"""Training on a memory's soft labels inside an Avalanche strategy."""

from typing import Any

import torch
from avalanche.training.plugins import GDumbPlugin, ReplayPlugin, SupervisedPlugin
from avalanche.training.supervised import SCR
from torch import Tensor
from torch.nn import functional

from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.methods.memory import LABEL_RANGE

from .buffers import MemoryBuffer


class SoftLabelPlugin(SupervisedPlugin):
    """Trains on the stored class probabilities of memory samples instead of their class.

    Avalanche's mini-batches carry nothing but a class index, so the memory hides each exemplar's number in it. This
    plugin takes it out again before the step. It changes nothing for other samples, and without soft labels. Hosts that
    draw exemplars into separate mini-batches would take the number for a class.

    Args:
        memory: a buffer that stores soft labels.

    >>> from iid_cl.strategies import DistilledBuffer, MemoryReplayPlugin
    >>> memory = DistilledBuffer(ipc=10, soft_labels=True)
    >>> plugins = [MemoryReplayPlugin(memory), SoftLabelPlugin(memory)]
    """

    def __init__(self, memory: MemoryBuffer) -> None:
        super().__init__()
        memory.number_samples = True
        self.memory = memory
        self._exemplars: Exemplars | None = None
        self._targets = torch.empty(0)
        self._numbers = torch.empty(0, dtype=torch.int64)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.memory!r})"

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Makes sure that exemplars come in the strategy's mini-batches and are trained by cross-entropy.

        Raises:
            UserError: another host has the memory.
        """
        hosts = [plugin for plugin in strategy.plugins if isinstance(plugin, ReplayPlugin | GDumbPlugin)]
        policies = [host.storage_policy for host in hosts]
        joined = any(self.memory in (policy, getattr(policy, "memory", None)) for policy in policies)
        if not joined or isinstance(strategy, SCR):  # which trains on no class scores
            raise UserError(
                f"SoftLabelPlugin: in this {type(strategy).__name__} the memory does not come with current data in one "
                "mini-batch of classified samples, so its soft labels cannot be learned; give it to ReplayPlugin, "
                "MemoryReplayPlugin, GDumbPlugin or MemoryOnly, or leave the plugin out."
            )

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Takes the exemplars' numbers out of the labels."""
        labels: Tensor = strategy.mbatch[1]
        self._numbers = labels // LABEL_RANGE - 1
        strategy.mbatch[1] = labels % LABEL_RANGE

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Replaces the memory's share of the mean cross-entropy by cross-entropy with the soft labels."""
        rows = (self._numbers >= 0).nonzero().squeeze(1)
        exemplars = self.memory.exemplars
        if not len(rows) or exemplars is None or exemplars.soft_labels is None:
            return
        scores = strategy.mb_output[rows]
        if exemplars is not self._exemplars or self._targets.shape[1] != scores.shape[1]:
            self._targets = self._of_classes(exemplars, scores.shape[1]).to(scores.device)
            self._exemplars = exemplars
        soft = functional.cross_entropy(scores, self._targets[self._numbers[rows]])
        hard = functional.cross_entropy(scores, strategy.mb_y[rows])
        strategy.loss = strategy.loss + len(rows) / len(self._numbers) * (soft - hard)

    def _of_classes(self, exemplars: Exemplars, classes: int) -> Tensor:
        """Targets (N', classes) over the data's class indices, which several classes of the memory may share."""
        keys = self.memory.keys
        numbered = exemplars.targets(max([classes - 1, *keys]) + 1)
        labels = torch.tensor([keys[number][0] if number in keys else number for number in range(numbered.shape[1])])
        used = numbered.any(0)  # the network may have no output yet for other classes
        return torch.zeros(len(numbered), classes).index_add_(1, labels[used], numbered[:, used])
