"""Selection rules: which real images stand for their class, in the order in which they matter.

A rule is ``rule(features, count, weights, generator) -> indices (count,)``. It gets features (N, D) of a class's
images, N >= count, the number of images that each stands for (N,), and the source of random draws. A smaller choice is
a prefix of a larger one, so that a memory can be cut.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from iid_cl.data.classes import Classes

FeatureExtractor = Callable[[Tensor], Tensor]
"""From uint8 images (n, C, H, W) to features (n, ...) on any device."""

Rule = Callable[[Tensor, int, Tensor, torch.Generator], Tensor]

Order = Callable[[int, int], Tensor]
"""From a class and a number of images to the indices of the best ones, best first."""


def select_random(features: Tensor, count: int, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Distinct images, drawn in proportion to their weights.

    >>> weights = torch.tensor([0.0, 1.0, 1.0])
    >>> sorted(select_random(torch.zeros(3, 1), 2, weights, torch.Generator()).tolist())
    [1, 2]
    """
    if bool((weights == weights[0]).all()):
        return torch.randperm(len(features), generator=generator)[:count]
    return torch.multinomial(weights, count, generator=generator)


def select_herding(
    features: Tensor, count: int, weights: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Herding (iCaRL, CVPR 2017, Algorithm 4).

    Greedily picks the image that brings the mean of the picked features closest to the class mean, with
    L2-normalised features. Ties go to the lowest index.

    >>> select_herding(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), 2)
    tensor([1, 2])
    """
    units, target = _units(features, weights)
    total = torch.zeros_like(target)
    available = torch.ones(len(units), dtype=torch.bool, device=features.device)
    picks = []
    for size in range(1, count + 1):
        distance = ((total + units) / size - target).square().sum(1)
        index = int(distance.masked_fill(~available, torch.inf).argmin())
        picks.append(index)
        available[index] = False
        total = total + units[index]
    return torch.tensor(picks, dtype=torch.int64)


def select_closest(
    features: Tensor, count: int, weights: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """The images whose L2-normalised features lie closest to their mean. Ties go to the lowest index.

    >>> select_closest(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), 2)
    tensor([1, 0])
    """
    units, mean = _units(features, weights)
    return (units - mean).square().sum(1).argsort(stable=True)[:count].cpu()


def select_k_centre(
    features: Tensor, count: int, weights: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Greedy k-centre (Sener and Savarese, ICLR 2018, Algorithm 1) in L2-normalised features.

    Starts with the image closest to the mean. Each further image is the farthest from all picked so far.

    >>> select_k_centre(torch.tensor([[0.8, 0.6], [1.0, 0.0], [1.0, 0.1]]), 2)
    tensor([2, 0])
    """
    units, mean = _units(features, weights)
    picks = [int((units - mean).square().sum(1).argmin())]
    distance = torch.full((len(units),), torch.inf, dtype=torch.float64, device=features.device)
    for _ in range(1, count):
        distance = torch.minimum(distance, (units - units[picks[-1]]).square().sum(1))
        distance[picks[-1]] = -1  # never again, even among copies
        picks.append(int(distance.argmax()))
    return torch.tensor(picks, dtype=torch.int64)


RULES: dict[str, Rule] = {
    "random": select_random,
    "herding": select_herding,
    "k_centre": select_k_centre,
    "closest": select_closest,
}


def ordering(classes: Classes, rule: Rule, extract: FeatureExtractor | None, generator: torch.Generator) -> Order:
    """The order in which a rule picks each class's images, by the features that ``extract`` makes of them.

    Without an extractor the rule gets the images themselves.

    >>> classes = Classes({4: torch.tensor([[[[30]]], [[[20]]], [[[10]]]], dtype=torch.uint8)})
    >>> darkest = lambda features, count, weights, generator: features[:, 0].argsort()[:count]
    >>> ordering(classes, darkest, torch.nn.Identity(), torch.Generator())(4, 2)
    tensor([2, 1])
    """

    def order(label: int, count: int) -> Tensor:
        images = classes.images[label]
        features = images if extract is None else features_of(images, extract)
        weights = classes.weights.get(label, torch.ones(len(images), dtype=torch.float64))
        return rule(features, count, weights, generator)

    return order


@torch.no_grad()
def features_of(images: Tensor, extract: FeatureExtractor) -> Tensor:
    """Features (N, D) of uint8 images (N, C, H, W), in batches of 256.

    >>> features_of(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), torch.nn.Identity())
    tensor([[  0, 255]], dtype=torch.uint8)
    """
    return torch.cat([extract(batch).flatten(1) for batch in images.split(256)])


def _units(features: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """L2-normalised features (N, D), and their weighted mean (D,)."""
    units = normalize(features.flatten(1).double(), dim=1)
    if weights is None:
        return units, units.mean(0)
    weights = weights.to(units)
    return units, (units * weights[:, None]).sum(0) / weights.sum()
