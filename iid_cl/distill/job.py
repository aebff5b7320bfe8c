"""A distillation, spelled out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from iid_cl.config.distill import DistillConfig
from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens
from iid_cl.distill.matching import MatchingLoss
from iid_cl.distill.trained import TrainedNetwork
from iid_cl.nets import Network


class LossyFormat(Protocol):
    """A format that images will be stored in, such as :class:`iid_cl.memory.jpeg_format.JpegFormat`."""

    def read_back(self, images: Tensor) -> Tensor:
        """What it makes of uint8 images (N, C, H, W), on their device."""
        ...

    def sparser(self, changes: Tensor, share: float) -> Tensor:
        """Changes of images (N, C, H, W), in grey levels, made a little cheaper: an iteration's share of the whole."""
        ...


@dataclass(frozen=True)
class DistillJob:
    """Everything that the outcome of a distillation depends on; :func:`iid_cl.distill.distill` says what each means.

    Attributes:
        classes: what is condensed, and what the images start from.
        ipc: images per class to store.
        config: objective, weights, iterations, embedder.
        lens: how networks see images; its augmentations are drawn from where the configuration names none.
        seed: source of all randomness.
        as_stored: the lossy format that the images will be stored in.
        embedder: a network in place of the configured one.
        objective: a matching loss in place of the configured one.
        trained: networks for class centralization and soft labels; without any they are trained as ``config.cc`` says.
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
    def lens_in_force(self) -> Lens:
        """The lens with the augmentations that the configuration names, if it names any."""
        return self.lens.augmented_by(self.config.augment)

    def slower(self, factor: float) -> "DistillJob":
        """The same at another learning rate, once more at most."""
        return replace(self, config=self.config.model_copy(update={"lr": self.config.lr * factor, "retry": None}))
