"""Made-up images and small settings, for memories that need no data set."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from iid_cl.config.distill import CentralizationConfig, CovarianceConfig, DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.methods.memory import Memory

NORMALIZATION = Normalization((0.3,), (0.4,))
TINY = DistillConfig(
    iterations=3,
    real_batch=4,
    embedder=EmbedderConfig(width=4, depth=1),
    cc=CentralizationConfig(weight=0, network=NetworkConfig(width=4, depth=1), trainings=1, epochs=2, snapshots=1),
    cm=CovarianceConfig(weight=0),
)


def noise(count: int, seed: int = 0, side: int = 8, channels: int = 1) -> Tensor:
    """uint8 images (count, channels, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


def flat(*values: int, side: int = 8) -> Tensor:
    """Grey images of one value each."""
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, side, side).contiguous()


def labelled(groups: Mapping[int, Tensor]) -> LabelledImages:
    """Images (n_c, C, H, W) of each class, as an experience holds them."""
    labels = torch.tensor([label for label, images in groups.items() for _ in range(len(images))])
    return LabelledImages(torch.cat(list(groups.values())), labels)


class Remembering(Memory):
    """A memory that meets experiences by their images of each class."""

    def meet(self, *experiences: Mapping[int, Tensor], features: Any = None) -> Self:
        for groups in experiences:
            self.update(labelled(groups), features=features if features is not None else flatten)
        return self


def flatten(images: object, seen_by: object, generator: object) -> object:
    """Pixels as features, whatever sees the images."""
    return lambda x: x.flatten(1)


def real_ones(images: Tensor, *groups: Mapping[int, Tensor]) -> list[bool]:
    """Which of these images are among the real ones."""
    truth = {image.numpy().tobytes() for group in groups for members in group.values() for image in members}
    return [image.numpy().tobytes() in truth for image in images]
