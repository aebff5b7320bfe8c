"""Matching of characteristic functions (NCFM, CVPR 2025, arXiv 2502.20653).

The characteristic function of a distribution of features x is phi(t) = E exp(i <t, x>); unlike the mean it
determines the distribution. Real and synthetic features are compared at random frequencies t, split into
amplitude (how widely features scatter) and phase (where they lie). NCFM learns the distribution of t
adversarially; here t is normal, scaled by the real features' own spread.
"""

import torch
from torch import Tensor

EPSILON = 1e-6  # keeps the square root differentiable where both functions agree


def characteristic(features: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """The empirical characteristic function of features, as its real and imaginary part, each (K, T).

    Args:
        features: (K, n, D).
        frequencies: (K, T, D), or (1, T, D) for the same in all classes.
    """
    angles = features @ frequencies.transpose(1, 2)  # (K, n, T)
    return angles.cos().mean(1), angles.sin().mean(1)


def characteristic_distance(real: tuple[Tensor, Tensor], synthetic: tuple[Tensor, Tensor], amplitude: float) -> Tensor:
    """Distance between two characteristic functions r and s at the same frequencies (NCFM, eq. 5 to 7).

    A common shift of the features turns the phases of both alike, so shift them to where small angles lose no digits.

    Args:
        real: of the real images, see :func:`characteristic`.
        synthetic: of the synthetic images.
        amplitude: share alpha of the amplitude in [0, 1].

    Returns:
        (K,): mean over t of sqrt(alpha (|r| - |s|)^2 + (1 - alpha) (2 |r| |s| - 2 Re(r conj(s)))); the terms under
        the root add up to |r - s|^2 / 2 for alpha = 1/2.
    """
    (r_real, r_imaginary), (s_real, s_imaginary) = real, synthetic
    r = (r_real.square() + r_imaginary.square() + EPSILON).sqrt()
    s = (s_real.square() + s_imaginary.square() + EPSILON).sqrt()
    scatter = (r - s).square()
    place = (2 * (r * s - r_real * s_real - r_imaginary * s_imaginary)).clamp_min(0)
    return (amplitude * scatter + (1 - amplitude) * place + EPSILON).sqrt().mean(1)


def draw_frequencies(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Normal frequencies (1, count, size), the same for all classes, for features whose spread is one.

    Args:
        count: frequencies.
        size: D, the features' size.
        generator: on the features' device.
    """
    return torch.randn(1, count, size, generator=generator, device=generator.device)
