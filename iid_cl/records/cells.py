"""Files of finished cells: the parts of a long command that are not run again. JSON, checked when it is read."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from iid_cl.errors import UserError
from iid_cl.files import read_text, write_bytes

CELLS = "cells"  # name of their folder
LARGEST_CELL = 2**25  # bytes; a cell with 100 experiences and 1,000 classes has three million

T = TypeVar("T")


def digest_of(settings: Any) -> str:
    """Digest of all settings, as plain JSON, that a cell's outcome depends on."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def read_cell_file(path: Path, digest: str, data: str | None, convert: Callable[[dict[str, Any]], T]) -> T | None:
    """What ``convert`` makes of a finished cell's record.

    None if the cell has not run with exactly these settings and data, or if its file is damaged; then it runs again.

    Args:
        path: the cell's file.
        digest: of its settings.
        data: fingerprint of its data; None: any.
        convert: may raise what reading of wrong values raises, a UserError included.
    """
    try:
        record = json.loads(read_text(path, LARGEST_CELL))
        if record["digest"] != digest or (data is not None and record.get("data") != data):
            return None
        return convert(record)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, UserError):
        return None  # a pydantic error is a ValueError


def other_data(expected: Mapping[Path, str]) -> Path | None:
    """The first file of cells that ran on other data than ``expected`` says; None where there is none."""
    for path, data in expected.items():
        try:
            before = json.loads(read_text(path, LARGEST_CELL)).get("data")
        except (OSError, ValueError, AttributeError, RecursionError):
            continue  # damaged: the cell runs again
        if isinstance(before, str) and before != data:
            return path
    return None


def write_cell_file(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a cell's record, after all other files of the cell: it marks the cell as finished.

    Raises:
        UserError: the file cannot be written.
    """
    write_bytes(path, (json.dumps(record, indent=2) + "\n").encode())


def countable(value: Any) -> bool:
    """Whether all numbers in plain data are finite, and small enough to be averaged."""
    if isinstance(value, Mapping | list):
        return all(map(countable, value.values() if isinstance(value, Mapping) else value))
    return not isinstance(value, int | float) or abs(value) < 2**63
