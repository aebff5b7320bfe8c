"""``iid-cl compare``: a grid of methods, modes, budgets and seeds, kept cell by cell, with one table of it all."""

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, fields, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.text import Text

from iid_cl.budget import KEYS
from iid_cl.compare.cell import Outcome, run_cell
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.grid import Cell, baseline_of, cells
from iid_cl.config.reading import flat, load_config
from iid_cl.data.loaded import dataset_of, forget_datasets
from iid_cl.data.streams import class_order
from iid_cl.errors import UserError
from iid_cl.files import read_text, write_bytes
from iid_cl.launch.jobs import Failure, Launch
from iid_cl.launch.launch import launch
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.records.directory import RunDirectory, free_directory
from iid_cl.records.provenance import provenance
from iid_cl.records.result import Result
from iid_cl.report.comparison import (
    Measured,
    Row,
    comparison_table,
    place,
    summarise,
    unequal_bytes,
    unequal_updates,
)
from iid_cl.report.comparison_figure import save_comparison_figure
from iid_cl.report.page import report
from iid_cl.terminal.headline import headline
from iid_cl.terminal.reporter import Reporter
from iid_cl.terminal.screen import emit
from iid_cl.terminal.signals import Stopped

IN_CELLS = {
    "seed",
    "compare",
    "baselines",
    "loggers",
    "train.mode",
    "memory.method",
    *(f"memory.{key}" for key in KEYS),
}

NESTED = {"mode", "seed", "class_order", "matrix", "class_accuracies", "network_matrices", "test_sizes"}

LARGEST_CELL = 2**25  # bytes; one of a hundred experiences of a thousand classes has three million

_RESULT = TypeAdapter(Result)


def compare(
    config: Config, data_root: Path | None, out: Path | None, console: Console, how: Launch | None = None
) -> tuple[Path, list[str]]:
    """Runs the cells of ``config.compare`` that ``out`` does not hold yet, and reports on all of them.

    For one seed all methods see the same class order and start from the same weights.

    Args:
        config: the base configuration.
        data_root: folder of the data sets.
        out: folder to make or to go on with; None takes a free one under ``runs/``.
        console: where to print.
        how: where cells run.

    Returns:
        The folder, and the names of cells that failed.

    Raises:
        UserError: something the user can mend; found before anything is written wherever possible.
    """
    how = how if how is not None else Launch()
    device = torch.device("cpu") if how.launcher == "ray" else resolve_device(config.device)
    if how.launcher == "ray" and config.device == "cpu" and how.gpus is None:
        how = replace(how, gpus=0.0)
    forget_datasets()
    if config.seed + config.compare.seeds > 2**32:
        raise UserError(f"seed: {config.compare.seeds} seeds from {config.seed} on leave the range below 2**32.")
    dataset = dataset_of(config, data_root)
    classes = [c for group in class_order(config.stream, len(dataset.class_names), config.seed) for c in group]
    check_network("model", config.model, dataset)
    grid = cells(config, dataset.shape, len(classes))
    baseline = baseline_of(config, grid)
    for cell in grid:
        if cell.seed == config.seed:
            check_methods(cell.config, [cell.config.memory.method], dataset, classes)
    path = out if out is not None else free_directory(f"{config.name}-compare")
    again = (path / "config.yaml").is_file() and (path / "cells").is_dir()
    if again:
        if (path / "cells").is_symlink():
            raise UserError(f"{path / 'cells'}: is a link, and cells would be written elsewhere; choose another --out.")
        _check_same(path, config)
    with RunDirectory(path, again=again) as directory:
        directory.write_config(config)
        (path / "cells").mkdir(exist_ok=True)
        with Reporter(console, directory.log) as reporter:
            where = "Ray" if how.launcher == "ray" else f"{device}, {how.workers or 1} at a time"
            reporter.line(headline(config, dataset, where))
            try:
                failed = _run_missing(grid, path / "cells", data_root, how, reporter)
            except (KeyboardInterrupt, Stopped):
                reporter.line(f"stopped; the same command with --out {path} goes on")
                raise
        kept = [(cell, found) for cell in grid if (found := read_cell(path / "cells", cell)) is not None]
        measured = [Measured(c.label, c.mode, c.budget, _RESULT.validate_python(f["result"])) for c, f in kept]
        rows = summarise(measured, baseline)
        flagged = unequal_bytes(rows, lambda budget: budget.allowed(len(classes), prod(dataset.shape)))
        _write_results(directory, config, kept, rows, baseline, device)
        seeds = f"{config.compare.seeds} seed{'s' if config.compare.seeds > 1 else ''}"
        title = f"{config.name}: {seeds}, mean ± 95 % confidence interval"
        if rows:
            save_comparison_figure(path / "comparison.png", rows, title)
            console.print(comparison_table(rows, baseline, flagged, title, width=console.width))
            log = Console(file=directory.log, width=160, color_system=None)
            log.print(comparison_table(rows, baseline, flagged, title))
        with Reporter(console, directory.log) as reporter:
            for line in [*_remarks(rows, flagged), *_failures(failed)]:
                reporter.result(line)
            if rows:
                reporter.line(f"The report is {report([path])}")
    console.print(Text(f"Everything is in {path}"), soft_wrap=True)
    emit(console, "finished", directory=str(path), baseline=baseline, rows=[row.plain() for row in rows], failed=failed)
    return path, list(failed)


