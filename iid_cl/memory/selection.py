"""Selection rules: which real images stand for their class."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from iid_cl.data.images import Normalization

FeatureExtractor = Callable[[Tensor], Tensor]
"""From normalised images (n, C, H, W) to features (n, ...) on the same device."""


def random_images(images_by_class: Mapping[int, Tensor], count: int, generator: torch.Generator) -> dict[int, Tensor]:
    """``count`` distinct images of each class, uniformly drawn."""
    return {c: x[torch.randperm(len(x), generator=generator)[:count]] for c, x in images_by_class.items()}


@torch.no_grad()
def herded_images(
    images_by_class: Mapping[int, Tensor],
    count: int,
    extract: FeatureExtractor,
    normalization: Normalization,
    device: torch.device | str,
) -> dict[int, Tensor]:
    """``count`` images of each class picked by herding in the feature space of ``extract``.

    Args:
        images_by_class: uint8 images (n_c, C, H, W) of each class.
        count: images to pick, at most n_c.
        extract: a trained network's features.
        normalization: what that network sees.
        device: where it lives.
    """
    chosen = {}
    for label, images in images_by_class.items():
        batches = normalization.apply(images).split(256)
        features = torch.cat([extract(batch.to(device)) for batch in batches])
        chosen[label] = images[select_herding(features, count).cpu()]
    return chosen


def select_herding(features: Tensor, count: int) -> Tensor:
    """Herding (iCaRL, CVPR 2017, Algorithm 4).

    Greedily picks the image that brings the mean of the picked features closest to the class mean, with
    L2-normalised features. Ties go to the lowest index.

    Args:
        features: (N, D) features of one class's images, N >= count.
        count: how many to pick.

    Returns:
        Distinct indices (count,) in the order picked.
    """
    normalized = torch.nn.functional.normalize(features.flatten(1).double(), dim=1)
    target = normalized.mean(0)
    total = torch.zeros_like(target)
    available = torch.ones(len(normalized), dtype=torch.bool, device=features.device)
    picked = []
    for size in range(1, count + 1):
        distance = ((total + normalized) / size - target).square().sum(1)
        index = int(distance.masked_fill(~available, torch.inf).argmin())
        picked.append(index)
        available[index] = False
        total = total + normalized[index]
    return torch.tensor(picked)
