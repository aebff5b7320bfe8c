"""Building the configured memory: one place that knows which method is which buffer."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from iid_cl.config import Config, Method
from iid_cl.data.images import ImageDataset
from iid_cl.distill.engine import OnStep
from iid_cl.memory.selection import FeatureExtractor
from iid_cl.runs.memories import trained_extractor
from iid_cl.strategies import DistilledBuffer, HerdingBuffer, MemoryBuffer, RandomBuffer

FeaturesFactory = Callable[[Mapping[int, Tensor], Any, torch.Generator], FeatureExtractor]


def make_buffer(
    config: Config, method: Method, dataset: ImageDataset, *, own_features: bool, on_step: OnStep | None = None
) -> MemoryBuffer:
    """The storage policy of ``method`` (distilled, herding or random) with the configured budget and seed.

    Args:
        config: budget, distillation and seed.
        method: which memory.
        dataset: its normalisation and augmentations.
        own_features: herding trains a network on each experience's real images for its features, because
            there is no learner that has seen them.
        on_step: progress of a distillation.
    """
    common: dict[str, Any] = {"seed": config.seed, "normalization": dataset.normalization}
    if method == "distilled":
        return DistilledBuffer(
            config.memory.ipc,
            distill=config.distill,
            augmentations=dataset.augmentations,
            soft_labels=config.memory.soft_labels,
            on_step=on_step,
            **common,
        )
    if method == "herding":
        features = _trained_features(config, dataset) if own_features else None
        return HerdingBuffer(config.memory.ipc, features=features, **common)
    if method == "random":
        return RandomBuffer(config.memory.ipc, **common)
    raise ValueError(f"{method!r} keeps no memory")


def _trained_features(config: Config, dataset: ImageDataset) -> FeaturesFactory:
    """Features of a network trained on the current experience."""

    def make(images_by_class: Mapping[int, Tensor], strategy: Any, generator: torch.Generator) -> FeatureExtractor:
        return trained_extractor(images_by_class, config, dataset, generator, strategy.device)

    return make
