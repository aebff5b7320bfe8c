"""``iid-cl list``: the runs, comparisons and studies of a folder, read from their own files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from iid_cl.config.reading import read_yaml
from iid_cl.errors import UserError, printable
from iid_cl.files import read_text
from iid_cl.terminal.screen import emit, print_table, width_of

MOST_ROWS = 6  # shown of one comparison among others


@dataclass(frozen=True)
class Entry:
    """One method of a run, or of a comparison at one mode and budget. ``final_accuracy`` is in [0, 1].

    Attributes:
        state: ``finished``, ``unfinished`` (running, or stopped), or ``damaged`` (a file that cannot be read).
        date: when its files were last written, ISO format, local time.
        seeds: empty where a stopped run does not say.
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


_ENTRY = TypeAdapter(Entry)


def list_runs(folder: Path, console: Console) -> None:
    """Prints a table of the runs in ``folder`` (or of ``folder`` itself, if it is one), the latest last.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `iid-cl run` makes runs/, or name another one.")
    found = find_runs(folder)
    for entry in found:
        emit(console, "entry", **asdict(entry))
    if not found:
        console.print(Text(f"{folder}: no runs; `iid-cl run split_digits.yaml` makes one."), soft_wrap=True)
        return
    alone = found[0].directory == str(folder)
    print_table(console, _table(found if alone else _shortened(found), width_of(console)))


def find_runs(folder: Path) -> list[Entry]:
    """The entries of ``folder``, if it is a run, else of the runs in it, in the order of their dates."""
    if _kind(folder) is not None:
        return list(_entries(folder))
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and _kind(path) is not None]
    runs = [list(_entries(path)) for path in inner]
    return [entry for run in sorted(runs, key=lambda run: run[0].date) for entry in run]


def _kind(folder: Path) -> str | None:
    """What a folder holds, by its files' names."""
    if (folder / "study.csv").is_file():
        return "study"
    if not (folder / "config.yaml").is_file():
        return None
    return "comparison" if (folder / "cells").is_dir() or (folder / "results.json").is_file() else "run"


def _entries(folder: Path) -> Iterator[Entry]:
    kind = _kind(folder)
    assert kind is not None  # its callers ask first
    summary = folder / {"run": "run.json", "comparison": "results.json", "study": "study.json"}[kind]
    newest = max(path.stat().st_mtime for path in folder.iterdir() if path.is_file())
    common: dict[str, Any] = {
        "directory": str(folder),
        "kind": kind,
        "name": folder.name,
        "date": datetime.fromtimestamp(newest).isoformat(timespec="minutes"),
    }
    try:
        read = {"run": _run, "comparison": _comparison, "study": _study}[kind]
        rows = read(folder, _object(summary) if summary.is_file() else None)
        entries = [_ENTRY.validate_python({**common, **row}) for row in rows]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, UserError):
        entries = []  # pydantic's errors are ValueErrors, too
    yield from entries or [Entry(**common, state="damaged")]


def _run(folder: Path, summary: Any) -> Iterator[dict[str, Any]]:
    if summary is not None:
        for result in summary["results"]:
            yield {
                "state": "finished",
                "method": str(result["method"]),
                "mode": str(result["mode"]),
                "seeds": (int(result["seed"]),),
                "final_accuracy": float(result["final_accuracy"]),
                "memory_bytes": int(result["memory_bytes"]),
            }
        return
    config = _config(folder)
    records = folder / "metrics.jsonl"
    lines = read_text(records).splitlines() if records.is_file() else []
    latest: dict[str, Any] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break  # being written
        latest[str(record["method"])] = record
    own = str(config.get("memory", {}).get("method"))
    for method, record in (latest or {own: {}}).items():
        yield {
            "state": "unfinished",
            "method": method,
            "mode": config.get("train", {}).get("mode"),
            "seeds": (int(config["seed"]),) if "seed" in config else (),
            "final_accuracy": record.get("accuracy_seen"),
            "memory_bytes": record.get("memory_bytes"),
        }


def _comparison(folder: Path, summary: Any) -> Iterator[dict[str, Any]]:
    config = _config(folder)
    cells = folder / "cells"
    failed = any(cells.glob("*.error.txt"))
    if summary is None:
        done = len(list(cells.glob("*.json")))
        methods = [each["name"] if isinstance(each, dict) else each for each in config["compare"]["methods"]]
        yield {"state": "unfinished", "method": f"{', '.join(map(str, methods))} ({done} cells done)"}
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


def _study(folder: Path, summary: Any) -> Iterator[dict[str, Any]]:
    yield {"state": "finished" if summary is not None else "unfinished"}


def _object(path: Path) -> dict[str, Any]:
    found = json.loads(read_text(path))
    if not isinstance(found, dict):
        raise ValueError("a summary holds keys")
    return found


def _config(folder: Path) -> Mapping[str, Any]:
    values = read_yaml(str(folder / "config.yaml"), "configuration", [], "iid_cl.configs")
    if not values:
        raise ValueError("a configuration holds keys")
    return values


def _shortened(entries: list[Entry]) -> list[Entry | int]:
    """Of each comparison the best few; a number stands for how many are left out."""
    shown: list[Entry | int] = []
    for directory in dict.fromkeys(entry.directory for entry in entries):
        rows = [entry for entry in entries if entry.directory == directory]
        best = sorted(rows, key=lambda row: -(row.final_accuracy or 0.0))[:MOST_ROWS]
        shown += [row for row in rows if row in best]
        shown += [len(rows) - len(best)] if len(rows) > len(best) else []
    return shown


def _table(entries: Sequence[Entry | int], width: int) -> Table:
    """A row per entry; columns leave from the right of this list where the terminal is narrow."""
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    columns = ["name", "method", "final %", "state", "bytes", "mode", "seeds", "date"]
    room = {"name": 0, "method": 0, "final %": 0, "state": 60, "bytes": 70, "mode": 90, "seeds": 100, "date": 110}
    shown = [column for column in columns if width >= room[column]]
    for column in shown:
        table.add_column(column, justify="right" if column in ("final %", "bytes") else "left", overflow="fold")
    last = ""
    for entry in entries:
        if isinstance(entry, int):
            table.add_row("", Text(f"and {entry} rows more: iid-cl list {last}", style="dim"))
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
            "date": entry.date.replace("T", " "),
        }
        if entry.state == "unfinished" and "state" not in shown:
            cells["final %"] += "?"
        last = entry.directory
        table.add_row(*(Text(cells[column]) for column in shown))
    return table
