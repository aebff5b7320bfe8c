"""Data sets by address: what every kind shares, ``npz:FILE`` and ``python:MODULE:FUNCTION``."""

import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import numpy as np

from iid_cl.config.datasets import DatasetInfo
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.given import labelled
from iid_cl.data.images import ALL_AUGMENTATIONS, GREY, IMAGENET, ImageDataset, LabelledImages
from iid_cl.errors import UserError, shown

# as MedMNIST names them, and Keras
NPZ_NAMES = (("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test"))


def place_of(config: StreamConfig) -> str:
    """What stands behind the kind in an address."""
    return config.dataset.partition(":")[2]


def make_dataset(
    config: StreamConfig, train: LabelledImages, test: LabelledImages, names: Sequence[str] | None
) -> ImageDataset:
    """A data set like that of an image folder: sorted by class, in their order within each, with its normalisation.

    Args:
        config: names the data set.
        train: training images.
        test: test images.
        names: of the classes; None: their numbers.

    Raises:
        UserError: sizes differ, or a class has no training image or no name.
    """
    what = f"stream.dataset: {config.dataset!r}"
    if not len(train) or not len(test):
        raise UserError(f"{what} has no {'test' if len(train) else 'training'} images.")
    shape, test_shape = tuple(train.images.shape[1:]), tuple(test.images.shape[1:])
    if shape != test_shape:
        raise UserError(f"{what} has training images of shape {shape} but test images of shape {test_shape}.")
    found = train.labels.unique().tolist()
    count = found[-1] + 1 if names is None else len(names)
    if found != list(range(count)):
        odd = next((c for c in range(count) if c not in found), found[-1])
        problem = "has no training images" if odd < count else f"is none of its {count} class names"
        raise UserError(f"{what}: class {odd} {problem}; number the classes from 0 on without gaps.")
    if (beyond := int(test.labels.max())) >= count or int(test.labels.min()) < 0:
        raise UserError(f"{what}: its test images name class {beyond}, which has no training images.")
    normalization = GREY if shape[0] == 1 else IMAGENET
    texts = tuple(map(str, range(count) if names is None else names))
    return ImageDataset(config.dataset, _sorted(train), _sorted(test), texts, normalization, ALL_AUGMENTATIONS)


def _sorted(part: LabelledImages) -> LabelledImages:
    order = part.labels.argsort(stable=True)
    return LabelledImages(part.images[order], part.labels[order])


def load_npz(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """Arrays of a NumPy file; nothing in it is unpickled. See :data:`NPZ_NAMES` for their names."""
    path = root / place_of(config)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > (available := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
            raise UserError(f"{path}: takes {size:,} bytes, more than the {available:,} of this machine's memory.")
        with np.load(path, allow_pickle=False) as arrays:
            names = next((names for names in NPZ_NAMES if set(names) <= set(arrays.files)), None)
            if names is None:
                wanted = " or ".join(", ".join(names) for names in NPZ_NAMES)
                raise UserError(f"{path}: has the arrays {', '.join(arrays.files)}; name them {wanted}.")
            x, y, test_x, test_y = (arrays[name] for name in names)
            classes = arrays["class_names"].tolist() if "class_names" in arrays.files else None
    except FileNotFoundError:
        raise UserError(f"stream.dataset: {path}: no such file; a relative path begins at --data-root.") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is no readable .npz file of plain arrays ({error}).") from None
    return make_dataset(config, _of_arrays(path, x, y), _of_arrays(path, test_x, test_y), classes)


def _of_arrays(path: Path, images: Any, labels: Any) -> LabelledImages:
    """Images of any usual layout: grey ones without channels, or the channels last."""
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = np.moveaxis(images, -1, 1)
    try:
        return LabelledImages(images, labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def load_python(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """What a function of the user's returns.

    It takes no arguments. It returns training and test set, and perhaps the class names: as a tuple, or as a mapping
    with the keys ``train``, ``test`` and ``class_names``. A set is what :func:`iid_cl.data.given.labelled` takes: a
    PyTorch data set, or a pair of images and labels.
    """
    module, _, name = place_of(config).partition(":")
    what = f"stream.dataset: {config.dataset!r}"
    sys.path.insert(0, str(root.resolve()))
    invalidate_caches()  # the module may have been written just now
    try:
        given = getattr(import_module(module), name)()
    except UserError:
        raise
    except Exception as error:  # the user's own program, which may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{what} cannot be loaded ({reason}); it must read python:MODULE:FUNCTION.") from error
    finally:
        sys.path.remove(str(root.resolve()))
    if isinstance(given, Mapping):
        given = (given.get("train"), given.get("test"), given.get("class_names"))
    if not isinstance(given, tuple | list) or not 2 <= len(given) <= 3:
        raise UserError(f"{what} returned {shown(given)}; return (train, test) or (train, test, class_names).")
    train, test = (_of_program(what, part) for part in given[:2])
    return make_dataset(config, train, test, given[2] if len(given) == 3 else None)


def _of_program(what: str, part: Any) -> LabelledImages:
    try:
        return labelled(*part) if isinstance(part, tuple | list) and len(part) == 2 else labelled(part)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
