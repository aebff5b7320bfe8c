"""Objectives: how far the features of synthetic images are from the features of real images.

Real images are observed once per draw. Synthetic images are then compared with the resulting statistics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from iid_cl.config.distill import DistillConfig
from iid_cl.config.objectives import ObjectiveName
from iid_cl.distill.characteristic import characteristic, characteristic_distance, draw_frequencies
from iid_cl.distill.objectives import classifier_gradient, in_units, mean_matching, spread
from iid_cl.errors import UserError

FREQUENCIES = 1024  # at which characteristic functions are compared
MOST_CLASSES = 1000  # whose gradients are compared at once
AMPLITUDE = 0.5  # weight of the amplitude in the distance of characteristic functions; the phase has the rest

Statistics = TypeVar("Statistics")

MatchingLoss = Callable[[Tensor, Tensor], Tensor]
"""Your own matching loss. It takes local features of real images (K, B, C, P) and of synthetic images (K, M, C, P),
from the same network and augmentation, and returns a value per class (K,). It must not mix classes."""


class Objective(Protocol[Statistics]):
    """A matching loss in two halves, so that real images are observed only once.

    Neither half mixes classes, unless its entry in :data:`iid_cl.config.objectives.OBJECTIVE_INFO` is joint.

    >>> means = OBJECTIVES["dm"](DistillConfig(), 2, torch.Generator())
    >>> statistics = means.observe(torch.zeros(1, 4, 2, 1))
    >>> means.compare(statistics, torch.zeros(1, 3, 2, 1))  # equal means
    tensor([0.])
    """

    def observe(self, real: Tensor) -> Statistics:
        """Statistics of local features (K, B, C, P) of real images."""
        ...

    def compare(self, statistics: Statistics, synthetic: Tensor) -> Tensor:
        """The loss of each class, (K,), from local features (K, M, C, P) of synthetic images under the same network."""
        ...


@dataclass(frozen=True)
class Moments:
    """Mean (K, D) of features, and their spread (K,): the mean squared distance to the mean."""

    mean: Tensor
    spread: Tensor


@dataclass(frozen=True)
class MeanMatching:
    """DM (arXiv 2110.04181): squared distance of mean features.

    Attributes:
        relative: whether distances are in units of the real features' spread, which removes the network's size.
    """

    relative: bool

    def observe(self, real: Tensor) -> Moments:
        """Mean and spread of the features."""
        return _moments(real.flatten(2))

    def compare(self, statistics: Moments, synthetic: Tensor) -> Tensor:
        """The squared distance of the means."""
        match = mean_matching(statistics.mean[:, None], synthetic.flatten(2))
        return in_units(match, statistics.spread) if self.relative else match


@dataclass(frozen=True)
class Characteristics:
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

    def observe(self, real: Tensor) -> Characteristics:
        """The real images' moments and characteristic function."""
        flat = real.flatten(2)
        moments = _moments(flat)
        return Characteristics(moments, self._function(flat, moments))

    def compare(self, statistics: Characteristics, synthetic: Tensor) -> Tensor:
        """The distance of both functions; 0 for a class of equal real images, which has nothing to match."""
        function = self._function(synthetic.flatten(2), statistics.moments)
        match = characteristic_distance(statistics.function, function, AMPLITUDE)
        return torch.where(statistics.moments.spread > 0, match, 0.0)

    def _function(self, features: Tensor, moments: Moments) -> tuple[Tensor, Tensor]:
        """Characteristic function of features (K, n, D) about the real mean, in units of the real spread."""
        scale = torch.where(moments.spread > 0, moments.spread, 1.0).rsqrt()
        standardized = (features - moments.mean[:, None]) * scale[:, None, None]
        return characteristic(standardized, self.frequencies.to(features.dtype))


@dataclass(frozen=True)
class LinearGradientMatching:
    """LGM (arXiv 2511.16674): 1 - cosine of the gradients that real and synthetic images give a linear classifier.

    It compares all classes at once, so each class has the same value.

    Attributes:
        weights: (R, D) of the classifier, drawn afresh for each draw; class k has row k.
    """

    weights: Tensor

    def observe(self, real: Tensor) -> Tensor:
        """The real images' gradient (R, D), with a row per class and one more for a class alone.

        Raises:
            UserError: more classes than rows.
        """
        if len(real) > len(self.weights):
            raise UserError(
                f"distill.objective: lgm compares at most {len(self.weights)} classes at once, not {len(real)}; use dm."
            )
        return classifier_gradient(real.flatten(2), self._rows(real))

    def compare(self, statistics: Tensor, synthetic: Tensor) -> Tensor:
        """The distance of the gradients, (K,)."""
        gradient = classifier_gradient(synthetic.flatten(2), self._rows(synthetic))
        cosine = functional.cosine_similarity(statistics.flatten(), gradient.flatten(), dim=0)
        return (1 - cosine).expand(len(synthetic))

    def _rows(self, features: Tensor) -> Tensor:
        return self.weights[: max(2, len(features))].to(features.dtype)


@dataclass(frozen=True)
class OwnObjective:
    """The user's loss, which takes the real features themselves."""

    loss: MatchingLoss

    def observe(self, real: Tensor) -> Tensor:
        """The features themselves."""
        return real

    def compare(self, statistics: Tensor, synthetic: Tensor) -> Tensor:
        """The value of the user's loss."""
        return self.loss(statistics, synthetic)


def _moments(features: Tensor) -> Moments:
    """Moments of features (K, n, D)."""
    return Moments(features.mean(1), spread(features))


def _means(config: DistillConfig, features: int, generator: torch.Generator) -> MeanMatching:
    return MeanMatching(config.scale == "relative")


def _characteristic(config: DistillConfig, features: int, generator: torch.Generator) -> CharacteristicMatching:
    return CharacteristicMatching(draw_frequencies(FREQUENCIES, features, generator))


def _linear_gradients(config: DistillConfig, features: int, generator: torch.Generator) -> LinearGradientMatching:
    """A classifier with the weights that PyTorch draws for a linear layer."""
    weights = torch.empty(MOST_CLASSES, features, device=generator.device)
    return LinearGradientMatching(weights.uniform_(-1, 1, generator=generator) / features**0.5)


OBJECTIVES: dict[ObjectiveName, Callable[[DistillConfig, int, torch.Generator], Objective[Any]]] = {
    "dm": _means,
    "idm": _means,
    "ncfm": _characteristic,
    "lgm": _linear_gradients,
}
"""By its name, the function that makes a draw's objective. It takes the configuration, the number D of features of an
image, and a generator on the features' device."""
