"""The matching losses, as pure functions of features.

All take a group per class and return a value per class, so classes never mix. ``K`` is the number of classes, ``B`` the
number of real and ``M`` the number of synthetic images of each class.
"""

import torch
from torch import Tensor


def mean_matching(real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared Euclidean distance between mean features (DM, arXiv 2110.04181, eq. 3).

    Args:
        real: (K, B, D) global features of real images.
        synthetic: (K, M, D) global features of synthetic images.

    Returns:
        (K,): ||mean_b real - mean_m synthetic||^2.

    >>> mean_matching(torch.zeros(1, 4, 2), torch.ones(1, 3, 2))  # each of two features is off by one
    tensor([2.])
    """
    return (real.mean(1) - synthetic.mean(1)).square().sum(1)


def classifier_gradient(features: Tensor, weights: Tensor) -> Tensor:
    """Gradient of a linear classifier's cross-entropy by its weights (LGM, arXiv 2511.16674, section 3).

    Args:
        features: (K, B, D), all classes of an experience; class k belongs to row k of the weights.
        weights: (R, D), with R at least K.

    Returns:
        (R, D): mean over all images of (softmax(W f) - e_k) f^T.

    >>> classifier_gradient(torch.tensor([[[2.0]]]), torch.zeros(2, 1)).flatten().tolist()  # probabilities of a half
    [-1.0, 1.0]
    """
    classes, images, _ = features.shape
    errors = (features @ weights.T).softmax(2)
    errors = errors - torch.eye(classes, len(weights), device=features.device, dtype=features.dtype)[:, None]
    return torch.einsum("kbr,kbd->rd", errors, features) / (classes * images)


def centre_distances(features: Tensor) -> Tensor:
    """Squared distance of each image's features to their class mean.

    Args:
        features: (K, M, D).

    Returns:
        (K, M): ||features_m - mean_m features||^2.

    >>> centre_distances(torch.tensor([[[0.0], [2.0]]]))  # the mean is 1
    tensor([[1., 1.]])
    """
    return (features - features.mean(1, keepdim=True)).square().sum(2)


def quadratic_centralization(distances: Tensor) -> Tensor:
    """Class centralization as in the authors' code (IID, CVPR 2024, arXiv 2404.00563, section 3.2).

    Args:
        distances: (K, M) squared distances of synthetic features to their class mean, see :func:`centre_distances`,
            under a network trained on real images.

    Returns:
        (K,): sum_m d_m.

    >>> quadratic_centralization(torch.tensor([[1.0, 2.0]]))
    tensor([3.])
    """
    return distances.sum(1)


def exponential_centralization(distances: Tensor, beta: float) -> Tensor:
    """Class centralization as in the paper, with alpha = 1: images closer than ln(beta) to the mean add nothing.

    Args:
        distances: (K, M), as for :func:`quadratic_centralization`.

    Returns:
        (K,): sum_m max(0, exp(d_m) - beta).

    >>> exponential_centralization(torch.zeros(1, 3), 2.0)  # exp(0) lies below beta: nothing to do
    tensor([0.])
    """
    return (distances.exp() - beta).clamp_min(0).sum(1)


def local_covariance(features: Tensor) -> Tensor:
    """Covariance of local features about the class mean at each position (IID, section 3.3).

    Args:
        features: (K, B, C, P) local features: C channels at each of P positions.

    Returns:
        (K, C, C): mean_b (F_b - mu)(F_b - mu)^T with mu = mean_b F_b of shape (C, P).

    >>> local_covariance(torch.tensor([[[[0.0]], [[2.0]]]]))  # two images, one channel, one position
    tensor([[[1.]]])
    """
    centred = features - features.mean(1, keepdim=True)
    rows = centred.transpose(1, 2).flatten(2)  # (K, C, B*P)
    return rows @ rows.transpose(1, 2) / features.shape[1]


def covariance_matching(real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared Frobenius distance between two classes' local covariances (IID, section 3.3).

    Args:
        real: (K, C, C) covariance of the real images, see :func:`local_covariance`.
        synthetic: (K, C, C) covariance of the synthetic images.

    Returns:
        (K,): ||real - synthetic||_F^2.

    >>> covariance_matching(torch.eye(2)[None], torch.zeros(1, 2, 2))
    tensor([2.])
    """
    return (real - synthetic).square().sum((1, 2))


def spread(features: Tensor) -> Tensor:
    """Mean squared distance to the class mean: the unit in which the relative scale measures distances.

    Args:
        features: (K, B, D).

    Returns:
        (K,): mean_b ||features_b - mean_b features||^2. Exactly 0 if it is at most a millionth of
        ||mean_b features||^2: that much is rounding, in a class of equal images.

    >>> spread(torch.tensor([[[0.0], [2.0]]]))
    tensor([1.])
    """
    value = centre_distances(features).mean(1)
    return torch.where(value > 1e-6 * features.mean(1).square().sum(1), value, 0.0)


def in_units(values: Tensor, unit: Tensor) -> Tensor:
    """``values / unit``, both (K,); 0 where the unit is 0, because a class of equal images has nothing to match.

    >>> in_units(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0]))
    tensor([1.5000, 0.0000])
    """
    return torch.where(unit > 0, values / unit.clamp_min(torch.finfo(unit.dtype).tiny), 0.0)