def read_cell(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """What ``folder`` holds of a finished cell; None where it has not run with exactly these settings.

    A damaged file counts as none: the cell runs again.
    """
    path = folder / f"{cell.name}.json"
    try:
        found = json.loads(read_text(path, LARGEST_CELL))
        kept = {key: found[key] for key in ("label", "mode", "budget", "seed", "digest", "host", "threads", "seconds")}
        kept["result"] = asdict(_RESULT.validate_python(found["result"]))
        if kept["digest"] != cell.digest or type(kept["host"]) is not str or not _countable(kept):
            return None
        kept["seconds"] = float(kept["seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError):
        return None
    return kept


def _countable(value: Any) -> bool:
    """Whether all numbers in plain data are finite and of a size that can be averaged."""
    if isinstance(value, Mapping):
        return all(_countable(each) for each in value.values())
    if isinstance(value, list):
        return all(_countable(each) for each in value)
    return not isinstance(value, int | float) or abs(value) < 2**63


def _run_missing(
    grid: Sequence[Cell], folder: Path, data_root: Path | None, how: Launch, reporter: Reporter
) -> dict[str, str]:
    """Runs what is missing and keeps each cell as soon as it is there; returns the errors of failed ones."""
    missing = {cell.name: cell for cell in grid if read_cell(folder, cell) is None}
    done = len(grid) - len(missing)
    reporter.line(f"{len(grid)} cells" + (f", {done} of them finished before" if done else ""))
    failed: dict[str, str] = {}
    remarked: set[str] = set()
    if not missing:
        return failed
    first = min(cell.seed for cell in grid)  # whose distillations a report shows
    jobs = {name: (cell.config.model_dump_json(), data_root, cell.seed == first) for name, cell in missing.items()}
    start = time.monotonic()
    reporter.stage(done, len(grid), "cells")
    with closing(launch(run_cell, jobs, how)) as outcomes:
        for count, (name, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Failure):
                failed[name] = outcome.error
                write_bytes(folder / f"{name}.error.txt", f"{outcome.error}\n".encode())
                said = f"failed: {outcome.error}"
                if reporter.log is not None:
                    reporter.log.write(outcome.traceback)
            else:
                _keep(missing[name], outcome, folder, how.threads_each)
                for remark in outcome.remarks:
                    if remark not in remarked:
                        reporter.line(remark)
                remarked.update(outcome.remarks)
                said = f"{100 * outcome.result.final_accuracy:.1f} %, {outcome.seconds:.1f} s"
            failure = failed.get(name)
            accuracy = None if isinstance(outcome, Failure) else outcome.result.final_accuracy
            reporter.event("cell", name=name, final_accuracy=accuracy, failure=failure)
            reporter.stage(done + count, len(grid), "cells")
            left = len(missing) - count
            minutes = (time.monotonic() - start) / count * left / 60
            reporter.line(f"{name}: {said}" + (f"  ({left} left, about {minutes:.1f} min)" if left else ""))
    return failed


def _keep(cell: Cell, outcome: Outcome, folder: Path, threads: int) -> None:
    """Writes the memory first: what has its JSON is complete."""
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
        "result": asdict(outcome.result),
        "checks": outcome.checks,
    }
    write_bytes(folder / f"{cell.name}.json", (json.dumps(record, indent=2) + "\n").encode())
    (folder / f"{cell.name}.error.txt").unlink(missing_ok=True)


def _check_same(path: Path, config: Config) -> None:
    """A directory of another comparison is refused; seeds, methods, modes and budgets may differ."""
    there = load_config(str(path / "config.yaml"))
    before, now = (flat(one.model_dump(mode="json"), IN_CELLS) for one in (there, config))
    for key in now:
        if key not in IN_CELLS and before.get(key) != now[key]:
            raise UserError(
                f"{path}: holds another comparison ({key}: {before.get(key)!r} there, {now[key]!r} here); choose "
                "another --out."
            )


def _write_results(
    directory: RunDirectory,
    config: Config,
    kept: Sequence[tuple[Cell, dict[str, Any]]],
    rows: Sequence[Row],
    baseline: str | None,
    device: torch.device,
) -> None:
    summary = {
        **provenance(device),
        "compare": config.compare.model_dump(mode="json"),
        "baseline": baseline,
        "cells": [found for _, found in kept],
        "summary": [row.plain() for row in rows],
    }
    directory.write_summary("results.json", summary)
    measured = [field.name for field in fields(Result) if field.name not in NESTED]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["label", "mode", "budget_kind", "budget", "seed", *measured, "seconds", "host"])
    for cell, found in kept:
        kind, value = cell.budget.pair if cell.budget is not None else ("", "")
        result = [found["result"][name] for name in measured]
        writer.writerow([cell.label, cell.mode or "", kind, value, cell.seed, *result, found["seconds"], found["host"]])
    write_bytes(directory.path / "results.csv", text.getvalue().encode())


def _remarks(rows: Sequence[Row], flagged: Mapping[Row, str]) -> list[str]:
    unequal = [f"* not equal bytes ({place(row.mode, row.budget)}): {row.label} {why}" for row, why in flagged.items()]
    return [*unequal, *unequal_updates(rows)]


def _failures(failed: Mapping[str, str]) -> list[str]:
    if not failed:
        return []
    count = f"{len(failed)} cell{'s' if len(failed) > 1 else ''}"
    lines = [f"{name} failed: {error}" for name, error in failed.items()]
    return [*lines, f"{count} failed; the same command with this --out runs what failed again."]
