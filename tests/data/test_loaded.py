"""The data set of a configuration, loaded once per process."""

from pathlib import Path

import pytest
import torch

from iid_cl.config.experiment import Config
from iid_cl.config.reading import parse_config
from iid_cl.data import loaded
from iid_cl.data.datasets import load_dataset


def config(seed: int = 0, **stream: object) -> Config:
    return parse_config({"seed": seed, "stream": {"dataset": "digits", **stream}}, "test")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seed of each load."""
    seeds: list[int] = []

    def counted(stream: object, data_root: Path | None, seed: int) -> object:
        seeds.append(seed)
        return load_dataset(stream, data_root, seed)  # type: ignore[arg-type]

    loaded.forget_datasets()
    monkeypatch.setattr(loaded, "load_dataset", counted)
    return seeds


def test_a_data_set_is_loaded_once_whatever_the_seed(loads: list[int]) -> None:
    first = loaded.dataset_of(config(seed=1), None)
    assert loaded.dataset_of(config(seed=2), None) is first
    assert len(loads) == 1


def test_a_validation_split_follows_the_seed(loads: list[int]) -> None:
    first, second = (loaded.dataset_of(config(seed=seed, validation=0.5), None) for seed in (1, 2))
    assert loads == [1, 2]
    assert not torch.equal(first.test.images, second.test.images)


def test_other_settings_or_folders_are_other_data(loads: list[int], tmp_path: Path) -> None:
    whole = loaded.dataset_of(config(), None)
    part = loaded.dataset_of(config(first_classes=2), None)
    loaded.dataset_of(config(first_classes=2), tmp_path)
    assert (len(whole.class_names), len(part.class_names), len(loads)) == (10, 2, 3)


def test_a_forgotten_data_set_is_loaded_anew(loads: list[int]) -> None:
    first = loaded.dataset_of(config(), None)
    loaded.forget_datasets()
    assert loaded.dataset_of(config(), None) is not first
    assert len(loads) == 2
