"""A distillation job: everything that its outcome depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iid_cl.config.distill import DistillConfig
from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens
from iid_cl.distill.matching import MatchingLoss
from iid_cl.distill.trained import TrainedNetwork
from iid_cl.errors import UserError
from iid_cl.memory.storage import LossyFormat
from iid_cl.nets import Network


@dataclass(frozen=True)
class DistillJob:
    """Everything that the outcome of a distillation depends on, see :func:`iid_cl.distill.distill`.

    Attributes:
        classes: the real images to condense, and the initial images.
        ipc: images per class to store.
        config: objective, weights, iterations, embedder.
        lens: how networks see images; its augmentations are used unless the configuration names some.
        seed: source of all randomness.
        as_stored: the lossy format that the images will be stored in.
        embedder: the user's network, in place of the configured one.
        objective: the user's matching loss, in place of the configured one.
        trained: networks for class centralization and soft labels; without any they are trained, following
            ``config.cc``.
        soft_labels: store class probabilities, too.
    """

    classes: Classes
    ipc: int
    config: DistillConfig
    lens: Lens
    seed: int
    as_stored: LossyFormat | None = None
    embedder: Network | None = None
    objective: MatchingLoss | None = None
    trained: Sequence[TrainedNetwork] = ()
    soft_labels: bool = False

    @property
    def shown(self) -> int:
        """Synthetic images per class that a network sees: all parts of all stored images."""
        return self.ipc * self.config.factor**2

    @property
    def iterations(self) -> int:
        """Steps on the synthetic images."""
        return self.config.length(self.ipc)

    @property
    def centralizes(self) -> bool:
        """Whether class centralization has a part in the loss; a single image never deviates from its class mean."""
        return self.config.cc.weight > 0 and self.ipc * self.config.factor > 1 and self.iterations > 0

    def check(self) -> None:
        """Refuses a job that cannot be run.

        Raises:
            UserError: no classes, a class with too few images, or a start that lacks a class or does not fit it.
        """
        images_by_class, start = self.classes.images, self.classes.start
        if not images_by_class:
            raise UserError("there are no classes to condense; the experience is empty.")
        for label, images in images_by_class.items():
            if len(images) < self.ipc:
                raise UserError(
                    f"memory.ipc: {self.ipc} images are asked of class {label}, which has {len(images)}; "
                    f"use at most {len(images)}."
                    if len(images)
                    else f"class {label} has no images; remove it from the stream."
                )
        if start is not None:
            _check_start(start, images_by_class)

    def with_own_augmentations(self) -> "DistillJob":
        """The same job; if the configuration names augmentations, its lens has these."""
        return replace(self, lens=self.lens.augmented_by(self.config.augment))

    def slower(self, factor: float) -> "DistillJob":
        """The same job with its learning rate times ``factor`` and without another retry."""
        return replace(self, config=self.config.model_copy(update={"lr": self.config.lr * factor, "retry": None}))


def _check_start(start: Mapping[int, Tensor], images_by_class: Mapping[int, Tensor]) -> None:
    for label, images in images_by_class.items():
        first = start.get(label)
        if first is None or not len(first) or first.dtype != torch.uint8 or first.shape[1:] != images.shape[1:]:
            shape = "none" if first is None else f"{first.dtype} {tuple(first.shape)}"
            raise UserError(
                f"start: class {label} has {shape} where uint8 images of shape {tuple(images.shape[1:])} are needed; "
                "give at least one of each class."
            )
