"""The files that a run vouches for: their SHA-256 lies in ``run.json``."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iid_cl.errors import UserError


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_memories(folder: Path, checks: Any) -> None:
    """Compares the memory files in ``folder`` with a run's ``checks``, see :meth:`iid_cl.audit.audit.Audit.verify`.

    What an older run did not record, and a file that is missing, is passed over.

    Raises:
        UserError: a file is not the one that the run wrote.
    """
    for check in checks.values() if isinstance(checks, Mapping) else ():
        name, digest = (check.get("file"), check.get("sha256")) if isinstance(check, Mapping) else (None, None)
        if isinstance(name, str) and isinstance(digest, str) and Path(name).name == name:
            check_file(folder / name, digest)


def check_file(path: Path, digest: str | None) -> None:
    """Compares one file with its SHA-256; None, or a file that is missing, is passed over.

    Raises:
        UserError: it has another.
    """
    if digest is not None and path.is_file() and sha256_of(path) != digest:
        raise UserError(
            f"{path}: is not the file that was written there, its SHA-256 differs; restore it, or make it again."
        )
