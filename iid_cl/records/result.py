"""The metrics of one run, which tables, comparisons and reports read."""

from dataclasses import dataclass, field

from iid_cl.config.methods import MethodName


@dataclass(frozen=True)
class Result:
    """The metrics of a run. Accuracies are in [0, 1]; see :mod:`iid_cl.evaluate.metrics` for definitions.

    ``average_accuracy``, ``forgetting`` and ``backward_transfer`` are None for joint training, the last two also for a
    single experience. With several networks, every value is their mean.

    Attributes:
        class_accuracies: after each experience, the accuracy of each class seen (in JSON, its index is text).
        network_matrices: the matrix of each network.
        test_sizes: test images of each experience, the weights of ``final_accuracy`` and ``average_accuracy``.
        train_seconds: sum over networks.
        updates: mini-batches trained on, over all experiences and networks.
        choice: what `auto` keeps, e.g. ``distilled as JPEG``; None for other methods.
    """

    method: MethodName
    mode: str
    seed: int
    class_order: list[list[int]]
    matrix: list[list[float]]
    final_accuracy: float
    average_accuracy: float | None
    forgetting: float | None
    memory_images: int
    memory_bytes: int
    condense_seconds: float
    train_seconds: float
    total_seconds: float
    final_task_accuracy: float | None = None
    backward_transfer: float | None = None
    class_accuracies: list[dict[int, float]] = field(default_factory=list)
    network_matrices: list[list[list[float]]] = field(default_factory=list)
    test_sizes: list[int] = field(default_factory=list)
    updates: int = 0
    choice: str | None = None
