"""The weighted loss terms of one step, in the configured unit."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from iid_cl.config.distill import DistillConfig
from iid_cl.distill.characteristic import characteristic, characteristic_distance
from iid_cl.distill.objectives import (
    centre_distances,
    covariance_matching,
    exponential_centralization,
    in_units,
    local_covariance,
    mean_matching,
    quadratic_centralization,
    spread,
)

Objective = Callable[[Tensor, Tensor], Tensor]
"""A matching loss of one's own: local features of real images (K, B, C, P) and of synthetic ones (K, M, C, P), from the
same network and augmentation, to one value per class (K,). It must not mix classes."""


@dataclass(frozen=True)
class RealStatistics:
    """What matching needs to know of each class's real images, as one network and one augmentation show them."""

    mean: Tensor  # (K, D) of the features
    spread: Tensor  # (K,) mean squared distance to it
    covariance: Tensor | None  # (K, C, C) of the local features, where covariance matching has a weight
    frequencies: Tensor | None  # (1, T, D), ncfm only
    characteristic: tuple[Tensor, Tensor] | None  # at these frequencies, of the centred features in units of spread
    local: Tensor | None = None  # (K, B, C, P) the features themselves, for an objective of one's own


def real_statistics(
    real: Tensor, config: DistillConfig, frequencies: Tensor | None = None, keep: bool = False
) -> RealStatistics:
    """Everything about the real images that the losses use.

    Args:
        real: (K, B, C, P) local features.
        config: says which statistics.
        frequencies: (1, T, D) of characteristic functions, for ``ncfm``.
        keep: keep the features, too, for an objective of one's own.
    """
    flat = real.flatten(2)
    mean, unit = flat.mean(1), spread(flat)
    seen = None
    if frequencies is not None:
        frequencies = frequencies.to(flat.dtype)
        seen = characteristic(_standardized(flat, mean, unit), frequencies)
    covariance = local_covariance(real) if config.cm.weight > 0 else None
    return RealStatistics(mean, unit, covariance, frequencies, seen, real if keep else None)


def matching_terms(
    real: RealStatistics, synthetic: Tensor, config: DistillConfig, objective: Objective | None = None
) -> dict[str, Tensor]:
    """Weighted matching of each class: the configured base and, where it has a weight, covariance matching.

    Args:
        real: of the real images.
        synthetic: (K, M, C, P) local features of the synthetic images, from the same network.
        objective: takes the place of the configured base; ``real`` has kept its features.

    Returns:
        ``match`` and perhaps ``cm``, each (K,). With the relative scale, ``match`` is in units of the real
        features' spread and ``cm`` in units of their covariance's squared norm: both are free of the network's
        size, so that one weight holds for all. A single image has no covariance, so ``cm`` is left out there.
    """
    made = synthetic.flatten(2)
    if objective is not None and real.local is not None:
        terms = {"match": objective(real.local, synthetic)}
    elif real.characteristic is not None and real.frequencies is not None:
        standardized = _standardized(made, real.mean, real.spread)
        match = characteristic_distance(
            real.characteristic, characteristic(standardized, real.frequencies), config.characteristic.amplitude
        )
        terms = {"match": torch.where(real.spread > 0, match, 0.0)}
    else:
        match = mean_matching(real.mean[:, None], made)
        terms = {"match": in_units(match, real.spread) if config.scale == "relative" else match}
    if real.covariance is not None and synthetic.shape[1] > 1:
        cm = config.cm.weight * covariance_matching(real.covariance, local_covariance(synthetic))
        terms["cm"] = in_units(cm, real.covariance.square().sum((1, 2))) if config.scale == "relative" else cm
    return terms


def _standardized(features: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """Features (K, n, D) about the real mean, with projections of unit variance on average."""
    scale = torch.where(spread > 0, spread, 1.0).rsqrt()
    return (features - mean[:, None]) * scale[:, None, None]


def centralization_term(features: Tensor, real_spread: Tensor, config: DistillConfig) -> Tensor:
    """Weighted class centralization of synthetic features (K, M, D) under a trained network: (K,).

    With the relative scale distances are in units of the real images' spread (K,) under that network, and the
    term is the mean over the images.
    """
    distances = centre_distances(features)
    if config.scale == "relative":
        distances = in_units(distances, real_spread[:, None].expand_as(distances))
    if config.cc.form == "exponential":
        term = exponential_centralization(distances, config.cc.alpha, config.cc.beta)
    else:
        term = quadratic_centralization(distances)
    return config.cc.weight * (term / features.shape[1] if config.scale == "relative" else term)


def cross_entropy_term(scores: Tensor, labels: Tensor, accuracy: Tensor, config: DistillConfig) -> Tensor:
    """Class-aware regularisation (IDM, arXiv 2307.09742, section 3.4): (k,).

    Cross-entropy of the synthetic images, weighted by how well the network classifies real ones.

    Args:
        scores: (k, M, K) of the images of k classes out of K.
        labels: (k,) numbers of these classes.
        accuracy: the network's training accuracy in [0, 1], a scalar.
    """
    here, images, classes = scores.shape
    targets = labels.repeat_interleave(images)
    each = functional.cross_entropy(scores.flatten(0, 1), targets, reduction="none").view(here, images).mean(1)
    weight = config.queue.cross_entropy * accuracy
    # as published: the mean over all images, the accuracy in percent
    return weight * each if config.scale == "relative" else 100 * weight * each / classes


def step_unit(synthetic: Tensor, config: DistillConfig) -> float:
    """What the summed loss is multiplied by before the gradient step on (K, M, c, H, W) images.

    A mean over M images leaves each with 1/M of the gradient, and moving an image of n values by a fixed
    fraction of its norm takes a step that grows with n. With the relative scale the product M*n makes up for
    both, so that one learning rate holds across images per class and image sizes. 1 as published.
    """
    return float(math.prod(synthetic.shape[1:])) if config.scale == "relative" else 1.0
