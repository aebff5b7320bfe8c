"""The weighted loss terms of one step, in the configured unit."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from iid_cl.config import DistillConfig
from iid_cl.distill.characteristic import characteristic_matching, draw_frequencies
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


def matching_terms(
    real: Tensor, synthetic: Tensor, config: DistillConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Weighted matching of each class: the configured base and, where it has a weight, covariance matching.

    Args:
        real: (K, B, C, P) local features of the real images.
        synthetic: (K, M, C, P) local features of the synthetic images, from the same network.
        generator: draws the frequencies of characteristic functions; on the features' device.

    Returns:
        ``match`` and perhaps ``cm``, each (K,). With the relative scale, ``match`` is in units of the real
        features' spread and ``cm`` in units of their covariance's squared norm: both are free of the network's
        size, so that one weight holds for all. A single image has no covariance, so ``cm`` is left out there.
    """
    flat, made = real.flatten(2), synthetic.flatten(2)
    unit = spread(flat)
    if config.objective == "ncfm":
        frequencies = draw_frequencies(unit, config.characteristic.frequencies, flat.shape[2], generator)
        match = characteristic_matching(flat, made, frequencies, config.characteristic.amplitude)
        terms = {"match": torch.where(unit > 0, match, 0.0)}
    else:
        match = mean_matching(flat, made)
        terms = {"match": in_units(match, unit) if config.scale == "relative" else match}
    if config.cm.weight > 0 and synthetic.shape[1] > 1:
        covariance = local_covariance(real)
        cm = config.cm.weight * covariance_matching(covariance, local_covariance(synthetic))
        terms["cm"] = in_units(cm, covariance.square().sum((1, 2))) if config.scale == "relative" else cm
    return terms


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


def cross_entropy_term(scores: Tensor, accuracy: Tensor, config: DistillConfig) -> Tensor:
    """Class-aware regularisation (IDM, arXiv 2307.09742, section 3.4): (K,).

    Cross-entropy of the synthetic images, weighted by how well the network classifies real ones.

    Args:
        scores: (K, M, K) of the images of each class, in the order of the classes.
        accuracy: the network's training accuracy in [0, 1], a scalar.
    """
    classes, images, _ = scores.shape
    labels = torch.arange(classes, device=scores.device).repeat_interleave(images)
    each = functional.cross_entropy(scores.flatten(0, 1), labels, reduction="none").view(classes, images).mean(1)
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
