"""CIFAR-10 and CIFAR-100 in the layouts that people have them in, not only the one that torchvision knows by its MD5.

Below the data root, in this order: Python's files in ``cifar-10-batches-py``, binary files in ``cifar-10-batches-bin``,
image folders in ``cifar10``; for CIFAR-100 in ``cifar-100-python``, ``cifar-100-binary`` and ``cifar100``. Where the
files are torchvision's own, or are none at all, torchvision reads or downloads them.
"""

from pathlib import Path
from pickle import Unpickler, UnpicklingError  # restricted to arrays, see Plain
from typing import Any

import numpy as np
import torch
from torchvision import datasets

from iid_cl.config.datasets import DatasetInfo
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.datasets import augmentations, load_torchvision
from iid_cl.data.folders import list_class_folders, load_files
from iid_cl.data.images import ImageDataset, LabelledImages, Normalization
from iid_cl.data.places import cache_folder
from iid_cl.errors import UserError

PIXELS = 3 * 32 * 32
LARGEST = 2**29  # bytes of a file
PARTS = {
    "cifar10": (tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",)),
    "cifar100": (("train",), ("test",)),
}
FOLDERS = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-batches-bin", "cifar10"),
    "cifar100": ("cifar-100-python", "cifar-100-binary", "cifar100"),
}
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_cifar(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """CIFAR in any of its layouts.

    Raises:
        UserError: damaged files, or none and no download.
    """
    batches, binary, pictures = (root / folder for folder in FOLDERS[info.name])
    train_names, test_names = PARTS[info.name]
    if _own(root, info):
        return load_torchvision(root, config, info)
    if all((batches / name).is_file() for name in (*train_names, *test_names)):
        parts = [_joined([_of_python(batches / name) for name in names]) for names in (train_names, test_names)]
        return _dataset(info, parts, _python_names(batches))
    if all((binary / f"{name}.bin").is_file() for name in (*train_names, *test_names)):
        skipped = int(info.name == "cifar100")  # the coarse label
        parts = [
            _joined([_of_binary(binary / f"{name}.bin", skipped) for name in names])
            for names in (train_names, test_names)
        ]
        return _dataset(info, parts, _binary_names(binary))
    if (pictures / "train").is_dir():
        names, train = list_class_folders(pictures / "train")
        _, test = list_class_folders(pictures / "test", names)
        decoded = [load_files(files, None, cache_folder(), config.cache) for files in (train, test)]
        parts = [LabelledImages(part.images, part.labels) for part in decoded]
        return _dataset(info, parts, tuple(names))
    return load_torchvision(root, config, info)


def _own(root: Path, info: DatasetInfo) -> bool:
    """Whether the files are those that torchvision knows."""
    try:
        getattr(datasets, info.source)(root, train=False, download=False)
    except (RuntimeError, ValueError, OSError, EOFError, KeyError, TypeError):
        return False
    return True


def _dataset(info: DatasetInfo, parts: list[LabelledImages], names: tuple[str, ...] | None) -> ImageDataset:
    count = 10 if info.name == "cifar10" else 100
    if names is None:
        names = CIFAR10 if info.name == "cifar10" else tuple(map(str, range(count)))
    for part in parts:
        if part.images.shape[1:] != (3, 32, 32) or int(part.labels.max()) >= len(names) or int(part.labels.min()) < 0:
            raise UserError(
                f"stream.dataset: the files of {info.name!r} hold images of {tuple(part.images.shape[1:])} and classes "
                f"up to {int(part.labels.max())}, not images of (3, 32, 32) of {len(names)} classes."
            )
    return ImageDataset(info.name, parts[0], parts[1], names, Normalization(info.mean, info.std), augmentations(info))


def _joined(parts: list[LabelledImages]) -> LabelledImages:
    return LabelledImages(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


class Plain(Unpickler):
    """Reads pickles of plain values and NumPy arrays of numbers, which can run nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function that a pickle names.

        Raises:
            UnpicklingError: another one than an array needs.
        """
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _empty
        if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
            return lambda data, kind, shape, order: np.frombuffer(data, kind).reshape(shape, order=order)
        if module == "numpy" and name == "ndarray":
            return np.ndarray
        if module == "numpy" and name == "dtype":
            return _plain_type
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 3 writes them in the format of Python 2
            return lambda text, encoding: text.encode("latin1")
        raise UnpicklingError(f"it names {module}.{name}, which no image needs")


def _empty(kind: Any, shape: Any, code: Any) -> np.ndarray[Any, Any]:
    return np.ndarray.__new__(np.ndarray, (0,), np.uint8)


def _plain_type(text: Any, *_: Any) -> np.dtype[Any]:
    kind = np.dtype(text if isinstance(text, str) else text.decode())
    if kind.kind not in "buif":
        raise UnpicklingError(f"it holds an array of {kind}")
    return kind


def _unpickled(path: Path) -> dict[str, Any]:
    """A file of Python 2 or 3 with a dictionary, its keys as text."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        with path.open("rb") as file:
            found = Plain(file, encoding="latin1").load()
        return {key if isinstance(key, str) else key.decode(): value for key, value in found.items()}
    except Exception as error:  # a damaged pickle raises almost anything
        raise UserError(
            f"{path}: is damaged or no file of CIFAR ({' '.join(str(error).split())}); remove it to download it again."
        ) from None


def _of_python(path: Path) -> LabelledImages:
    contents = _unpickled(path)
    labels = contents.get("fine_labels", contents.get("labels"))
    data = contents.get("data")
    if not isinstance(data, np.ndarray) or labels is None or data.dtype != np.uint8 or data.size % PIXELS:
        raise UserError(f"{path}: holds {', '.join(contents)} and not the data and labels of CIFAR images.")
    return LabelledImages(torch.from_numpy(data.reshape(-1, 3, 32, 32).copy()), torch.tensor(list(labels)))


def _python_names(folder: Path) -> tuple[str, ...] | None:
    for file, key in (("batches.meta", "label_names"), ("meta", "fine_label_names")):
        if (folder / file).is_file():
            names = _unpickled(folder / file).get(key, ())
            return tuple(name if isinstance(name, str) else name.decode() for name in names) or None
    return None


def _of_binary(path: Path, skipped: int) -> LabelledImages:
    """Rows of a label, ``skipped`` bytes before it, and the pixels of three channels."""
    data = np.fromfile(path, np.uint8)
    if not data.size or data.size % (skipped + 1 + PIXELS):
        raise UserError(f"{path}: has {data.size:,} bytes, which are no rows of {skipped + 1 + PIXELS}; get it anew.")
    rows = data.reshape(-1, skipped + 1 + PIXELS)
    images = rows[:, skipped + 1 :].reshape(-1, 3, 32, 32)
    return LabelledImages(torch.from_numpy(images.copy()), torch.from_numpy(rows[:, skipped].astype(np.int64)))


def _binary_names(folder: Path) -> tuple[str, ...] | None:
    for file in ("batches.meta.txt", "fine_label_names.txt"):
        if (folder / file).is_file():
            return tuple((folder / file).read_text(encoding="utf-8").split()) or None
    return None
