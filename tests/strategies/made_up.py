"""Experiences of made-up images, which need no data set."""

from collections.abc import Mapping
from types import SimpleNamespace

import torch
from avalanche.benchmarks.utils import as_classification_dataset
from torch import Tensor

from iid_cl.data.tensors import TensorImages

AGENT = SimpleNamespace(device="cpu")


def noise(count: int, seed: int = 0, side: int = 8, channels: int = 1) -> Tensor:
    """uint8 images (count, channels, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


def experience(groups: dict[int, Tensor]) -> SimpleNamespace:
    """An experience of images (n_c, C, H, W) of each class, as uint8 tensors."""
    labels = torch.tensor([label for label, images in groups.items() for _ in range(len(images))])
    return SimpleNamespace(dataset=as_classification_dataset(TensorImages(torch.cat(list(groups.values())), labels)))


def stream(*classes: tuple[int, ...], count: int = 12, side: int = 8, channels: int = 1) -> list[SimpleNamespace]:
    """An experience for each group of classes, with other images each time."""
    return [
        experience({c: noise(count, 100 * number + c, side, channels) for c in group})
        for number, group in enumerate(classes)
    ]


def flatten(images: object, strategy: object, generator: object) -> object:
    """Pixels as features."""
    return lambda x: x.flatten(1)


def real_ones(images: Tensor, *groups: Mapping[int, Tensor]) -> list[bool]:
    """Which of these images are among the real ones."""
    truth = {image.numpy().tobytes() for group in groups for members in group.values() for image in members}
    return [image.numpy().tobytes() in truth for image in images]
