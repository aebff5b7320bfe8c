"""The file of a finished cell: JSON beside its memory, checked when it is read."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from iid_cl.compare.cell import Outcome
from iid_cl.config.grid import Cell
from iid_cl.errors import UserError
from iid_cl.files import read_text, write_bytes
from iid_cl.records.integrity import check_file
from iid_cl.records.result import Result

KEPT = ("label", "mode", "budget", "seed", "digest", "host", "threads", "seconds")  # keys that are read, and `result`
LARGEST_CELL = 2**25  # bytes; a cell with 100 experiences and 1,000 classes has three million

_RESULT = TypeAdapter(Result)


def read_cell(folder: Path, cell: Cell, data: str | None = None) -> dict[str, Any] | None:
    """The record of a finished cell in ``folder``.

    None if the cell has not run with exactly these settings and data, or if its file or its memory is damaged; then the
    cell runs again.

    Args:
        folder: holds the cells' files.
        cell: which of them.
        data: fingerprint of the data; None: any.
    """
    path = folder / f"{cell.name}.json"
    try:
        values = json.loads(read_text(path, LARGEST_CELL))
        record = {key: values[key] for key in KEPT}
        record["result"] = asdict(_RESULT.validate_python(values["result"]))
        record |= {key: values.get(key) for key in ("data", "versions", "memory_sha256")}
        if record["digest"] != cell.digest or type(record["host"]) is not str or not _countable(record):
            return None
        if data is not None and record["data"] != data:
            return None
        check_file(path.with_suffix(".safetensors"), record["memory_sha256"])
        record["seconds"] = float(record["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError, UserError):
        return None
    return record


def other_data(folder: Path, data: str) -> Path | None:
    """The file of a cell in ``folder`` that ran on other data; None where there is none."""
    for path in sorted(folder.glob("*.json")):
        try:
            before = json.loads(read_text(path, LARGEST_CELL)).get("data")
        except (OSError, ValueError, AttributeError, RecursionError):
            continue  # damaged: the cell runs again
        if isinstance(before, str) and before != data:
            return path
    return None


def write_cell(folder: Path, cell: Cell, outcome: Outcome, threads: int) -> None:
    """Writes the memory, then the JSON, which marks the cell as complete."""
    for suffix, data in outcome.files.items():
        write_bytes(folder / f"{cell.name}{suffix}", data)
    record = {
        "label": cell.label,
        "mode": cell.mode,
        "budget": None if cell.budget is None else dict([cell.budget.pair]),
        "seed": cell.seed,
        "digest": cell.digest,
        "host": outcome.host,
        "threads": threads,
        "seconds": round(outcome.seconds, 3),
        "data": outcome.data,
        "versions": outcome.versions,
        "memory_sha256": None if outcome.checks is None else outcome.checks["sha256"],
        "result": asdict(outcome.result),
        "checks": outcome.checks,
    }
    write_bytes(folder / f"{cell.name}.json", (json.dumps(record, indent=2) + "\n").encode())
    (folder / f"{cell.name}.error.txt").unlink(missing_ok=True)


def result_of(record: Mapping[str, Any]) -> Result:
    """The result in a record of :func:`read_cell`."""
    return _RESULT.validate_python(record["result"])


def _countable(value: Any) -> bool:
    """Whether all numbers in plain data are finite, and small enough to be averaged."""
    if isinstance(value, Mapping | list):
        return all(map(_countable, value.values() if isinstance(value, Mapping) else value))
    return not isinstance(value, int | float) or abs(value) < 2**63
