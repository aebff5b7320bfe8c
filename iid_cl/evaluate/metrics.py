"""Continual-learning metrics of an accuracy matrix.

``matrix[t][j]`` is the accuracy on the test images of experience ``j`` after training on experience ``t``,
for ``j <= t``; ``sizes[j]`` is the number of those images.
"""

from collections.abc import Sequence

Matrix = Sequence[Sequence[float]]


def seen_accuracy(row: Sequence[float], sizes: Sequence[int]) -> float:
    """Accuracy over all test images of the experiences in ``row``."""
    weights = sizes[: len(row)]
    return sum(a * n for a, n in zip(row, weights, strict=True)) / sum(weights)


def final_accuracy(matrix: Matrix, sizes: Sequence[int]) -> float:
    """Accuracy over all classes seen, after the last experience."""
    return seen_accuracy(matrix[-1], sizes)


def average_incremental_accuracy(matrix: Matrix, sizes: Sequence[int]) -> float:
    """Mean over experiences of the accuracy over the classes seen until then (iCaRL, CVPR 2017)."""
    return sum(seen_accuracy(row, sizes) for row in matrix) / len(matrix)


def forgetting(matrix: Matrix) -> float:
    """Mean over earlier experiences of best accuracy so far minus final accuracy (Chaudhry et al., ECCV 2018).

    The best is taken over the evaluations before the last one. 0 for a single experience.
    """
    last = len(matrix) - 1
    drops = [max(matrix[t][j] for t in range(j, last)) - matrix[last][j] for j in range(last)]
    return sum(drops) / len(drops) if drops else 0.0
