"""DD-Ranking's two scores of a distilled set (arXiv 2505.13300), which ask what the images themselves are worth.

Both lie between 0 and 1. Higher is better; equal accuracies give about 0.27.
"""

import math
from dataclasses import dataclass


def label_robust_score(improvement: float, recovery: float, weight: float = 0.5) -> float:
    """LRS: the lead over random images, and how little of the real data's accuracy is lost with hard labels.

    Args:
        improvement: accuracy on the distilled images minus that on as many random real images, both trained alike.
        recovery: accuracy on all real images minus that on the distilled ones, both with hard labels. Lower is better.
        weight: w of the improvement in alpha = w * improvement - (1 - w) * recovery.

    Returns:
        (exp(alpha) - exp(-1)) / (exp(1) - exp(-1)).

    >>> label_robust_score(1.0, -1.0), label_robust_score(-1.0, 1.0)
    (1.0, 0.0)
    """
    return _scaled(weight * improvement - (1 - weight) * recovery)


def augmentation_robust_score(augmented: float, plain: float, weight: float = 0.5) -> float:
    """ARS: the lead over as many random real images, with data augmentation and without it.

    Args:
        augmented: the lead in accuracy where both are trained with augmentation.
        plain: the lead without it.
        weight: gamma in beta = gamma * augmented + (1 - gamma) * plain.

    Returns:
        (exp(beta) - exp(-1)) / (exp(1) - exp(-1)).

    >>> augmentation_robust_score(1.0, 1.0)
    1.0
    """
    return _scaled(weight * augmented + (1 - weight) * plain)


def _scaled(value: float) -> float:
    least, most = math.exp(-1), math.exp(1)
    return (math.exp(value) - least) / (most - least)


@dataclass(frozen=True)
class Ranking:
    """Mean accuracies in [0, 1] that the scores are made of.

    >>> ranking = Ranking(distilled=0.5, distilled_plain=0.4, random=0.3, random_plain=0.3, real=0.6)
    >>> round(ranking.improvement, 2), round(ranking.recovery, 2)
    (0.2, 0.1)

    Attributes:
        distilled: on the memory, with augmentation.
        distilled_plain: on the memory, without augmentation.
        random: on as many random real images, with augmentation.
        random_plain: on these, without augmentation.
        real: on all real images of the memory's classes, with augmentation.
    """

    distilled: float
    distilled_plain: float
    random: float
    random_plain: float
    real: float

    @property
    def improvement(self) -> float:
        """IOR: the lead over random images."""
        return self.distilled - self.random

    @property
    def recovery(self) -> float:
        """HLR: what is missing to all real images."""
        return self.real - self.distilled

    @property
    def label_robust(self) -> float:
        """LRS with equal weights."""
        return label_robust_score(self.improvement, self.recovery)

    @property
    def augmentation_robust(self) -> float:
        """ARS with equal weights."""
        return augmentation_robust_score(self.improvement, self.distilled_plain - self.random_plain)
