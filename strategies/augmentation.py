"""Training augmentation of whole mini-batches, current data and memory alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin

from iid_cl.data.augmentation import augment_each


class BatchAugmentationPlugin(SupervisedPlugin):
    """Augments each training mini-batch on its device, one transformation per image.

    A single call takes the place of a transform per sample. Images from the memory are augmented like new ones.

    Args:
        augmentations: transformations to draw from, see :mod:`iid_cl.data.augmentation`.
        generator: on the CPU; source of the draws.
    """

    def __init__(self, augmentations: Sequence[str], generator: torch.Generator) -> None:
        super().__init__()
        self._augmentations = tuple(augmentations)
        self._generator = generator

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Replaces the mini-batch's images; labels and task labels stay."""
        strategy.mbatch[0] = augment_each(strategy.mbatch[0], self._augmentations, self._generator)

    def state_dict(self) -> dict[str, Any]:
        """The state of the generator."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a state."""
        self._generator.set_state(state["generator"])
