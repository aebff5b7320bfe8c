"""Objectives: how far the features of synthetic images are from those of real ones.

Real images are observed once per draw. Synthetic ones are compared with what was observed, in every chunk of classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from iid_cl.config.distill import DistillConfig
from iid_cl.config.objectives import ObjectiveName
from iid_cl.distill.characteristic import characteristic, characteristic_distance, draw_frequencies
from iid_cl.distill.objectives import in_units, mean_matching, spread

FREQUENCIES = 1024  # of characteristic functions
AMPLITUDE = 0.5  # its share in their distance; the phase has the rest

Statistics = TypeVar("Statistics")

MatchingLoss = Callable[[Tensor, Tensor], Tensor]
"""A matching loss of your own: local features of real images (K, B, C, P) and of synthetic ones (K, M, C, P), from the
same network and augmentation, to one value per class (K,). It must not mix classes."""


class Objective(Protocol[Statistics]):
    """A matching loss in two halves, so that real images are looked at once. Neither half mixes classes.

    >>> means = OBJECTIVES["dm"](DistillConfig(), 2, torch.Generator())
    >>> statistics = means.observe(torch.zeros(1, 4, 2, 1))
    >>> means.compare(statistics, torch.zeros(1, 3, 2, 1))  # equal means
    tensor([0.])
    """

    def observe(self, real: Tensor) -> Statistics:
        """What matching needs to know of local features (K, B, C, P) of real images."""
        ...

    def compare(self, statistics: Statistics, synthetic: Tensor) -> Tensor:
        """The loss of each class (K,), of local features (K, M, C, P) of synthetic images from the same network."""
        ...


@dataclass(frozen=True)
class Moments:
    """Mean (K, D) of features, and their spread (K,): the mean squared distance to it."""

    mean: Tensor
    spread: Tensor


@dataclass(frozen=True)
class MeanMatching:
    """DM (arXiv 2110.04181): squared distance of mean features.

    Attributes:
        relative: in units of the real features' spread, which makes it free of the network's size.
    """

    relative: bool

    def observe(self, real: Tensor) -> Moments:
        """Mean and spread of the features."""
        return _moments(real.flatten(2))

    def compare(self, statistics: Moments, synthetic: Tensor) -> Tensor:
        """The distance of the means."""
        match = mean_matching(statistics.mean[:, None], synthetic.flatten(2))
        return in_units(match, statistics.spread) if self.relative else match


@dataclass(frozen=True)
class Seen:
    """Moments of real features, and their characteristic function about the mean in units of the spread."""

    moments: Moments
    function: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class CharacteristicMatching:
    """NCFM (arXiv 2502.20653): distance of characteristic functions, see :mod:`iid_cl.distill.characteristic`.

    Attributes:
        frequencies: (1, T, D), drawn afresh for each draw.
    """

    frequencies: Tensor

    def observe(self, real: Tensor) -> Seen:
        """The real images' function."""
        flat = real.flatten(2)
        moments = _moments(flat)
        return Seen(moments, self._function(flat, moments))

    def compare(self, statistics: Seen, synthetic: Tensor) -> Tensor:
        """The distance of both functions; 0 for a class of equal real images, which has nothing to match."""
        made = self._function(synthetic.flatten(2), statistics.moments)
        match = characteristic_distance(statistics.function, made, AMPLITUDE)
        return torch.where(statistics.moments.spread > 0, match, 0.0)

    def _function(self, features: Tensor, moments: Moments) -> tuple[Tensor, Tensor]:
        """Of features (K, n, D) about the real mean, scaled to projections of unit variance on average."""
        scale = torch.where(moments.spread > 0, moments.spread, 1.0).rsqrt()
        standardized = (features - moments.mean[:, None]) * scale[:, None, None]
        return characteristic(standardized, self.frequencies.to(features.dtype))


@dataclass(frozen=True)
class OwnObjective:
    """A loss of the user's, which wants the real features themselves."""

    loss: MatchingLoss

    def observe(self, real: Tensor) -> Tensor:
        """The features."""
        return real

    def compare(self, statistics: Tensor, synthetic: Tensor) -> Tensor:
        """What the loss says."""
        return self.loss(statistics, synthetic)


def _moments(features: Tensor) -> Moments:
    """Of features (K, n, D)."""
    return Moments(features.mean(1), spread(features))


def _means(config: DistillConfig, features: int, generator: torch.Generator) -> MeanMatching:
    return MeanMatching(config.scale == "relative")


def _characteristic(config: DistillConfig, features: int, generator: torch.Generator) -> CharacteristicMatching:
    return CharacteristicMatching(draw_frequencies(FREQUENCIES, features, generator))


OBJECTIVES: dict[ObjectiveName, Callable[[DistillConfig, int, torch.Generator], Objective[Any]]] = {
    "dm": _means,
    "idm": _means,
    "ncfm": _characteristic,
}
"""The objective of a draw, by its name: from the configuration, the number D of features of an image and the source of
what the objective draws, on the features' device."""
