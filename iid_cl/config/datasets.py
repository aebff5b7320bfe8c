"""Data sets by name and by address: the one table behind configuration, loading, `doctor` and `check`.

Imports neither torch nor torchvision. A torchvision data set takes one entry. Any other data set takes an entry that
names its loader.
"""

import difflib
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from iid_cl.config.base import Line

_TORCHVISION = "iid_cl.data.datasets:load_torchvision"
DOWNLOADED = "downloaded when it is first used"


@dataclass(frozen=True)
class DatasetInfo:
    """A data set.

    Attributes:
        name: name in configurations and on the command line.
        loader: ``module:function``, called with the data root, the `stream` section and this entry; it returns an
            :class:`iid_cl.data.images.ImageDataset`.
        files: paths that must exist below the data root.
        how: how the files get there.
        layout: name of the files in messages.
        source: name of the class in ``torchvision.datasets``.
        split: whether that class takes ``split="train"`` and not ``train=True``.
        mean: mean of each channel, in [0, 1].
        std: standard deviation of each channel.
        flips: whether a mirrored image still shows its class; a mirrored digit does not.
        resized: whether `stream.image_size` applies.
        layouts: other files, in place of ``files``, that make the data set complete.
    """

    name: str
    loader: str = _TORCHVISION
    files: tuple[str, ...] = ()
    how: str = DOWNLOADED
    layout: str = ""
    source: str = ""
    split: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flips: bool = True
    resized: bool = False
    layouts: tuple[tuple[str, ...], ...] = ()


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")

# The normalisations of the dataset-distillation literature (DC, DM, IID)
_TABLE = (
    DatasetInfo(
        "digits",
        "iid_cl.data.digits:load_digits",
        how="comes with scikit-learn",
        mean=(0.3053,),
        std=(0.3760,),
        flips=False,
    ),
    DatasetInfo(
        "mnist",
        files=tuple(f"MNIST/raw/{name}" for name in _IDX),
        layout="MNIST/raw/*-ubyte",
        source="MNIST",
        mean=(0.1307,),
        std=(0.3081,),
        flips=False,
    ),
    DatasetInfo(
        "fashion_mnist",
        files=tuple(f"FashionMNIST/raw/{name}" for name in _IDX),
        layout="FashionMNIST/raw/*-ubyte",
        source="FashionMNIST",
        mean=(0.2861,),
        std=(0.3530,),
    ),
    DatasetInfo(
        "svhn",
        files=("train_32x32.mat", "test_32x32.mat"),
        layout="train_32x32.mat and test_32x32.mat",
        source="SVHN",
        split=True,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        flips=False,
    ),
    DatasetInfo(
        "cifar10",
        "iid_cl.data.cifar:load_cifar",
        files=tuple(f"cifar-10-batches-py/{name}" for name in _BATCHES),
        layout="the folder cifar-10-batches-py",
        source="CIFAR10",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        layouts=(("cifar-10-batches-bin/test_batch.bin",), ("cifar10/train", "cifar10/test")),
    ),
    DatasetInfo(
        "cifar100",
        "iid_cl.data.cifar:load_cifar",
        files=tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        layout="the folder cifar-100-python",
        source="CIFAR100",
        mean=(0.5071, 0.4866, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        layouts=(("cifar-100-binary/test.bin",), ("cifar100/train", "cifar100/test")),
    ),
    DatasetInfo(
        "tiny_imagenet",
        "iid_cl.data.datasets:load_tiny_imagenet",
        files=tuple(f"tiny-imagenet-200/{name}" for name in ("wnids.txt", "train", "val/val_annotations.txt")),
        how="unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip there",
        resized=True,
    ),
    DatasetInfo(
        "image_folder",
        "iid_cl.data.datasets:load_image_folder",
        files=("train", "test"),
        how="your own images: train/CLASS and test/CLASS below --data-root",
        resized=True,
    ),
)

DATASETS: dict[str, DatasetInfo] = {info.name: info for info in _TABLE}

_FILES = "relative to --data-root, or to the working folder"
SOURCES: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo("hf", "iid_cl.data.hub:load_hf", how="hf:NAME of the Hugging Face hub, or hf:FOLDER", resized=True),
        DatasetInfo("parquet", "iid_cl.data.hub:load_parquet", how=f"parquet:FOLDER, {_FILES}", resized=True),
        DatasetInfo("npz", "iid_cl.data.sources:load_npz", how=f"npz:FILE, {_FILES}"),
        DatasetInfo("python", "iid_cl.data.sources:load_python", how="python:MODULE:FUNCTION"),
    )
}
ADDRESS = rf"^({'|'.join(SOURCES)}):.+"


def info_of(name: str) -> DatasetInfo:
    """The entry of a data set's name, or of the kind of its address, such as ``npz:images.npz``."""
    return DATASETS[name] if name in DATASETS else SOURCES[name.partition(":")[0]]


def _known(name: str) -> str:
    kind, _, place = name.partition(":")
    if name in DATASETS or (kind in SOURCES and place):
        return name
    near = difflib.get_close_matches(name, DATASETS, n=1)
    hint = f"perhaps {near[0]!r} is meant" if near else f"use {', '.join(DATASETS)}"
    raise ValueError(f"no data set has this name; {hint}, or an address that begins with {':, '.join(SOURCES)}:")


_SCHEMA = {"type": "string", "anyOf": [{"enum": list(DATASETS)}, {"pattern": ADDRESS}]}
DatasetName = Annotated[Line, AfterValidator(_known), WithJsonSchema(_SCHEMA)]
NAMES = f"{', '.join(DATASETS)}, or an address: hf:NAME, parquet:FOLDER, npz:FILE, python:MODULE:FUNCTION"
