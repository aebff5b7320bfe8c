"""``iid-cl list``: the runs, comparisons and studies in a folder, read from their files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from iid_cl.config.reading import CONFIGURATION, read_yaml
from iid_cl.errors import UserError, printable
from iid_cl.files import read_text
from iid_cl.records.directory import STATE, check_directory, is_running
from iid_cl.records.integrity import check_memories
from iid_cl.terminal.screen import emit, in_seconds, print_table, width_of

READ = ("config.yaml", "metrics.jsonl", "study.csv", "cells")  # besides the summary
MOST_ROWS = 6  # rows of one comparison in a list of several runs


@dataclass(frozen=True)
class Entry:
    """A method of a run, or of a comparison at one mode and budget. ``final_accuracy`` is in [0, 1].

    Attributes:
        state: ``finished``, ``running``, ``unfinished`` (stopped or killed), or ``damaged`` (a file cannot be read).
        date: last change of its files, in ISO format and local time.
        seeds: empty if a stopped run does not record its seed.
        final_accuracy: None until the end.
        started: when the run began, in ISO format and local time; None for runs of earlier versions.
        total_seconds: how long it took to its end, interruptions left out.
    """

    directory: str
    kind: str
    name: str
    state: str
    date: str
    method: str | None = None
    mode: str | None = None
    budget: str | None = None
    seeds: tuple[int, ...] = ()
    final_accuracy: float | None = None
    memory_bytes: int | None = None
    started: str | None = None
    total_seconds: float | None = None


_ENTRY = TypeAdapter(Entry)


def list_runs(folder: Path, console: Console) -> None:
    """Prints a table of the runs in ``folder``, the latest last; or of ``folder`` itself, if it is a run.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `iid-cl run` makes runs/, or name another folder.")
    entries = find_runs(folder)
    for entry in entries:
        emit(console, "entry", **asdict(entry))
    if not entries:
        console.print(Text(f"{folder}: no runs; `iid-cl run split_digits.yaml` makes one."), soft_wrap=True)
        return
    alone = entries[0].directory == str(folder)
    print_table(console, _table(entries if alone else _shortened(entries), width_of(console)))


def find_runs(folder: Path) -> list[Entry]:
    """The entries of ``folder`` if it is a run, else of the runs in it, by date."""
    if _kind(folder) is not None:
        return list(_entries(folder))
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and _kind(path) is not None]
    runs = [list(_entries(path)) for path in inner]
    return [entry for run in sorted(runs, key=lambda run: run[0].date) for entry in run]


def _kind(folder: Path) -> str | None:
    """The kind of a folder, by the names of its files; None if it is not a run."""
    if (folder / "study.csv").is_file():
        return "study"
    if not (folder / "config.yaml").is_file():
        return None
    return "comparison" if (folder / "cells").is_dir() or (folder / "results.json").is_file() else "run"


def _entries(folder: Path) -> Iterator[Entry]:
    kind = _kind(folder)
    assert kind is not None  # the callers check
    summary = folder / {"run": "run.json", "comparison": "results.json", "study": "study.json"}[kind]
    newest = max(path.stat().st_mtime for path in folder.iterdir() if path.is_file())
    common: dict[str, Any] = {
        "directory": str(folder),
        "kind": kind,
        "name": folder.name,
        "date": datetime.fromtimestamp(newest).isoformat(timespec="minutes"),
    }
    try:
        check_directory(folder, (summary.name, *READ))
        read = {"run": _run, "comparison": _comparison, "study": _study}[kind]
        rows = read(folder, _object(summary) if summary.is_file() else None)
        entries = [_ENTRY.validate_python({**common, **row}) for row in rows]
        if is_running(folder):
            entries = [replace(entry, state="running", final_accuracy=None) for entry in entries]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, UserError):
        entries = []  # a pydantic error is a ValueError
    yield from entries or [Entry(**common, state="damaged")]


