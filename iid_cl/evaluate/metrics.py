"""Continual-learning metrics of an accuracy matrix.

``matrix[t][j]`` is the accuracy, in [0, 1], on the test images of experience ``j`` after training on experience ``t``,
for ``j <= t``; ``sizes[j]`` is the number of those images. Joint training has no sequence: its matrix is one row over
all experiences. A metric that a matrix does not define is None.

An accuracy over several experiences gives every image the same weight. If ``task`` is in its name, it gives every
experience the same weight. The two differ if experiences have test sets of different sizes.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import TypedDict

Matrix = Sequence[Sequence[float]]


class Summary(TypedDict):
    """All metrics of a whole sequence.

    >>> round(summary([[[0.9], [0.6, 0.8]]], [100, 300])["final_accuracy"], 3)  # (60 + 240) of 400 images
    0.75
    """

    final_accuracy: float
    final_task_accuracy: float
    average_accuracy: float | None
    forgetting: float | None
    backward_transfer: float | None


def seen_accuracy(row: Sequence[float], sizes: Sequence[int]) -> float:
    """Accuracy over all test images of the experiences in ``row``.

    >>> seen_accuracy([0.6, 0.8], [100, 300])  # (60 + 240) of 400 images
    0.75
    """
    weights = sizes[: len(row)]
    return sum(a * n for a, n in zip(row, weights, strict=True)) / sum(weights)


def final_accuracy(matrix: Matrix, sizes: Sequence[int]) -> float:
    """Accuracy over all classes seen, after the last experience.

    >>> final_accuracy([[0.9], [0.6, 0.8]], [100, 300])
    0.75
    """
    return seen_accuracy(matrix[-1], sizes)


def final_task_accuracy(matrix: Matrix) -> float:
    """Mean over experiences of the accuracy after the last one (ACC of Lopez-Paz & Ranzato, NIPS 2017).

    >>> final_task_accuracy([[0.9], [0.5, 1.0]])
    0.75
    """
    return sum(matrix[-1]) / len(matrix[-1])


def average_incremental_accuracy(matrix: Matrix, sizes: Sequence[int]) -> float | None:
    """Mean over experiences of the accuracy over all classes seen so far (iCaRL, CVPR 2017).

    >>> average_incremental_accuracy([[1.0], [0.5, 0.5]], [100, 100])
    0.75
    """
    if _without_sequence(matrix):
        return None
    return sum(seen_accuracy(row, sizes) for row in matrix) / len(matrix)


def forgetting(matrix: Matrix) -> float | None:
    """Mean over earlier experiences of best accuracy minus final accuracy (Chaudhry et al., ECCV 2018).

    The best accuracy is taken over all evaluations but the last. None for a single experience.

    >>> forgetting([[1.0], [0.75, 1.0], [0.5, 0.75, 1.0]])  # mean of 0.5 and 0.25
    0.375
    """
    last = len(matrix) - 1
    drops = [max(matrix[t][j] for t in range(j, last)) - matrix[last][j] for j in range(last)]
    return sum(drops) / len(drops) if drops else None


def backward_transfer(matrix: Matrix) -> float | None:
    """Mean over earlier experiences of final accuracy minus accuracy when just learned (BWT, Lopez-Paz & Ranzato).

    Negative if later experiences made it worse. None for a single experience.

    >>> backward_transfer([[1.0], [0.75, 1.0], [0.5, 0.75, 1.0]])
    -0.375
    """
    last = len(matrix) - 1
    gains = [matrix[last][j] - matrix[j][j] for j in range(last)]
    return sum(gains) / len(gains) if gains else None


def summary(matrices: Sequence[Matrix], sizes: Sequence[int]) -> Summary:
    """All metrics, each as the mean over learners that went through the same sequence.

    >>> summary([[[1.0], [0.5, 1.0]]], [100, 100])["forgetting"]
    0.5
    """
    return {
        "final_accuracy": mean(final_accuracy(matrix, sizes) for matrix in matrices),
        "final_task_accuracy": mean(final_task_accuracy(matrix) for matrix in matrices),
        "average_accuracy": _mean(lambda matrix: average_incremental_accuracy(matrix, sizes), matrices),
        "forgetting": _mean(forgetting, matrices),
        "backward_transfer": _mean(backward_transfer, matrices),
    }


def mean_row(rows: Sequence[Sequence[float]]) -> list[float]:
    """The mean over learners, position by position.

    >>> mean_row([[0.5, 1.0], [1.0, 0.5]])
    [0.75, 0.75]
    """
    return [mean(column) for column in zip(*rows, strict=True)]


def mean_by_class(accuracies: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The mean over learners, class by class; all must have been tested on the same classes.

    >>> mean_by_class([{3: 0.5}, {3: 1.0}])
    {3: 0.75}
    """
    return {label: mean(learner[label] for learner in accuracies) for label in accuracies[0]}


def _without_sequence(matrix: Matrix) -> bool:
    return len(matrix[0]) > 1  # in a sequence the first row has a single experience


def _mean(metric: Callable[[Matrix], float | None], matrices: Sequence[Matrix]) -> float | None:
    values = [value for value in map(metric, matrices) if value is not None]
    return mean(values) if values else None
