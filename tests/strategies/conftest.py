"""Small benchmarks of both of Avalanche's kinds, on a few of scikit-learn's digits."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from avalanche.benchmarks import CLScenario, class_incremental_benchmark, nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import Dataset
from torchvision.transforms import Compose, Lambda, Normalize, ToTensor

from iid_cl.config.distill import NetworkConfig
from tests.methods.helpers import NORMALIZATION, TINY

__all__ = ["NORMALIZATION", "TINY", "Digits", "kind", "make_benchmark", "network"]

MEAN, STD = NORMALIZATION.mean[0], NORMALIZATION.std[0]

# What a raw sample may look like, and the transform that turns it into a network's input.
FORMS: dict[str, tuple[Callable[[np.ndarray], object], Callable[[object], torch.Tensor] | None]] = {
    "pil": (Image.fromarray, Compose([ToTensor(), Normalize((MEAN,), (STD,))])),
    "array": (lambda a: a.copy(), Compose([ToTensor(), Normalize((MEAN,), (STD,))])),
    "bytes": (lambda a: torch.from_numpy(a)[None].clone(), Lambda(NORMALIZATION.apply)),
    "unit": (lambda a: torch.from_numpy(a)[None] / 255, Normalize((MEAN,), (STD,))),
    "normalized": (lambda a: NORMALIZATION.apply(torch.from_numpy(a)[None]), None),
}


class Digits(Dataset):
    """The first ``per_class`` digits of each of the first ``classes`` classes, in a given form."""

    def __init__(self, form: str, classes: int = 4, per_class: int = 6, skip: int = 0) -> None:
        bundle = load_digits()
        keep = [i for c in range(classes) for i in np.flatnonzero(bundle.target == c)[skip : skip + per_class]]
        self.arrays = [np.round(bundle.images[i] * (255 / 16)).astype(np.uint8) for i in keep]
        self.targets = [int(bundle.target[i]) for i in keep]
        self._make = FORMS[form][0]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[object, int]:
        return self._make(self.arrays[index]), self.targets[index]


def make_benchmark(
    kind: str, form: str = "bytes", task_labels: bool = False, experiences: int = 2, per_class: int = 6
) -> CLScenario:
    """``kind``: ``task-aware`` samples are (x, y, t), ``plain`` ones (x, y)."""
    train, test, transform = Digits(form, per_class=per_class), Digits(form, skip=10), FORMS[form][1]
    if kind == "task-aware":
        return nc_benchmark(
            as_classification_dataset(train),
            as_classification_dataset(test),
            n_experiences=experiences,
            task_labels=task_labels,
            fixed_class_order=[0, 1, 2, 3],
            train_transform=transform,
            eval_transform=transform,
        )
    groups = {"train": transform, "eval": transform}
    return class_incremental_benchmark(
        {
            "train": as_classification_dataset(train, transform_groups=groups),
            "test": as_classification_dataset(test, transform_groups=groups),
        },
        class_order=[0, 1, 2, 3],
        num_experiences=experiences,
    )


@pytest.fixture(params=["task-aware", "plain"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of benchmark."""
    return request.param


@pytest.fixture
def network() -> torch.nn.Module:
    """A small classifier with the same weights each time."""
    from iid_cl.nets import build_network

    return build_network(NetworkConfig(width=4, depth=1), (1, 8, 8), 4, torch.Generator().manual_seed(0))
