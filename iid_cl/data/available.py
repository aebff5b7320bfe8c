"""Which data sets are present, and how to get a missing one. Nothing is read or downloaded."""

from pathlib import Path

from iid_cl.config.datasets import DOWNLOADED, info_of
from iid_cl.data.places import default_data_root
from iid_cl.errors import UserError


def missing_files(name: str, data_root: Path | None) -> list[str]:
    """Files of a data set that are missing below the data root."""
    root = data_root if data_root is not None else default_data_root()
    info = info_of(name)
    if any(all((root / file).exists() for file in layout) for layout in info.layouts):
        return []
    return [file for file in info.files if not (root / file).exists()]


def require(name: str, data_root: Path | None) -> None:
    """Refuses a data set that a run would have to download.

    Raises:
        UserError: a file of the data set is missing.
    """
    if missing := missing_files(name, data_root):
        how = info_of(name).how
        raise UserError(
            f"stream.dataset: {name!r} is not in {data_root or default_data_root()} ({missing[0]} is missing); "
            f"{f'it is {how}' if how == DOWNLOADED else how}, or name another folder with --data-root or IID_CL_DATA."
        )
