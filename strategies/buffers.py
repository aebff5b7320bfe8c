"""Storage policies: memories of any method behind one interface and at the same bytes.

A policy fits every Avalanche plugin that takes one, for example
``ReplayPlugin(mem_size=buffer.max_size, storage_policy=buffer)``.
"""

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.training.storage_policy import ExemplarsBuffer
from torch import Tensor

from iid_cl.budget import Budget
from iid_cl.data.images import Normalization
from iid_cl.distill.journal import Journal
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import memory_of_state, memory_state, save_memory
from iid_cl.seeding import make_generator

from .samples import LABEL_RANGE, Form, as_avalanche, read_experience
from .staging import Staging
from .views import ClassGroups

ImagesByClass = Mapping[int, Tensor]
OnImages = Callable[[Any, ImagesByClass], None]
"""From an experience and the uint8 images (n_c, C, H, W) of each class that the memory is about to condense."""


class MemoryBuffer(ClassGroups, ExemplarsBuffer):
    """A memory under one budget, renewed from each experience's own data.

    Subclasses say how a class is condensed. ``update`` is called by the host plugin with the current experience. A
    class that comes back is condensed anew from its new images and the exemplars kept so far, each of which counts for
    as many images as it stands for. A class of one task label is another one than the same class of another.

    Args:
        ipc: images per class; the memory grows with the classes. Or one of the following instead:
        mem_size: images in total, shared evenly by the classes seen; older classes shrink.
        mem_bytes: bytes in total, likewise.
        class_bytes: bytes per class; the memory grows with the classes.
        seed: of every random draw of the memory.
        normalization: mean and standard deviation per channel. Networks that look at images for the memory
            see them normalised by it; the default is that of the first experience's images. Give it also
            when samples reach Avalanche already normalised.

    Attributes:
        budget: the budget, see :class:`iid_cl.budget.Budget`.
        exemplars: the memory as stored, or None before the first update. Its class indices are those of the data,
            unless one index stands for different classes in several tasks: see ``keys``.
        keys: the class index and task label of each class of ``exemplars``.
        seconds: time spent making the memory so far.
        number_samples: labels of samples carry the exemplar's number; set by :class:`SoftLabelPlugin`.
        on_images: called with what each experience brings before it is condensed; what it raises stops that.
        updates: how often it has been renewed.
        journal: keeps what an update has got done where it may be interrupted and begun again.
    """

    def __init__(
        self,
        ipc: int | None = None,
        *,
        mem_size: int | None = None,
        mem_bytes: int | None = None,
        class_bytes: int | None = None,
        seed: int = 0,
        normalization: Normalization | None = None,
    ) -> None:
        self.budget = Budget(ipc=ipc, mem_size=mem_size, mem_bytes=mem_bytes, class_bytes=class_bytes)
        super().__init__(max_size=mem_size or 0)
        self.seed = seed
        self.normalization = normalization
        self.exemplars: Exemplars | None = None
        self.keys: dict[int, tuple[int, int]] = {}
        self.seconds = 0.0
        self.number_samples = False
        self.on_images: OnImages | None = None
        self._form: Form = "bytes"  # of the last experience's raw samples
        self._stands_for: dict[int, int] = {}
        self.updates = 0
        self.journal: Journal | None = None
        self._staging = Staging()

    @abstractmethod
    def renew(self, arrived: ImagesByClass, room: int, strategy: Any, generator: torch.Generator) -> Exemplars:
        """The memory after an experience.

        Args:
            arrived: the experience's uint8 images (n_c, C, H, W) of each class.
            room: bytes for each class, those of ``exemplars`` and of ``arrived``.
            strategy: the learner at this point.
            generator: source of random draws.
        """

    @property
    def nbytes(self) -> int:
        """Bytes of the memory as stored."""
        return 0 if self.exemplars is None else self.exemplars.nbytes

    @property
    def staged_bytes(self) -> int:
        """Bytes of an online stream's images that wait for the end of their task; not part of ``nbytes``."""
        return self._staging.nbytes

    def update(self, strategy: Any, **kwargs: Any) -> None:
        """Condenses the classes of the strategy's current experience and adds them to the memory."""
        self.post_adapt(strategy, strategy.experience)

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """The same, under Avalanche's newer name.

        Raises:
            UserError: images of an unusable type, or a budget without room for one image of each class.
        """
        started = time.perf_counter()
        data = exp.dataset
        images, form = read_experience(data, self.normalization)
        given = getattr(data, "targets_task_labels", None)
        tasks = torch.zeros_like(images.labels) if given is None else torch.tensor([int(task) for task in given])
        waiting = self._staging.collect(exp, images, tasks)
        if waiting is None:
            return
        images, tasks = waiting
        keys, ids = self._identify(images.labels, tasks)
        arrived = {int(c): images.images[ids == c] for c in ids.unique()}
        classes = set(arrived) | set(self._stands_for)
        room = self.budget.room(len(classes), images.images[0].numel())
        if self.on_images is not None:
            self.on_images(exp, arrived)
        given_normalization, self.normalization = self.normalization, self.normalization or _measure(images.images)
        if self.journal is not None:
            self.journal.begin_update()
        try:
            exemplars = self.renew(arrived, room, agent_state, make_generator(self.seed, "memory", self.updates))
            buffer = as_avalanche(exemplars, data, form, self.normalization, keys, self.number_samples)
        except BaseException:  # what it fails at, or is interrupted in, leaves the memory as it was
            self.normalization = given_normalization
            raise
        self.exemplars, self.buffer, self.keys, self._form = exemplars, buffer, keys, form
        for label, members in arrived.items():
            self._stands_for[label] = self._stands_for.get(label, 0) + len(members)
        self.updates += 1
        if self.journal is not None:
            self.journal.end_update()
        self._staging.clear()
        if self.budget.key != "mem_size":
            self.max_size = len(self.buffer)
        self.seconds += time.perf_counter() - started

    def _identify(self, labels: Tensor, tasks: Tensor) -> tuple[dict[int, tuple[int, int]], Tensor]:
        """The memory's index of each (class, task), known ones and new ones, and of each sample.

        Raises:
            UserError: an index beyond 16 bits.
        """
        keys = dict(self.keys)
        numbers = {key: number for number, key in keys.items()}
        pairs = list(zip(labels.tolist(), tasks.tolist(), strict=True))
        for key in sorted(set(pairs) - set(numbers)):
            if not 0 <= key[0] < LABEL_RANGE:
                raise UserError(f"class index {key[0]}: a memory takes class indices from 0 to {LABEL_RANGE - 1}.")
            number = key[0] if key[0] not in keys else next(n for n in range(LABEL_RANGE) if n not in keys)
            keys[number], numbers[key] = key, number
        return keys, torch.tensor([numbers[pair] for pair in pairs])

    def resize(self, strategy: Any, new_size: int) -> None:
        """Changes a budget of ``mem_size`` images; each class keeps its first ones.

        Raises:
            UserError: another kind of budget, unless the size stays as it is; a size without room for each class.
        """
        if new_size == self.max_size:
            return
        if self.budget.key != "mem_size":
            raise UserError(
                f"a memory with a budget of {self.budget.key}: {self.budget.amount} cannot be resized to {new_size} "
                "images; give it mem_size instead."
            )
        budget = Budget(mem_size=new_size)
        if self.exemplars is not None:
            image_bytes = next(iter(self.exemplars.by_class().values()))[0].numel()
            rows = self.exemplars.fitting(budget.room(len(self._stands_for), image_bytes), charge_all=False)
            self.exemplars = self.exemplars.take(rows)
            self.buffer = as_avalanche(
                self.exemplars, self.buffer, self._form, self.normalization, self.keys, self.number_samples
            )
        self.budget, self.max_size = budget, new_size

    def state_dict(self) -> dict[str, Any]:
        """The memory and all that its next updates depend on, as nested plain values and tensors.

        Raises:
            UserError: images of an online stream wait for the end of their task.
        """
        if self.staged_bytes:
            raise UserError("the memory is in the middle of a task of an online stream; save its state at the end.")
        return {
            "exemplars": None if self.exemplars is None else memory_state(self.exemplars),
            "keys": {number: list(key) for number, key in self.keys.items()},
            "form": self._form,
            "stands_for": self._stands_for,
            "updates": self.updates,
            "max_size": self.max_size,
            "budget": self.budget.amount,
            "normalization": None
            if self.normalization is None
            else [list(self.normalization.mean), list(self.normalization.std)],
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any], like: AvalancheDataset | None) -> None:
        """Takes over the state of a buffer that was made with the same arguments.

        Args:
            state: of :meth:`state_dict`.
            like: data set of the last experience that the memory was renewed from; exemplars take its transforms.
        """
        self.keys = {number: (key[0], key[1]) for number, key in state["keys"].items()}
        self._form, self._stands_for, self.updates = state["form"], dict(state["stands_for"]), state["updates"]
        self.max_size, self.seconds = state["max_size"], state["seconds"]
        self.budget = Budget(**{self.budget.key: state["budget"]})
        if state["normalization"] is not None:
            mean, std = state["normalization"]
            self.normalization = Normalization(tuple(mean), tuple(std))
        if state["exemplars"] is not None and like is not None:
            self.exemplars = memory_of_state(state["exemplars"])
            self.buffer = as_avalanche(
                self.exemplars, like, self._form, self.normalization, self.keys, self.number_samples
            )

    def save(self, path: Path | str, metadata: Mapping[str, Any] | None = None) -> None:
        """Writes the memory as safetensors; ``metadata`` (plain JSON) joins the memory's own.

        Raises:
            UserError: the memory is still empty, or the file cannot be written.
        """
        if self.exemplars is None or self.normalization is None:
            raise UserError(f"{path}: the memory is still empty; save it after the first experience.")
        save_memory(Path(path), self.exemplars, {**self.describe(), **(metadata or {})})

    def describe(self) -> dict[str, Any]:
        """What the memory is, as plain JSON."""
        told: dict[str, Any] = {self.budget.key: self.budget.amount, "seed": self.seed}
        if self.normalization is not None:
            told |= {"mean": list(self.normalization.mean), "std": list(self.normalization.std)}
        if any(task for _, task in self.keys.values()):
            told["keys"] = {str(number): {"class": key[0], "task": key[1]} for number, key in self.keys.items()}
        return told


