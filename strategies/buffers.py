"""Storage policies: distilled, herded and random memories behind one interface and at the same bytes.

A policy fits every Avalanche plugin that takes one, for example
``ReplayPlugin(mem_size=buffer.max_size, storage_policy=buffer)``.
"""

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from avalanche.training.storage_policy import ExemplarsBuffer
from torch import Tensor, nn

from iid_cl.config import DistillConfig
from iid_cl.data.images import Normalization
from iid_cl.distill import distill
from iid_cl.distill.engine import OnStep
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import save_memory
from iid_cl.memory.selection import FeatureExtractor, herded_images, random_images
from iid_cl.seeding import make_generator

from .samples import as_avalanche, read_experience


class MemoryBuffer(ExemplarsBuffer):
    """A growing memory of ``ipc`` images per class, made from each experience's own data.

    Subclasses say how a class is condensed. ``update`` is called by the host plugin with the current
    experience; classes that come back are condensed anew from the newer data.

    Args:
        ipc: images per class.
        seed: of every random draw of the memory.
        normalization: mean and standard deviation per channel. Networks that look at images for the memory
            see them normalised by it; the default is that of the first experience's images. Give it also
            when samples reach Avalanche already normalised.

    Attributes:
        exemplars: the memory as stored, or None before the first update.
        seconds: time spent making the memory so far.
        number_samples: labels of samples carry the exemplar's number; set by :class:`SoftLabelPlugin`.
    """

    def __init__(self, ipc: int, *, seed: int = 0, normalization: Normalization | None = None) -> None:
        if ipc < 1:
            raise UserError(f"ipc: {ipc} images per class are not a memory; use at least 1.")
        super().__init__(max_size=0)
        self.ipc = ipc
        self.seed = seed
        self.normalization = normalization
        self.exemplars: ExemplarSet | None = None
        self._task_of_class: dict[int, int] = {}
        self._updates = 0
        self.number_samples = False
        self.seconds = 0.0

    @abstractmethod
    def condense(self, images_by_class: Mapping[int, Tensor], strategy: Any, generator: torch.Generator) -> ExemplarSet:
        """Turns each class's uint8 images (n_c, C, H, W) into ``ipc`` stored ones."""

    @property
    def nbytes(self) -> int:
        """Bytes of the memory as stored."""
        return 0 if self.exemplars is None else self.exemplars.nbytes

    def update(self, strategy: Any, **kwargs: Any) -> None:
        """Condenses the classes of the strategy's current experience and adds them to the memory."""
        self.post_adapt(strategy, strategy.experience)

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """The same, under Avalanche's newer name.

        Raises:
            UserError: images of an unusable type, or a class with fewer than ``ipc`` images.
        """
        started = time.perf_counter()
        data = exp.dataset
        images, form = read_experience(data, self.normalization)
        if self.normalization is None:
            self.normalization = _measure(images.images)
        by_class = images.by_class()
        for label, members in by_class.items():
            if len(members) < self.ipc:
                raise UserError(
                    f"memory.ipc: {self.ipc} images are asked of class {label}, which has {len(members)}; "
                    f"use at most {len(members)}."
                )
        generator = make_generator(self.seed, "memory", self._updates)
        condensed = self.condense(by_class, agent_state, generator)
        self.exemplars = condensed if self.exemplars is None else self.exemplars.merge(condensed)
        self._updates += 1
        tasks = getattr(data, "targets_task_labels", None)
        if tasks is not None:
            self._task_of_class.update(zip(images.labels.tolist(), (int(t) for t in tasks), strict=True))
        self.buffer = as_avalanche(
            self.exemplars, data, form, self.normalization, self._task_of_class, self.number_samples
        )
        self.max_size = len(self.buffer)
        self.seconds += time.perf_counter() - started

    def resize(self, strategy: Any, new_size: int) -> None:
        """Refused: the memory's size follows from ``ipc`` and the classes seen.

        Raises:
            UserError: always, unless the size stays as it is.
        """
        if new_size != self.max_size:
            raise UserError(
                f"a memory of {self.ipc} images per class cannot be resized to {new_size}; build it with another ipc."
            )

    def save(self, path: Path | str) -> None:
        """Writes the memory as safetensors.

        Raises:
            UserError: the memory is still empty, or the file cannot be written.
        """
        if self.exemplars is None or self.normalization is None:
            raise UserError(f"{path}: the memory is still empty; save it after the first experience.")
        save_memory(Path(path), self.exemplars, self.describe())

    def describe(self) -> dict[str, Any]:
        """What the memory is, as plain JSON."""
        if self.normalization is None:
            return {"ipc": self.ipc, "seed": self.seed}
        return {
            "ipc": self.ipc,
            "seed": self.seed,
            "mean": list(self.normalization.mean),
            "std": list(self.normalization.std),
        }


