"""Which data sets are there, and how to get the others; nothing is read or downloaded."""

from dataclasses import dataclass
from pathlib import Path

from iid_cl.config.experiment import Dataset
from iid_cl.data.datasets import default_data_root
from iid_cl.errors import UserError


@dataclass(frozen=True)
class Known:
    """A data set's files below the data root, and how it gets there."""

    files: tuple[str, ...]
    how: str


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_DOWNLOADS = "downloaded when it is first used"

KNOWN: dict[Dataset, Known] = {
    "digits": Known((), "comes with scikit-learn"),
    "mnist": Known(tuple(f"MNIST/raw/{name}" for name in _IDX), _DOWNLOADS),
    "fashion_mnist": Known(tuple(f"FashionMNIST/raw/{name}" for name in _IDX), _DOWNLOADS),
    "svhn": Known(("train_32x32.mat", "test_32x32.mat"), _DOWNLOADS),
    "cifar10": Known(tuple(f"cifar-10-batches-py/{name}" for name in _BATCHES), _DOWNLOADS),
    "cifar100": Known(tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")), _DOWNLOADS),
    "tiny_imagenet": Known(
        tuple(f"tiny-imagenet-200/{name}" for name in ("wnids.txt", "train", "val/val_annotations.txt")),
        "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip there",
    ),
    "image_folder": Known(("train", "test"), "your own images: train/CLASS and test/CLASS below --data-root"),
}


def missing_files(name: Dataset, data_root: Path | None) -> list[str]:
    """Files of a data set that are not below the data root; empty where it is complete."""
    root = data_root if data_root is not None else default_data_root()
    return [file for file in KNOWN[name].files if not (root / file).exists()]


def require(name: Dataset, data_root: Path | None) -> None:
    """Refuses to go on, where a run would download.

    Raises:
        UserError: the data set is not there.
    """
    missing = missing_files(name, data_root)
    if missing:
        root = data_root if data_root is not None else default_data_root()
        raise UserError(
            f"stream.dataset: {name!r} is not in {root} ({missing[0]} is missing), so nothing can be said of it; it "
            f"is {KNOWN[name].how}, or name another folder with --data-root or IID_CL_DATA."
            if KNOWN[name].how == _DOWNLOADS
            else f"stream.dataset: {name!r} is not in {root} ({missing[0]} is missing); {KNOWN[name].how}, or name "
            "another folder with --data-root or IID_CL_DATA."
        )
