"""Class-incremental streams: the classes of each experience, and the Avalanche benchmark."""

import numpy as np
from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.images import ImageDataset, LabelledImages
from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError


def class_order(config: StreamConfig, classes: int, seed: int) -> list[list[int]]:
    """The classes of each experience.

    Without explicit lists, a permutation of the classes is cut into ``experiences`` parts. Their sizes differ by at
    most one class, the larger parts first. The permutation is drawn as in the DM paper's protocol, by ``numpy`` seeded
    with ``order_seed``, or with the run's ``seed``.

    Raises:
        UserError: more experiences than classes, or an explicit class that does not exist.
    """
    if config.classes is not None:
        unknown = [c for group in config.classes for c in group if c >= classes]
        if unknown:
            raise UserError(
                f"stream.classes: {unknown[0]} is no class of {config.dataset!r}; its classes are 0 to {classes - 1}."
            )
        return [list(group) for group in config.classes]
    if config.experiences > classes:
        raise UserError(
            f"stream.experiences: {config.experiences} experiences need as many classes, but {config.dataset!r} "
            f"has {classes}; use at most {classes}."
        )
    order = np.random.RandomState(seed if config.order_seed is None else config.order_seed).permutation(classes)
    return [part.tolist() for part in np.array_split(order, config.experiences)]


def make_benchmark(dataset: ImageDataset, order: list[list[int]]) -> CLScenario:
    """An Avalanche benchmark of (x, y) samples with a ``train`` and a ``test`` stream.

    Raw samples are uint8 tensors; one transform, the normalisation, serves training and evaluation.
    """
    normalise = dataset.normalization.apply

    def experience(images: LabelledImages, classes: list[int]) -> AvalancheDataset:
        part = images.of_classes(classes)
        samples = TensorImages(part.images, part.labels)
        return as_classification_dataset(samples, transform_groups={"train": normalise, "eval": normalise})

    return with_classes_timeline(
        benchmark_from_datasets(
            train=[experience(dataset.train, classes) for classes in order],
            test=[experience(dataset.test, classes) for classes in order],
        )
    )
