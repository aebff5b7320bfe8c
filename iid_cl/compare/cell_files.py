"""The file of a comparison's finished cell, beside its memory."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from iid_cl.compare.cell import Outcome
from iid_cl.config.grid import Cell
from iid_cl.files import write_bytes
from iid_cl.records.cells import countable, read_cell_file, write_cell_file
from iid_cl.records.integrity import check_file
from iid_cl.records.result import Result

KEPT = ("label", "mode", "budget", "seed", "digest", "host", "threads", "seconds")  # keys that are read, and `result`

_RESULT = TypeAdapter(Result)


def read_cell(folder: Path, cell: Cell, data: str | None = None) -> dict[str, Any] | None:
    """The record of a finished cell in ``folder``; None if it has to run, see :mod:`iid_cl.records.cells`.

    Args:
        folder: holds the cells' files.
        cell: which of them.
        data: fingerprint of the data; None: any.
    """
    path = folder / f"{cell.name}.json"

    def convert(values: dict[str, Any]) -> dict[str, Any]:
        record = {key: values[key] for key in KEPT}
        record["result"] = asdict(_RESULT.validate_python(values["result"]))
        record |= {key: values.get(key) for key in ("data", "versions", "memory_sha256", "started")}
        named = type(record["host"]) is str and isinstance(record["started"], str | None)
        if not named or not countable(record):
            raise ValueError("it holds useless values")
        check_file(path.with_suffix(".safetensors"), record["memory_sha256"])
        record["seconds"] = float(record["seconds"])
        return record

    return read_cell_file(path, cell.digest, data, convert)


def write_cell(folder: Path, cell: Cell, outcome: Outcome, threads: int) -> None:
    """Writes the memory, then the JSON, which marks the cell as complete."""
    for suffix, data in outcome.files.items():
        write_bytes(folder / f"{cell.name}{suffix}", data)
    started = datetime.now(UTC) - timedelta(seconds=outcome.seconds)
    record = {
        "label": cell.label,
        "mode": cell.mode,
        "budget": None if cell.budget is None else dict([cell.budget.pair]),
        "seed": cell.seed,
        "digest": cell.digest,
        "host": outcome.host,
        "threads": threads,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(outcome.seconds, 3),
        "data": outcome.data,
        "versions": outcome.versions,
        "memory_sha256": None if outcome.checks is None else outcome.checks["sha256"],
        "result": asdict(outcome.result),
        "checks": outcome.checks,
    }
    write_cell_file(folder / f"{cell.name}.json", record)
    (folder / f"{cell.name}.error.txt").unlink(missing_ok=True)


def result_of(record: Mapping[str, Any]) -> Result:
    """The result in a record of :func:`read_cell`."""
    return _RESULT.validate_python(record["result"])
