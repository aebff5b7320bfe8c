"""A memory's data set as some of Avalanche's plugins need it besides ``buffer``: by class, and with task labels.

These plugins draw exemplars with a separate loader and unpack ``x, y, t``, whatever form the experience's samples have.
Plugins that join exemplars and current data in a mini-batch need the form of the experience, which ``buffer`` has.
"""

from types import SimpleNamespace
from typing import Any

from avalanche.benchmarks.utils import AvalancheDataset, _taskaware_classification_subset
from avalanche.training.storage_policy import ExemplarsBuffer


class ClassGroups:
    """Gives a storage policy what MIR, ER_AML and SCR read: ``buffer_groups`` and ``buffer_datasets``."""

    buffer: Any

    @property
    def buffer_groups(self) -> dict[int, SimpleNamespace]:
        """The exemplars (x, y, t) of each class index, in ascending order; Avalanche looks for them in ``buffer``."""
        rows: dict[int, list[int]] = {}
        if len(self.buffer):  # an empty data set of Avalanche's has no targets
            for row, label in enumerate(self.buffer.targets):
                rows.setdefault(int(label), []).append(row)
        return {label: SimpleNamespace(buffer=_task_labelled(self.buffer, rows[label])) for label in sorted(rows)}

    @property
    def buffer_datasets(self) -> list[AvalancheDataset]:
        """The data sets of ``buffer_groups``."""
        return [group.buffer for group in self.buffer_groups.values()]


class TaskLabelled(ExemplarsBuffer):
    """A memory whose exemplars are (x, y, t) on every benchmark, with task 0 where samples carry no task label.

    For ER_ACE, MemoryNCMUpdate and MemoryFeCAMUpdate on benchmarks without task labels.

    Args:
        memory: a buffer of any method.

    >>> from iid_cl.strategies import RandomBuffer
    >>> TaskLabelled(RandomBuffer(mem_size=50)).max_size
    50
    """

    def __init__(self, memory: ExemplarsBuffer) -> None:
        self.memory = memory

    @property
    def max_size(self) -> int:
        """Maximum number of exemplars of the memory."""
        return int(self.memory.max_size)

    @property
    def buffer(self) -> AvalancheDataset:
        """The memory's exemplars with task labels."""
        exemplars = self.memory.buffer
        return _task_labelled(exemplars, range(len(exemplars))) if len(exemplars) else exemplars

    def update(self, strategy: Any, **kwargs: Any) -> None:
        self.memory.update(strategy, **kwargs)

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        self.memory.post_adapt(agent_state, exp)

    def resize(self, strategy: Any, new_size: int) -> None:
        self.memory.resize(strategy, new_size)


def _task_labelled(exemplars: AvalancheDataset, rows: Any) -> AvalancheDataset:
    return _taskaware_classification_subset(exemplars, indices=list(rows))
