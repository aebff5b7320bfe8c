"""Matching of characteristic functions (NCFM, CVPR 2025, arXiv 2502.20653).

The characteristic function of a distribution of features x is phi(t) = E exp(i <t, x>); unlike the mean it
determines the distribution. Real and synthetic features are compared at random frequencies t, split into
amplitude (how widely features scatter) and phase (where they lie). NCFM learns the distribution of t
adversarially; here t is normal, scaled by the real features' own spread.
"""

import torch
from torch import Tensor

EPSILON = 1e-6  # keeps the square root differentiable where both functions agree


def characteristic_matching(real: Tensor, synthetic: Tensor, frequencies: Tensor, amplitude: float) -> Tensor:
    """Distance between the empirical characteristic functions of two sets of features (NCFM, eq. 5 to 7).

    Args:
        real: (K, B, D) global features of real images.
        synthetic: (K, M, D) global features of synthetic images.
        frequencies: (K, T, D).
        amplitude: share alpha of the amplitude in [0, 1].

    Returns:
        (K,): mean over t of sqrt(alpha (|r| - |s|)^2 + (1 - alpha) (2 |r| |s| - 2 Re(r conj(s)))) with r and s the
        two functions at t; the terms under the root add up to |r - s|^2 / 2 for alpha = 1/2.
    """
    centre = real.mean(1, keepdim=True)  # a common shift turns both phases alike, and small angles lose no digits
    r_real, r_imaginary = _characteristic(real - centre, frequencies)
    s_real, s_imaginary = _characteristic(synthetic - centre, frequencies)
    r = (r_real.square() + r_imaginary.square() + EPSILON).sqrt()
    s = (s_real.square() + s_imaginary.square() + EPSILON).sqrt()
    scatter = (r - s).square()
    place = (2 * (r * s - r_real * s_real - r_imaginary * s_imaginary)).clamp_min(0)
    return (amplitude * scatter + (1 - amplitude) * place + EPSILON).sqrt().mean(1)


def draw_frequencies(spread: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Normal frequencies (K, count, size) under which a class's projected features have unit variance on average.

    Args:
        spread: (K,) mean squared distance of real features to their class mean.
        count: frequencies; the same directions serve all classes.
        size: D, the features' size.
        generator: on the features' device.
    """
    directions = torch.randn(count, size, generator=generator, device=spread.device)
    scale = torch.where(spread > 0, spread, 1.0).rsqrt()
    return scale[:, None, None] * directions


def _characteristic(features: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part at each frequency, each (K, T)."""
    angles = features @ frequencies.transpose(1, 2)  # (K, n, T)
    return angles.cos().mean(1), angles.sin().mean(1)
