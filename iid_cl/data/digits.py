"""scikit-learn's digits, read from its file: importing scikit-learn takes longer than all else that `check` does."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from iid_cl.config.datasets import DatasetInfo
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.datasets import DIGITS, augmentations
from iid_cl.data.images import ImageDataset, LabelledImages, Normalization
from iid_cl.errors import UserError

FILE = "datasets/data/digits.csv.gz"  # 64 pixels from 0 to 16 and a label in each row
TESTED = 0.25  # share of test images


def load_digits(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels; a fixed stratified quarter is the test set."""
    table = np.loadtxt(_file(), delimiter=",", dtype=np.uint8)
    images = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, -1].astype(np.int64)
    train, test = (
        LabelledImages(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]))
        for rows in stratified_split(labels, TESTED)
    )
    return ImageDataset("digits", train, test, DIGITS, Normalization(info.mean, info.std), augmentations(info))


def stratified_split(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training and the test images: those of scikit-learn's ``train_test_split(..., random_state=0)``.

    Args:
        labels: int (N,), from 0 on.
        share: of test images.
    """
    draws = np.random.RandomState(0)
    counts = np.bincount(labels)
    tested = int(np.ceil(len(labels) * share))
    kept = _proportional(counts, len(labels) - tested, draws)
    left_out = _proportional(counts - kept, tested, draws)
    train, test = [], []
    for label, count in enumerate(counts):
        rows = np.flatnonzero(labels == label)[draws.permutation(count)]
        train.append(rows[: kept[label]])
        test.append(rows[kept[label] :][: left_out[label]])
    return draws.permutation(np.concatenate(train)), draws.permutation(np.concatenate(test))


def _proportional(counts: np.ndarray, total: int, draws: np.random.RandomState) -> np.ndarray:
    """Shares of ``total`` in proportion to the counts; lots decide where remainders are equal."""
    exact = counts / counts.sum() * total
    shares: np.ndarray = np.floor(exact).astype(int)
    rest = exact - shares
    for value in np.unique(rest)[::-1]:
        missing = total - shares.sum()
        if not missing:
            break
        equal = np.flatnonzero(rest == value)
        shares[draws.choice(equal, size=min(len(equal), missing), replace=False)] += 1
    return shares


def _file() -> Path:
    """Raises UserError if scikit-learn is missing, or keeps its digits elsewhere."""
    spec = find_spec("sklearn")
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    file = next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)
    if file is None:
        raise UserError("stream.dataset: 'digits' come with scikit-learn, which is not here; pip install scikit-learn")
    return file
