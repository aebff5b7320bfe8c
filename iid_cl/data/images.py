"""Images as uint8 tensors, the representation that data sets, memories and the engine share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
from torch import Tensor

from iid_cl.data.accept import as_images, as_labels
from iid_cl.errors import UserError
from iid_cl.seeding import make_generator


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of images scaled to [0, 1].

    >>> grey = Normalization(mean=(0.5,), std=(0.25,))
    >>> grey.apply(torch.tensor([[[0, 255]]], dtype=torch.uint8))  # black and white, (C, H, W)
    tensor([[[-2.,  2.]]])
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: Tensor) -> Tensor:
        """uint8 images (..., C, H, W) as normalised float32."""
        mean, std = _columns(self, images.device)
        return images.to(torch.float32).div_(255).sub_(mean).div_(std)

    def invert(self, images: Tensor) -> Tensor:
        """The nearest uint8 images to normalised ones (..., C, H, W); values outside black and white are clamped."""
        mean, std = _columns(self, images.device)
        return ((images * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)

    def limits(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """The normalised values of black and white, each (C, 1, 1)."""
        mean, std = _columns(self, torch.device(device))
        return -mean / std, (1 - mean) / std


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREY = Normalization((0.5,), (0.25,))
ALL_AUGMENTATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")


@lru_cache
def _columns(normalization: Normalization, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, each (C, 1, 1); cached, because a loader normalises samples one by one."""
    make = partial(torch.tensor, device=device, dtype=torch.float32)
    return make(normalization.mean).view(-1, 1, 1), make(normalization.std).view(-1, 1, 1)


@dataclass(frozen=True)
class LabelledImages:
    """Images (N, C, H, W) as uint8 with their class indices (N,) as int64.

    They are made of what :func:`iid_cl.data.accept.as_images` and :func:`iid_cl.data.accept.as_labels` accept, such as
    arrays, and floats from 0 to 1.

    Raises:
        UserError: images or class indices of another kind, or not equally many.

    >>> LabelledImages(torch.tensor([[[[0.0, 0.2, 1.0]]]]), [7])
    LabelledImages(images=tensor([[[[  0,  51, 255]]]], dtype=torch.uint8), labels=tensor([7]))
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        images = as_images(self.images)
        object.__setattr__(self, "images", images)  # frozen for everyone else
        object.__setattr__(self, "labels", as_labels(self.labels, len(images)))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> "LabelledImages":
        """The images of these rows: numbers (n,), or a mask (N,)."""
        return LabelledImages(self.images[rows], self.labels[rows])

    def of_classes(self, classes: Sequence[int]) -> "LabelledImages":
        """The images of some classes, in the same order."""
        return self.take(torch.isin(self.labels, torch.tensor(list(classes))))

    def by_class(self) -> dict[int, Tensor]:
        """Images (n_c, C, H, W) by class index, in ascending order."""
        return by_label(self.images, self.labels)


def by_label(rows: Tensor, labels: Tensor) -> dict[int, Tensor]:
    """The rows (n_c, ...) of each label, labels ascending, rows in their order; views where the labels ascend already.

    >>> by_label(torch.tensor([10, 11, 12]), torch.tensor([7, 2, 7]))
    {2: tensor([11]), 7: tensor([10, 12])}
    """
    if bool((labels.diff() < 0).any()):
        order = labels.argsort(stable=True)
        rows, labels = rows[order], labels[order]
    found, counts = labels.unique_consecutive(return_counts=True)
    return dict(zip(found.tolist(), rows.split(counts.tolist()), strict=True)) if len(labels) else {}


@dataclass(frozen=True)
class Domain:
    """A data set that was joined with others: its name, and its numbers of training and test images."""

    name: str
    train: int
    test: int


@dataclass(frozen=True)
class ImageDataset:
    """A classification data set in memory, with its class names, normalisation and suitable augmentations.

    ``remarks`` are sentences about how it was read, for whoever uses it. ``domains`` are the data sets that it was
    joined from, one after the other.
    """

    name: str
    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    normalization: Normalization
    augmentations: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    domains: tuple[Domain, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def validation_split(dataset: ImageDataset, fraction: float, generator: torch.Generator) -> ImageDataset:
    """Replaces the test set by ``fraction`` of each class's training images, which leave the training set.

    Raises:
        UserError: a class would have no image on one side.
    """
    test_rows = torch.zeros(len(dataset.train), dtype=torch.bool)
    for label, name in enumerate(dataset.class_names):
        members = (dataset.train.labels == label).nonzero().squeeze(1)
        count = round(len(members) * fraction)
        if not 0 < count < len(members):
            raise UserError(
                f"stream.validation: {fraction} of the {len(members)} images of class {name!r} leaves one "
                "side empty; use another fraction."
            )
        test_rows[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return replace(dataset, train=dataset.train.take(~test_rows), test=dataset.train.take(test_rows))


def first_classes(dataset: ImageDataset, count: int) -> ImageDataset:
    """The data set's first ``count`` classes; its name says so.

    Raises:
        UserError: it has fewer classes.
    """
    available = len(dataset.class_names)
    if count > available:
        raise UserError(
            f"stream.first_classes: {count} is more than the {available} classes of {dataset.name!r}; "
            f"use at most {available}."
        )
    return replace(
        dataset,
        name=f"{dataset.name}, first {count} classes",
        train=dataset.train.of_classes(range(count)),
        test=dataset.test.of_classes(range(count)),
        class_names=dataset.class_names[:count],
    )


def limit_images(dataset: ImageDataset, train: int | None, test: int | None) -> ImageDataset:
    """At most ``train`` and ``test`` images per class, the same for every seed; the data set's name says so."""
    limits = [f"{count} {part}" for count, part in ((train, "training"), (test, "evaluation")) if count is not None]
    return replace(
        dataset,
        name=f"{dataset.name}, at most {' and '.join(limits)} images per class",
        train=_limited(dataset.train, train, "train"),
        test=_limited(dataset.test, test, "test"),
    )


def _limited(images: LabelledImages, count: int | None, part: str) -> LabelledImages:
    """``count`` images of each class, by a fixed random draw, in the same order."""
    if count is None:
        return images
    order = torch.randperm(len(images), generator=make_generator(0, "limit", part))
    rows = torch.zeros(len(images), dtype=torch.bool)
    for label in images.labels.unique():
        rows[order[images.labels[order] == label][:count]] = True
    return images.take(rows)
