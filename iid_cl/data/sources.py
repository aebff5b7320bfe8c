"""Data sets by address: what every kind shares, ``npz:FILE`` and ``python:MODULE:FUNCTION``."""

import math
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import numpy as np

from iid_cl.config.datasets import DatasetInfo
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.cache import belongs_on_disk
from iid_cl.data.given import labelled
from iid_cl.data.images import ALL_AUGMENTATIONS, GREY, IMAGENET, ImageDataset, LabelledImages
from iid_cl.data.mapped import in_memory
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
    train, test = (_sorted(part, config.cache == "never") for part in (train, test))
    return ImageDataset(config.dataset, train, test, texts, normalization, ALL_AUGMENTATIONS)


def _sorted(part: LabelledImages, read: bool) -> LabelledImages:
    order = part.labels.argsort(stable=True)
    return LabelledImages(in_memory(part.images[order]) if read else part.images[order], part.labels[order])


def load_npz(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """Arrays of a NumPy file; nothing in it is unpickled. See :data:`NPZ_NAMES` for their names."""
    path = root / place_of(config)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = next((names for names in NPZ_NAMES if set(names) <= set(arrays.files)), None)
            if names is None:
                wanted = " or ".join(", ".join(names) for names in NPZ_NAMES)
                raise UserError(f"{path}: has the arrays {', '.join(arrays.files)}; name them {wanted}.")
            members = {name: arrays.zip.getinfo(f"{name}.npy") for name in names}
            on_disk = {
                name: array
                for name in (names[0], names[2])
                if (array := _lying(path, members[name])) is not None and belongs_on_disk(config.cache, _size(array))
            }
            size = sum(member.file_size for name, member in members.items() if name not in on_disk)
            if size > (available := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
                raise UserError(
                    f"{path}: takes {size:,} bytes, more than the {available:,} of this machine's memory; write uint8 "
                    "images with numpy.savez, which leaves them uncompressed, and they stay on disk."
                )
            x, y, test_x, test_y = (on_disk[name] if name in on_disk else arrays[name] for name in names)
            classes = arrays["class_names"].tolist() if "class_names" in arrays.files else None
    except FileNotFoundError:
        raise UserError(f"stream.dataset: {path}: no such file; a relative path begins at --data-root.") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is no readable .npz file of plain arrays ({error}).") from None
    return make_dataset(config, _of_arrays(path, x, y), _of_arrays(path, test_x, test_y), classes)


def _size(array: np.ndarray[Any, Any]) -> Callable[[], int]:
    return lambda: array.nbytes


def _lying(path: Path, member: zipfile.ZipInfo) -> "np.memmap[Any, Any] | None":
    """A uint8 array that lies in the file as it is, mapped; None for one that is compressed, or of another type."""
    if member.compress_type != zipfile.ZIP_STORED:
        return None
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)  # two lengths, then the name and what else belongs to the header
        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
        if np.lib.format.read_magic(file) != (1, 0):
            return None
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.uint8 or fortran or not math.prod(shape):
            return None
        return np.memmap(file, dtype, "r", file.tell(), shape)


def _of_arrays(path: Path, images: Any, labels: Any) -> LabelledImages:
    """Images of any usual layout: grey ones without channels, or the channels last."""
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = np.moveaxis(images, -1, 1)
    try:
        return labelled(images, labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels)
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
