"""The weighted loss terms of one step, in the configured unit."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from iid_cl.config.distill import DistillConfig
from iid_cl.distill.matching import Objective
from iid_cl.distill.objectives import (
    centre_distances,
    covariance_matching,
    exponential_centralization,
    in_units,
    local_covariance,
    quadratic_centralization,
)


@dataclass(frozen=True)
class RealStatistics:
    """Statistics of each class's real images under one network and one augmentation."""

    matched: Any  # the objective's statistics
    covariance: Tensor | None  # (K, C, C) of the local features; None if covariance matching has no weight


def real_statistics(real: Tensor, objective: Objective[Any], config: DistillConfig) -> RealStatistics:
    """The statistics of the real images that the losses use.

    Args:
        real: (K, B, C, P) local features.
        objective: observes the features.
        config: says whether covariances are matched.
    """
    return RealStatistics(objective.observe(real), local_covariance(real) if config.cm.weight > 0 else None)


def matching_terms(
    real: RealStatistics, synthetic: Tensor, objective: Objective[Any], config: DistillConfig
) -> dict[str, Tensor]:
    """Weighted matching terms of each class: the objective and, if it has a weight, covariance matching.

    Args:
        real: statistics of the real images.
        synthetic: (K, M, C, P) local features of the synthetic images, from the same network.
        objective: the objective that observed the real images.
        config: weight and scale of covariance matching.

    Returns:
        ``match`` and perhaps ``cm``, each (K,). With the relative scale, ``match`` is in units of the real features'
        spread and ``cm`` in units of their covariance's squared norm. Both then do not depend on the network's size, so
        the same weight suits all networks. ``cm`` is left out for a single image, which has no covariance.
    """
    terms = {"match": objective.compare(real.matched, synthetic)}
    if real.covariance is not None and synthetic.shape[1] > 1:
        cm = config.cm.weight * covariance_matching(real.covariance, local_covariance(synthetic))
        terms["cm"] = in_units(cm, real.covariance.square().sum((1, 2))) if config.scale == "relative" else cm
    return terms


def centralization_term(features: Tensor, real_spread: Tensor, config: DistillConfig) -> Tensor:
    """Weighted class centralization of synthetic features (K, M, D) under a trained network: (K,).

    With the relative scale, distances are in units of the real images' spread (K,) under the same network, and the term
    is the mean over the images.
    """
    distances = centre_distances(features)
    if config.scale == "relative":
        distances = in_units(distances, real_spread[:, None].expand_as(distances))
    if config.cc.form == "exponential":
        term = exponential_centralization(distances, config.cc.beta)
    else:
        term = quadratic_centralization(distances)
    return config.cc.weight * (term / features.shape[1] if config.scale == "relative" else term)


def cross_entropy_term(scores: Tensor, labels: Tensor, accuracy: Tensor, config: DistillConfig) -> Tensor:
    """Class-aware regularisation (IDM, arXiv 2307.09742, section 3.4): (k,).

    Cross-entropy of the synthetic images, weighted by how well the network classifies real ones.

    Args:
        scores: (k, M, K) class scores of the images of k classes out of K.
        labels: (k,) indices of these classes.
        accuracy: the network's training accuracy in [0, 1], a scalar.
    """
    groups, images, classes = scores.shape
    targets = labels.repeat_interleave(images)
    losses = functional.cross_entropy(scores.flatten(0, 1), targets, reduction="none").view(groups, images).mean(1)
    weight = config.queue.cross_entropy * accuracy
    # as published: the mean over all images, the accuracy in percent
    return weight * losses if config.scale == "relative" else 100 * weight * losses / classes


def step_unit(synthetic: Tensor, config: DistillConfig) -> float:
    """Factor on the summed loss before the gradient step on (K, M, c, H, W) images; 1 with the published scale.

    A mean over M images leaves each with 1/M of the gradient. To move an image of n values by a fixed fraction of its
    norm takes a step that grows with n. With the relative scale the factor M*n makes up for both. The same learning
    rate then suits every number of images per class and every image size.
    """
    return float(math.prod(synthetic.shape[1:])) if config.scale == "relative" else 1.0
