"""Selection rules: which real images stand for their class, in the order in which they matter.

A rule is ``rule(features, count, weights, generator) -> indices (count,)``: features (N, D) of one class's images with
N >= count, how many images each of them stands for (N,), and the source of random draws. Fewer picks are a prefix of
more, so that a memory can be cut.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens

FeatureExtractor = Callable[[Tensor], Tensor]
"""From normalised images (n, C, H, W) to features (n, ...) on the same device."""

Rule = Callable[[Tensor, int, Tensor, torch.Generator], Tensor]

Order = Callable[[int, int], Tensor]
"""From a class and a number of images to the indices of the best ones, best first."""


def select_random(features: Tensor, count: int, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Distinct images, each drawn as often as it weighs."""
    if bool((weights == weights[0]).all()):
        return torch.randperm(len(features), generator=generator)[:count]
    return torch.multinomial(weights, count, generator=generator)


def select_herding(
    features: Tensor, count: int, weights: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Herding (iCaRL, CVPR 2017, Algorithm 4).

    Greedily picks the image that brings the mean of the picked features closest to the class mean, with
    L2-normalised features. Ties go to the lowest index.
    """
    units = normalize(features.flatten(1).double(), dim=1)
    target = _mean(units, weights)
    total = torch.zeros_like(target)
    available = torch.ones(len(units), dtype=torch.bool, device=features.device)
    picked = []
    for size in range(1, count + 1):
        distance = ((total + units) / size - target).square().sum(1)
        index = int(distance.masked_fill(~available, torch.inf).argmin())
        picked.append(index)
        available[index] = False
        total = total + units[index]
    return torch.tensor(picked, dtype=torch.int64)


def select_closest(
    features: Tensor, count: int, weights: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """The images whose L2-normalised features lie closest to their mean; ties go to the lowest index."""
    units = normalize(features.flatten(1).double(), dim=1)
    return (units - _mean(units, weights)).square().sum(1).argsort(stable=True)[:count].cpu()


def select_k_centre(
    features: Tensor, count: int, weights: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Greedy k-centre (Sener and Savarese, ICLR 2018, Algorithm 1) in L2-normalised features.

    Starts with the image closest to the mean; each further one is the farthest from all picked so far.
    """
    units = normalize(features.flatten(1).double(), dim=1)
    picked = [int((units - _mean(units, weights)).square().sum(1).argmin())]
    distance = torch.full((len(units),), torch.inf, dtype=torch.float64, device=features.device)
    for _ in range(1, count):
        distance = torch.minimum(distance, (units - units[picked[-1]]).square().sum(1))
        distance[picked[-1]] = -1  # never again, even among copies
        picked.append(int(distance.argmax()))
    return torch.tensor(picked, dtype=torch.int64)


RULES: dict[str, Rule] = {
    "random": select_random,
    "herding": select_herding,
    "k_centre": select_k_centre,
    "closest": select_closest,
}


def ordering(
    classes: Classes, rule: Rule, extract: FeatureExtractor | None, lens: Lens, generator: torch.Generator
) -> Order:
    """The order in which a rule picks each class's images.

    Args:
        classes: the images, and how many each one stands for.
        rule: the rule.
        extract: features to choose by; a random choice needs none.
        lens: how the extractor sees images.
        generator: source of random draws.
    """

    def order(label: int, count: int) -> Tensor:
        images = classes.images[label]
        features = images if extract is None else features_of(images, extract, lens)
        weights = classes.weights.get(label, torch.ones(len(images), dtype=torch.float64))
        return rule(features, count, weights, generator)

    return order


@torch.no_grad()
def features_of(images: Tensor, extract: FeatureExtractor, lens: Lens) -> Tensor:
    """Features (N, D) of uint8 images (N, C, H, W), in batches of 256.

    Args:
        images: the images.
        extract: a trained network's features.
        lens: how that network sees images.
    """
    return torch.cat([extract(lens.show(batch)).flatten(1) for batch in images.split(256)])


def _mean(units: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return units.mean(0)
    weights = weights.to(units)
    return (units * weights[:, None]).sum(0) / weights.sum()
