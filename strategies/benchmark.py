"""The Avalanche benchmark of a class-incremental stream."""

from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset

from iid_cl.data.images import ImageDataset, LabelledImages
from iid_cl.data.tensors import TensorImages


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
