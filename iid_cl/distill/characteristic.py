"""Matching of characteristic functions (NCFM, CVPR 2025, arXiv 2502.20653).

The characteristic function of a distribution of features x is phi(t) = E exp(i <t, x>). Unlike the mean it determines
the distribution. Real and synthetic features are compared at random frequencies t. The distance has two parts:
amplitude (how widely features scatter) and phase (where they lie). NCFM learns the distribution of t adversarially;
here t is normal, scaled by the spread of the real features.
"""

import torch
from torch import Tensor

EPSILON = 1e-6  # keeps the square root differentiable where both functions agree


def characteristic(features: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """The empirical characteristic function of features: its real and its imaginary part, each (K, T).

    Args:
        features: (K, n, D).
        frequencies: (K, T, D), or (1, T, D) if all classes share them.
    """
    angles = features @ frequencies.transpose(1, 2)  # (K, n, T)
    return angles.cos().mean(1), angles.sin().mean(1)


def characteristic_distance(real: tuple[Tensor, Tensor], synthetic: tuple[Tensor, Tensor], amplitude: float) -> Tensor:
    """Distance between two characteristic functions r and s at the same frequencies (NCFM, eq. 5 to 7).

    A common shift of all features leaves the distance as it was, because it turns both phases alike. Centre the
    features, so that angles are small and no digits are lost.

    Args:
        real: characteristic function of the real images, see :func:`characteristic`.
        synthetic: characteristic function of the synthetic images.
        amplitude: weight alpha of the amplitude in [0, 1].

    Returns:
        (K,): mean over t of sqrt(alpha (|r| - |s|)^2 + (1 - alpha) (2 |r| |s| - 2 Re(r conj(s)))). With alpha = 1/2 the
        terms under the root add up to |r - s|^2 / 2.
    """
    (r_real, r_imaginary), (s_real, s_imaginary) = real, synthetic
    r = (r_real.square() + r_imaginary.square() + EPSILON).sqrt()
    s = (s_real.square() + s_imaginary.square() + EPSILON).sqrt()
    scatter = (r - s).square()
    place = (2 * (r * s - r_real * s_real - r_imaginary * s_imaginary)).clamp_min(0)
    return (amplitude * scatter + (1 - amplitude) * place + EPSILON).sqrt().mean(1)


def draw_frequencies(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Normal frequencies (1, count, size), the same for all classes, for features whose spread is 1.

    Args:
        count: number of frequencies.
        size: size D of a feature vector.
        generator: on the features' device.
    """
    return torch.randn(1, count, size, generator=generator, device=generator.device)
