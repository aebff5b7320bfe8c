"""The first line that a command prints."""

import torch

from iid_cl.config.experiment import Config
from iid_cl.data.images import ImageDataset


def headline(config: Config, dataset: ImageDataset, device: torch.device | str) -> str:
    """What runs on which data, in a line."""
    channels, height, width = dataset.shape
    judged = "held-out training images" if config.stream.validation else "test images"
    return (
        f"{config.name}: {dataset.name}, {len(dataset.train):,} training and {len(dataset.test):,} {judged} of "
        f"{height}x{width}x{channels}, on {device}"
    )
