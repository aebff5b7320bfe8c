"""The Avalanche benchmark of a class-incremental stream."""

from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset

from iid_cl.data.images import ImageDataset, LabelledImages
from iid_cl.data.streams import Stream
from iid_cl.data.tensors import TensorImages


def make_benchmark(dataset: ImageDataset, stream: Stream | list[list[int]]) -> CLScenario:
    """An Avalanche benchmark of (x, y) samples with a ``train`` and a ``test`` stream.

    Args:
        dataset: the images.
        stream: of the data set, or the classes of each experience.

    Raw samples are uint8 tensors; one transform, the normalisation, serves training and evaluation.
    """
    stream = stream if isinstance(stream, Stream) else Stream.of(dataset, stream)
    normalise = dataset.normalization.apply

    def experience(part: LabelledImages) -> AvalancheDataset:
        samples = TensorImages(part.images, part.labels)
        return as_classification_dataset(samples, transform_groups={"train": normalise, "eval": normalise})

    return with_classes_timeline(
        benchmark_from_datasets(
            train=[experience(dataset.train.take(rows)) for rows in stream.train],
            test=[experience(dataset.test.take(rows)) for rows in stream.test],
        )
    )