class ClassBuffer(MemoryBuffer):
    """A memory whose classes are condensed each for itself."""

    @abstractmethod
    def condense(
        self,
        images_by_class: ImagesByClass,
        weights: ImagesByClass,
        room: int,
        strategy: Any,
        generator: torch.Generator,
    ) -> Exemplars:
        """Turns each class's images into what fits into ``room`` bytes of it, the most important first.

        Args:
            images_by_class: uint8 images (n_c, C, H, W); of classes that have come back, what the memory held of
                them comes first.
            weights: for those classes, how many images each one stands for, float64 (n_c,).
            room: bytes per class.
            strategy: the learner at this point.
            generator: source of random draws.
        """

    def renew(self, arrived: ImagesByClass, room: int, strategy: Any, generator: torch.Generator) -> Exemplars:
        """Condenses the classes that arrived; the others stay, or are shortened where the total is fixed."""
        old = self.exemplars
        if old is None:
            return self.condense(arrived, {}, room, strategy, generator)
        images, weights = dict(arrived), dict[int, Tensor]()
        returned = torch.isin(old.labels, torch.tensor(list(arrived), dtype=torch.int16))
        if bool(returned.any()):
            for label, before in old.take(returned.nonzero().squeeze(1)).decoded().by_class().items():
                images[label] = torch.cat([before, arrived[label]])
                each = torch.full((len(before),), self._stands_for[label] / len(before), dtype=torch.float64)
                weights[label] = torch.cat([each, torch.ones(len(arrived[label]), dtype=torch.float64)])
        condensed = self.condense(images, weights, room, strategy, generator)
        if bool(returned.all()):
            return condensed
        rest = old.take((~returned).nonzero().squeeze(1))
        return (self.shrink(rest, room, strategy, generator) if self.budget.fixed else rest).merge(condensed)

    def paying(self, arrived: ImagesByClass) -> int:
        """How many classes share what a memory stores once (a header): all of a fixed total.

        In a memory that grows, those that arrive, as one that comes back may have paid; none where all are new and it
        is there and paid for.
        """
        if self.budget.fixed:
            return len(set(arrived) | set(self._stands_for))
        new = self.exemplars is not None and not set(arrived) & set(self._stands_for)
        return 0 if new else len(arrived)

    def shrink(self, memory: Exemplars, room: int, strategy: Any, generator: torch.Generator) -> Exemplars:
        """What is left of older classes, without their real data: the first images of each that fit.

        Raises:
            UserError: a class whose first image does not.
        """
        rows = memory.fitting(room, self.budget.in_bytes)
        lost = set(memory.classes) - set(memory.labels[rows].tolist())
        if lost:
            raise UserError(
                f"memory.{self.budget.key}: {self.budget.amount} leaves {room} bytes to a class, too little for the "
                f"first image of class {min(lost)}; use more."
            )
        return memory.take(rows)


def _measure(images: Tensor) -> Normalization:
    """Mean and standard deviation per channel of uint8 images (N, C, H, W)."""
    unit = images.double() / 255
    mean, std = unit.mean((0, 2, 3)), unit.std((0, 2, 3)).clamp_min(1e-3)
    return Normalization(tuple(mean.tolist()), tuple(std.tolist()))
