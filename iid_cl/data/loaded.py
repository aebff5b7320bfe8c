"""The data set of a configuration, loaded once per process."""

from functools import lru_cache
from pathlib import Path

from iid_cl.config.experiment import Config, StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.data.fingerprint import fingerprint
from iid_cl.data.images import ImageDataset


def dataset_of(config: Config, data_root: Path | None) -> ImageDataset:
    """The configuration's data set. The latest data set stays in memory for the next call.

    Raises:
        UserError: it cannot be loaded.
    """
    # the seed affects the validation split only
    return _loaded(config.stream.model_dump_json(), data_root, config.seed if config.stream.validation else 0)


def fingerprint_of(config: Config, data_root: Path | None) -> str:
    """The fingerprint of the configuration's data, before images are held out: the same for every seed.

    Raises:
        UserError: the data cannot be loaded.
    """
    return _fingerprint(config.stream.model_dump_json(), data_root)


def forget_datasets() -> None:
    """Makes the next call load from disk, as files may have changed since an earlier command in this process."""
    _loaded.cache_clear()
    _fingerprint.cache_clear()


@lru_cache(maxsize=1)
def _loaded(stream: str, data_root: Path | None, seed: int) -> ImageDataset:
    return load_dataset(StreamConfig.model_validate_json(stream), data_root, seed)


@lru_cache(maxsize=8)
def _fingerprint(stream: str, data_root: Path | None) -> str:
    config = StreamConfig.model_validate_json(stream)
    if not config.validation:
        return fingerprint(_loaded(stream, data_root, 0))
    whole = config.model_copy(update={"validation": 0.0, "train_limit": None, "test_limit": None})
    return fingerprint(load_dataset(whole, data_root))  # not kept: the data set in use would have to go
