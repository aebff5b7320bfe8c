"""Class-incremental streams: which classes arrive when, and the Avalanche benchmark made of them."""

import numpy as np
from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.images import ImageDataset, LabelledImages
from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError


def class_order(config: StreamConfig, classes: int, seed: int) -> list[list[int]]:
    """The classes of each experience.

    Without explicit lists, a permutation drawn as in the DM paper's protocol (``numpy`` seeded with
    ``order_seed``, or with ``seed``) is cut into ``experiences`` parts of equal size, the first ones one class
    larger where it does not divide.

    Args:
        config: the stream.
        classes: number of classes of the data set.
        seed: the run's seed.

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

    def experience(images: LabelledImages, classes: list[int]) -> AvalancheDataset:
        part = images.of_classes(classes)
        return as_classification_dataset(TensorImages(part.images, part.labels), transform_groups=_transforms(dataset))

    return with_classes_timeline(
        benchmark_from_datasets(
            train=[experience(dataset.train, classes) for classes in order],
            test=[experience(dataset.test, classes) for classes in order],
        )
    )


def _transforms(dataset: ImageDataset) -> dict[str, object]:
    return {"train": dataset.normalization.apply, "eval": dataset.normalization.apply}
