"""The first line that a command prints."""

import torch

from iid_cl.config.experiment import Config
from iid_cl.data.images import ImageDataset


def headline(config: Config, dataset: ImageDataset, device: torch.device | str) -> str:
    """Name, data set and device of a run, in one line."""
    channels, height, width = dataset.shape
    kind = "held-out training images" if config.stream.validation else "test images"
    return (
        f"{config.name}: {dataset.name}, {len(dataset.train):,} training and {len(dataset.test):,} {kind} of "
        f"{height}x{width}x{channels}, on {device}"
    )
