"""Which data sets are there, and how to get the others; nothing is read or downloaded."""

from pathlib import Path

from iid_cl.config.datasets import DATASETS, DOWNLOADED
from iid_cl.data.datasets import default_data_root
from iid_cl.errors import UserError


def missing_files(name: str, data_root: Path | None) -> list[str]:
    """Files of a data set that are not below the data root; empty where it is complete."""
    root = data_root if data_root is not None else default_data_root()
    return [file for file in DATASETS[name].files if not (root / file).exists()]


def require(name: str, data_root: Path | None) -> None:
    """Refuses to go on, where a run would download.

    Raises:
        UserError: the data set is not there.
    """
    missing = missing_files(name, data_root)
    if missing:
        root = data_root if data_root is not None else default_data_root()
        raise UserError(
            f"stream.dataset: {name!r} is not in {root} ({missing[0]} is missing), so nothing can be said of it; it "
            f"is {DATASETS[name].how}, or name another folder with --data-root or IID_CL_DATA."
            if DATASETS[name].how == DOWNLOADED
            else f"stream.dataset: {name!r} is not in {root} ({missing[0]} is missing); {DATASETS[name].how}, or name "
            "another folder with --data-root or IID_CL_DATA."
        )