class DistilledBuffer(MemoryBuffer):
    """A memory of synthetic images, distilled from each experience when it ends.

    Args:
        ipc: images per class.
        distill: settings of the distillation; the default suits 32x32 images.
        device: where to distil; None takes the strategy's device.
        augmentations: siamese augmentations to draw from where ``distill`` names none.
        soft_labels: store class probabilities with each image, see :func:`iid_cl.distill.distill`.
        on_step: called now and then with the iteration and the losses.

    The remaining arguments are those of :class:`MemoryBuffer`.
    """

    def __init__(
        self,
        ipc: int,
        *,
        distill: DistillConfig | None = None,
        device: torch.device | str | None = None,
        augmentations: Sequence[str] = ("color", "crop", "cutout", "scale", "rotate"),
        soft_labels: bool = False,
        on_step: OnStep | None = None,
        seed: int = 0,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__(ipc, seed=seed, normalization=normalization)
        self.config = distill if distill is not None else DistillConfig()
        self.device = device
        self.augmentations = tuple(augmentations)
        self.soft_labels = soft_labels
        self.on_step = on_step

    def condense(self, images_by_class: Mapping[int, Tensor], strategy: Any, generator: torch.Generator) -> ExemplarSet:
        """Distils the classes; the strategy's network has no part in it."""
        assert self.normalization is not None  # measured by post_adapt at the latest
        return distill(
            images_by_class,
            self.config,
            ipc=self.ipc,
            generator=generator,
            device=self.device if self.device is not None else strategy.device,
            normalization=self.normalization,
            augmentations=self.augmentations,
            soft_labels=self.soft_labels,
            on_step=self.on_step,
        )

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "method": "distilled", "distill": self.config.model_dump(mode="json")}


class RandomBuffer(MemoryBuffer):
    """A memory of real images, drawn uniformly from each class."""

    def condense(self, images_by_class: Mapping[int, Tensor], strategy: Any, generator: torch.Generator) -> ExemplarSet:
        """Draws ``ipc`` images of each class."""
        return ExemplarSet.from_classes(random_images(images_by_class, self.ipc, generator))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "method": "random"}


class HerdingBuffer(MemoryBuffer):
    """A memory of real images chosen by herding (iCaRL), in the feature space of a trained network.

    Args:
        ipc: images per class.
        features: makes the feature extractor from (images_by_class, strategy, generator). None takes the
            strategy's model as it is at the end of the experience, and the input of its last linear layer.

    The remaining arguments are those of :class:`MemoryBuffer`.
    """

    def __init__(
        self,
        ipc: int,
        *,
        features: Callable[[Mapping[int, Tensor], Any, torch.Generator], FeatureExtractor] | None = None,
        seed: int = 0,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__(ipc, seed=seed, normalization=normalization)
        self._features = features if features is not None else _features_of_strategy

    def condense(self, images_by_class: Mapping[int, Tensor], strategy: Any, generator: torch.Generator) -> ExemplarSet:
        """Picks ``ipc`` images of each class by herding."""
        assert self.normalization is not None  # measured by post_adapt at the latest
        extract = self._features(images_by_class, strategy, generator)
        chosen = herded_images(images_by_class, self.ipc, extract, self.normalization, strategy.device)
        return ExemplarSet.from_classes(chosen)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "method": "herding"}


def _features_of_strategy(
    images_by_class: Mapping[int, Tensor], strategy: Any, generator: torch.Generator
) -> FeatureExtractor:
    """The input of the last linear layer of the strategy's model, in evaluation mode."""
    model: nn.Module = strategy.model
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UserError("herding needs a model with a linear layer; pass `features` for another kind of model.")

    def extract(images: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        training = model.training
        model.eval()
        try:
            model(images)
        finally:
            handle.remove()
            model.train(training)
        return seen[0].flatten(1)

    return extract


def _measure(images: Tensor) -> Normalization:
    """Mean and standard deviation per channel of uint8 images (N, C, H, W)."""
    unit = images.double() / 255
    mean, std = unit.mean((0, 2, 3)), unit.std((0, 2, 3)).clamp_min(1e-3)
    return Normalization(tuple(mean.tolist()), tuple(std.tolist()))
