"""Experiences of made-up images, which need no data set."""

from types import SimpleNamespace

from avalanche.benchmarks.utils import as_classification_dataset
from torch import Tensor

from iid_cl.data.tensors import TensorImages
from tests.methods.helpers import flatten, labelled, noise, real_ones

__all__ = ["AGENT", "experience", "flatten", "noise", "real_ones", "stream"]

AGENT = SimpleNamespace(device="cpu")


def experience(groups: dict[int, Tensor]) -> SimpleNamespace:
    """An experience of images (n_c, C, H, W) of each class, as uint8 tensors."""
    every = labelled(groups)
    return SimpleNamespace(dataset=as_classification_dataset(TensorImages(every.images, every.labels)))


def stream(*classes: tuple[int, ...], count: int = 12, side: int = 8, channels: int = 1) -> list[SimpleNamespace]:
    """An experience for each group of classes, with other images each time."""
    return [
        experience({c: noise(count, 100 * number + c, side, channels) for c in group})
        for number, group in enumerate(classes)
    ]
