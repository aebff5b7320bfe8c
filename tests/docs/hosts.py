"""What Mammoth and PyCIL ask of a memory, restated in few lines: the names, arguments and shapes that recipes rely on.

Mammoth at commit e75a491: utils/buffer.py, models/er.py. PyCIL at commit 87cc411: models/base.py, models/replay.py,
utils/data_manager.py. Their training is not here; batches are looked at instead.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Buffer:
    """Mammoth's: float images and labels in tensors of ``buffer_size`` rows."""

    def __init__(self, buffer_size: int, device: str = "cpu", sample_selection_strategy: str = "reservoir") -> None:
        self.buffer_size, self.device, self.num_seen_examples = buffer_size, device, 0

    def __len__(self) -> int:
        return min(self.num_seen_examples, self.buffer_size)

    def is_empty(self) -> bool:
        return self.num_seen_examples == 0

    def add_data(self, examples: Tensor, labels: Tensor | None = None, logits: Tensor | None = None) -> None:
        assert labels is not None
        if self.is_empty():
            self.examples = torch.zeros((self.buffer_size, *examples.shape[1:]), dtype=torch.float32)
            self.labels = torch.zeros(self.buffer_size, dtype=torch.int64)
        for example, label in zip(examples, labels, strict=True):
            seen = self.num_seen_examples
            row = seen if seen < self.buffer_size else np.random.randint(seen + 1)
            self.num_seen_examples += 1
            if row < self.buffer_size:
                self.examples[row], self.labels[row] = example, label

    def get_data(self, size: int, transform: Any = None, device: Any = None) -> tuple[Tensor, Tensor]:
        rows = np.random.choice(len(self), size=min(size, len(self)), replace=False)
        images = self.examples[rows]
        return images if transform is None else torch.stack([transform(image) for image in images]), self.labels[rows]

    def get_all_data(self) -> tuple[Tensor, Tensor]:
        return self.examples[: len(self)], self.labels[: len(self)]


class Er(nn.Module):
    """Mammoth's experience replay; ``seen`` collects the labels of each batch."""

    def __init__(self, backbone: Any, loss: Any, args: Any, transform: Any, dataset: Any = None) -> None:
        super().__init__()
        self.args, self.transform, self.device = args, transform, "cpu"
        self.buffer = Buffer(args.buffer_size)
        self.seen: list[list[int]] = []

    def observe(self, inputs: Tensor, labels: Tensor, not_aug_inputs: Tensor, epoch: int | None = None) -> float:
        count = len(inputs)
        if not self.buffer.is_empty():
            size = self.args.minibatch_size
            images, replayed = self.buffer.get_data(size, transform=self.transform, device=self.device)
            inputs, labels = torch.cat((inputs, images)), torch.cat((labels, replayed))
        self.seen.append(labels.tolist())
        self.buffer.add_data(examples=not_aug_inputs, labels=labels[:count])
        return 0.0


class DataManager:
    """PyCIL's: images (N, H, W, 3) as uint8, classes numbered in their order of arrival."""

    use_path = False

    def __init__(self, images: Any, labels: Any, increment: int) -> None:
        self._images, self._labels, self._increment = images, labels, increment

    def get_task_size(self, task: int) -> int:
        return self._increment

    def get_dataset(
        self, indices: Any, source: str, mode: str, appendent: Any = None, ret_data: bool = False, m_rate: Any = None
    ) -> Any:
        rows = np.isin(self._labels, indices)
        data, targets = [self._images[rows]], [self._labels[rows]]
        if appendent is not None and len(appendent) != 0:
            data.append(appendent[0])
            targets.append(appendent[1])
        together = np.concatenate(data), np.concatenate(targets)
        samples = list(zip(*together, strict=True))
        return (*together, samples) if ret_data else samples


class Replay:
    """PyCIL's learner up to its training; ``trained_on`` collects the samples of each task."""

    def __init__(self, args: dict[str, Any]) -> None:
        self._cur_task, self._known_classes, self._total_classes = -1, 0, 0
        self._data_memory, self._targets_memory = np.array([]), np.array([])
        self._memory_size, self._memory_per_class = args["memory_size"], args.get("memory_per_class")
        self._fixed_memory = args.get("fixed_memory", False)
        self.trained_on: list[Any] = []

    @property
    def samples_per_class(self) -> int:
        return self._memory_per_class if self._fixed_memory else self._memory_size // self._total_classes

    def _get_memory(self) -> Any:
        return None if len(self._data_memory) == 0 else (self._data_memory, self._targets_memory)

    def build_rehearsal_memory(self, data_manager: DataManager, per_class: int) -> None:
        raise NotImplementedError

    def incremental_train(self, data_manager: DataManager) -> None:
        self._cur_task += 1
        self._total_classes = self._known_classes + data_manager.get_task_size(self._cur_task)
        new = np.arange(self._known_classes, self._total_classes)
        self.trained_on.append(data_manager.get_dataset(new, "train", "train", appendent=self._get_memory()))
        self.build_rehearsal_memory(data_manager, self.samples_per_class)

    def after_task(self) -> None:
        self._known_classes = self._total_classes


MAMMOTH = {"models.er": {"Er": Er}, "utils.buffer": {"Buffer": Buffer}}
PYCIL = {"models.replay": {"Replay": Replay}}


def install(host: dict[str, dict[str, Any]]) -> None:
    """Makes the host's modules importable, until :func:`remove`."""
    for name, contents in host.items():
        for full in (name.partition(".")[0], name):
            sys.modules.setdefault(full, ModuleType(full))
        vars(sys.modules[name]).update(contents)


def remove() -> None:
    """Takes the modules of all hosts away."""
    for name in ("models", "utils", *MAMMOTH, *PYCIL):
        sys.modules.pop(name, None)


def arguments(**values: Any) -> SimpleNamespace:
    """Mammoth's command line."""
    return SimpleNamespace(**values)
