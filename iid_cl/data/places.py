"""Where data sets and decoded images lie."""

import os
from pathlib import Path


def default_data_root() -> Path:
    """The folder that data sets are read from and downloaded to: ``$IID_CL_DATA``, or ``iid-cl`` in the user's cache.

    The user's cache is ``$XDG_CACHE_HOME``, or ``~/.cache``.
    """
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("IID_CL_DATA") or Path(users) / "iid-cl")


def cache_folder() -> Path:
    """The folder of decoded images: ``$IID_CL_CACHE``, or ``decoded`` in :func:`default_data_root`."""
    return Path(os.environ.get("IID_CL_CACHE") or default_data_root() / "decoded")