def _run(folder: Path, summary: Any) -> Iterator[dict[str, Any]]:
    if summary is not None:
        check_memories(folder, summary.get("checks"))
        left = (folder / STATE).is_dir()  # it was interrupted while its report was made
        for result in summary["results"]:
            yield {
                "state": "unfinished" if left else "finished",
                "method": str(result["method"]),
                "mode": str(result["mode"]),
                "seeds": (int(result["seed"]),),
                "final_accuracy": float(result["final_accuracy"]),
                "memory_bytes": int(result["memory_bytes"]),
                "started": _local(summary.get("started")),
                "total_seconds": float(result["total_seconds"]) if "total_seconds" in result else None,
            }
        return
    config = _config(folder)
    file = folder / "metrics.jsonl"
    latest: dict[str, Any] = {}
    for line in read_text(file).splitlines() if file.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break  # being written
        if not isinstance(record.get("accuracy_seen", 0.0), float):
            raise TypeError("an accuracy is a number")
        latest[str(record["method"])] = record
    for method, record in (latest or {str(config.get("memory", {}).get("method")): {}}).items():
        yield {
            "state": "unfinished",
            "method": method,
            "mode": config.get("train", {}).get("mode"),
            "seeds": (int(config["seed"]),) if "seed" in config else (),
            "memory_bytes": record.get("memory_bytes"),
        }


def _comparison(folder: Path, summary: Any) -> Iterator[dict[str, Any]]:
    config = _config(folder)
    cells = folder / "cells"
    failed = any(cells.glob("*.error.txt"))
    if summary is None:
        count = len(list(cells.glob("*.json")))
        methods = [method["name"] if isinstance(method, dict) else method for method in config["compare"]["methods"]]
        yield {"state": "unfinished", "method": f"{', '.join(map(str, methods))} ({count} cells done)"}
        return
    for row in summary["summary"]:
        yield {
            "state": "unfinished" if failed else "finished",
            "method": str(row["label"]),
            "mode": row["mode"],
            "budget": None if row["budget"] is None else f"{row['budget'][0]} {row['budget'][1]:,}",
            "seeds": tuple(int(seed) for seed in row["seeds"]),
            "final_accuracy": float(row["final"][0]),
            "memory_bytes": int(row["bytes"][1]),
        }


def _local(started: Any) -> str | None:
    return None if started is None else datetime.fromisoformat(started).astimezone().isoformat(timespec="minutes")[:16]


def _study(folder: Path, summary: Any) -> Iterator[dict[str, Any]]:
    yield {"state": "finished" if summary is not None else "unfinished"}


def _object(path: Path) -> dict[str, Any]:
    values = json.loads(read_text(path))
    if not isinstance(values, dict):
        raise ValueError("a summary holds keys")
    return values


def _config(folder: Path) -> Mapping[str, Any]:
    values = read_yaml(str(folder / "config.yaml"), CONFIGURATION)
    if not values:
        raise ValueError("a configuration holds keys")
    return values


def _shortened(entries: list[Entry]) -> list[Entry | int]:
    """The best rows of each comparison, with the number of further rows after them."""
    short: list[Entry | int] = []
    for directory in dict.fromkeys(entry.directory for entry in entries):
        rows = [entry for entry in entries if entry.directory == directory]
        best = sorted(rows, key=lambda row: -(row.final_accuracy or 0.0))[:MOST_ROWS]
        short += [row for row in rows if row in best]
        short += [len(rows) - len(best)] if len(rows) > len(best) else []
    return short


def _table(entries: Sequence[Entry | int], width: int) -> Table:
    """A row per entry; a narrow terminal of ``width`` columns shows fewer columns."""
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    room = {
        "name": 0,
        "method": 0,
        "final %": 0,
        "state": 60,
        "bytes": 70,
        "mode": 90,
        "seeds": 100,
        "date": 110,
        "time": 120,
    }
    columns = [column for column, needed in room.items() if width >= needed]
    for column in columns:
        table.add_column(column, justify="right" if column in ("final %", "bytes", "time") else "left", overflow="fold")
    last = ""
    for entry in entries:
        if isinstance(entry, int):
            table.add_row("", Text(f"and {entry} more rows: iid-cl list {last}", style="dim"))
            continue
        seeds = entry.seeds
        cells = {
            "name": "" if entry.directory == last else printable(entry.name),
            "method": printable(" ".join(filter(None, [entry.method or entry.kind, entry.budget]))),
            "final %": "" if entry.final_accuracy is None else f"{100 * entry.final_accuracy:.1f}",
            "state": entry.state,
            "bytes": "" if entry.memory_bytes is None else f"{entry.memory_bytes:,}",
            "mode": "" if entry.mode is None else printable(entry.mode.replace("_", " ")),
            "seeds": str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}" if seeds else "",
            "time": "" if entry.total_seconds is None else in_seconds(entry.total_seconds),
            "date": (entry.started or entry.date).replace("T", " "),
        }
        if entry.state == "unfinished" and "state" not in columns:
            cells["final %"] += "?"
        last = entry.directory
        table.add_row(*(Text(cells[column]) for column in columns))
    return table
