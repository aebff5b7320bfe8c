"""Images with class indices as programs give them: tensors, arrays, PIL pictures, PyTorch data sets."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from iid_cl.data.accept import check_shape
from iid_cl.data.images import LabelledImages
from iid_cl.data.mapped import Mapped
from iid_cl.data.pictures import eight_bits
from iid_cl.errors import UserError

GIVE = "give images and labels, or a data set of (image, label)"


def labelled(images: Any, labels: Any = None) -> LabelledImages:
    """Labelled images of what a program gives.

    Args:
        images: uint8, or floats from 0 to 1, as a tensor or array (N, C, H, W), or as a sequence of tensors and arrays
            (C, H, W) or PIL pictures. Or, with labels, a PyTorch data set of (image, label, ...) or labelled images.
        labels: class indices (N,), unless ``images`` brings them.

    Raises:
        UserError: labels are missing or given twice, or images and labels are unusable.

    >>> labelled([Image.new("L", (2, 1), 7)], [3])
    LabelledImages(images=tensor([[[[7, 7]]]], dtype=torch.uint8), labels=tensor([3]))
    """
    brings = isinstance(images, LabelledImages | Dataset)
    if brings != (labels is None):
        problem = "are given, but the images bring theirs" if brings else "are missing"
        raise UserError(f"labels: {problem}; {GIVE}.")
    if isinstance(images, LabelledImages):
        return images
    if isinstance(images, Dataset):
        images, labels = _read(images)
    return LabelledImages(_plain(images), labels)


def _read(data: Dataset[Any]) -> tuple[list[Any], list[int]]:
    """Images and labels of all samples."""
    images, labels = [], []
    for number, sample in enumerate(_samples(data)):
        if not isinstance(sample, tuple | list) or len(sample) < 2:
            raise UserError(f"images: sample {number} of the data set is a {type(sample).__name__}; {GIVE}.")
        label = sample[1]
        whole = int(label) if isinstance(label, Tensor | np.ndarray) and label.shape == () else label
        if isinstance(whole, bool) or not isinstance(whole, int | np.integer):
            raise UserError(f"labels: that of sample {number} is a {type(label).__name__}; give a class index.")
        images.append(sample[0])
        labels.append(int(whole))
    if not images:
        raise UserError("images: the data set holds no samples.")
    return images, labels


def _samples(data: Any) -> Iterable[Any]:
    """The samples of a data set, which need not end by itself where its length is known."""
    return data if isinstance(data, IterableDataset) else (data[index] for index in range(len(data)))


def _plain(images: Any) -> Any:
    """The images: PIL pictures as arrays (C, H, W), and bytes that NumPy has mapped as they are, on disk."""
    if isinstance(images, np.memmap) and _lies_on_disk(images):
        check_shape(images.shape, "images")
        return Mapped.of_array(images)
    if not isinstance(images, Sequence) or not any(isinstance(image, Image.Image) for image in images):
        return images
    return [_of_picture(image) if isinstance(image, Image.Image) else image for image in images]


def _lies_on_disk(images: "np.memmap[Any, Any]") -> bool:
    mapped = images._mmap is not None  # type: ignore[attr-defined]  # not what was computed from a mapped array
    return mapped and images.dtype == np.uint8 and min(images.strides, default=0) >= 0


def _of_picture(picture: Image.Image) -> np.ndarray[Any, Any]:
    array = np.asarray(eight_bits(picture))
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
