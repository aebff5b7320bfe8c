"""Building the configured memory: one place that knows which method is which buffer."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from iid_cl.config.experiment import REAL_METHODS, Config, Method
from iid_cl.data.images import ImageDataset
from iid_cl.distill.watch import OnStep
from iid_cl.memory.selection import FeatureExtractor, FeaturesFactory
from iid_cl.runs.whole import trained_extractor
from iid_cl.strategies import AutoBuffer, DistilledBuffer, HybridBuffer, MemoryBuffer, RealBuffer, ReservoirBuffer
from iid_cl.strategies.real import Rule


def make_buffer(
    config: Config, method: Method, dataset: ImageDataset, *, own_features: bool, on_step: OnStep | None = None
) -> MemoryBuffer:
    """The storage policy of ``method`` with the configured budget and seed.

    Args:
        config: budget, distillation and seed.
        method: which memory; `none` and `joint` keep none.
        dataset: its normalisation and augmentations.
        own_features: herding trains a network on each experience's real images for its features, because
            there is no learner that has seen them.
        on_step: progress of a distillation.
    """
    memory, budget = config.memory, config.memory.budget
    common: dict[str, Any] = {
        budget.key: budget.amount,
        "seed": config.seed,
        "normalization": dataset.normalization,
    }
    features = _trained_features(config, dataset) if own_features else None
    if method in REAL_METHODS:
        return RealBuffer(
            rule=cast(Rule, method), features=features, downscale=memory.downscale, jpeg=memory.jpeg, **common
        )
    if method == "reservoir":
        return ReservoirBuffer(**common)
    distilled: dict[str, Any] = {
        "distill": config.distill,
        "augmentations": dataset.augmentations,
        "shrink": memory.shrink,
        "on_step": on_step,
    }
    if method == "distilled":
        return DistilledBuffer(soft_labels=memory.soft_labels, jpeg=memory.jpeg, **distilled, **common)
    if method == "hybrid":
        stored: dict[str, Any] = {"soft_labels": memory.soft_labels, "jpeg": memory.jpeg}
        return HybridBuffer(share=memory.share, features=features, **stored, **distilled, **common)
    if method == "auto":
        return AutoBuffer(replayed=not own_features, features=features, **distilled, **common)
    raise ValueError(f"{method!r} keeps no memory")


def _trained_features(config: Config, dataset: ImageDataset) -> FeaturesFactory:
    """Features of a network trained on the current experience."""

    def make(images_by_class: Mapping[int, Tensor], strategy: Any, generator: torch.Generator) -> FeatureExtractor:
        return trained_extractor(images_by_class, config, dataset, generator, strategy.device)

    return make
