"""``iid-cl compare``: runs a grid of methods, modes, budgets and seeds, and shows all cells in one table."""

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from iid_cl.budget import KEYS
from iid_cl.compare.cell import run_cell
from iid_cl.compare.cell_files import read_cell, write_cell
from iid_cl.compare.results import remarks, show_results, summary_of, write_results
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.grid import Cell, baseline_of, cells
from iid_cl.config.reading import flat, load_config
from iid_cl.data.images import ImageDataset
from iid_cl.data.loaded import dataset_of, fingerprint_of, forget_datasets
from iid_cl.data.streams import make_stream
from iid_cl.errors import UserError
from iid_cl.files import on_full_disk, write_bytes
from iid_cl.launch.jobs import Failure, Launch
from iid_cl.launch.launch import launch
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.records.cells import other_data
from iid_cl.records.directory import RunDirectory, check_directory, new_directory
from iid_cl.records.nameless import without_names
from iid_cl.report.page import report
from iid_cl.terminal.headline import headline
from iid_cl.terminal.reporter import Reporter
from iid_cl.terminal.screen import emit
from iid_cl.terminal.signals import Stopped

IN_CELLS = {"seed", "compare", "baselines", "loggers", "train.mode", "memory.method", *(f"memory.{k}" for k in KEYS)}


@dataclass(frozen=True)
class _Comparison:
    """A comparison, checked as far as possible before anything is written."""

    config: Config
    how: Launch
    device: torch.device
    dataset: ImageDataset
    classes: int  # of the stream
    data: str  # its fingerprint
    grid: list[Cell]
    baseline: str | None


def compare(
    config: Config, data_root: Path | None, out: Path | None, console: Console, how: Launch | None = None
) -> tuple[Path, list[str]]:
    """Runs the cells of ``config.compare`` that are missing in ``out``, and reports on all of them.

    With the same seed, all methods see the same class order and start from the same weights.

    Args:
        config: the base configuration.
        data_root: folder of the data sets.
        out: folder to make or to continue; None takes a free one under ``runs/``.
        console: where to print.
        how: where cells run.

    Returns:
        The folder, and the names of cells that failed.

    Raises:
        UserError: a mistake of the user, detected before anything is written wherever possible.
    """
    comparison = _prepare(config, data_root, how if how is not None else Launch())
    again = out is not None and _is_started(out, config, comparison.data)
    path = out if out is not None else new_directory(f"{config.name}-compare")
    full = f"{path}: the disk is full; free some space, then give the same command with --out {path}."
    with on_full_disk(full), RunDirectory(path, again=again) as directory:
        (path / "cells").mkdir(exist_ok=True)
        directory.write_config(config)
        failed = _run(comparison, directory, data_root, console)
        stored = [(cell, read_cell(path / "cells", cell, comparison.data)) for cell in comparison.grid]
        records = [(cell, record) for cell, record in stored if record is not None]
        summary = summary_of(config, comparison.baseline, records, comparison.dataset, comparison.classes)
        write_results(directory, summary, comparison.device)
        show_results(directory, summary, console)
        with Reporter(console, directory.log) as reporter:
            for line in remarks(summary, failed):
                reporter.result(line)
            if summary.rows:
                reporter.line(f"The report is {report([path])}")
    console.print(Text(f"Everything is in {path}"), soft_wrap=True)
    rows = [row.plain() for row in summary.rows]
    emit(console, "finished", directory=str(path), baseline=comparison.baseline, rows=rows, failed=failed)
    return path, list(failed)


def _prepare(config: Config, data_root: Path | None, how: Launch) -> _Comparison:
    """Loads the data, lists the cells and checks them.

    Raises:
        UserError: a mistake of the user.
    """
    device = torch.device("cpu") if how.remote else resolve_device(config.device)
    forget_datasets()
    if config.seed + config.compare.seeds > 2**32:
        count = config.compare.seeds
        raise UserError(f"seed: {count} seeds from {config.seed} on exceed 2**32 - 1; use a smaller seed.")
    dataset = dataset_of(config, data_root)
    classes = make_stream(config.stream, dataset, config.seed).classes
    check_network("model", config.model, dataset)
    grid = cells(config, dataset.shape, len(classes))
    baseline = baseline_of(config, grid)
    for cell in grid:
        if cell.seed == config.seed:
            check_methods(cell.config, [cell.config.memory.method], dataset, classes)
    return _Comparison(
        config, how.on(config.device), device, dataset, len(classes), fingerprint_of(config, data_root), grid, baseline
    )


def _is_started(path: Path, config: Config, data: str) -> bool:
    """Whether the folder already holds this comparison; seeds, methods, modes and budgets may differ.

    Raises:
        UserError: it holds another comparison, or one of other data.
    """
    check_directory(path)
    if not ((path / "config.yaml").is_file() and (path / "cells").is_dir()):
        return False
    stored = load_config(str(path / "config.yaml"))
    before, now = (flat(values.model_dump(mode="json"), IN_CELLS) for values in (stored, config))
    for key in now:
        if key not in IN_CELLS and before.get(key) != now[key]:
            raise UserError(
                f"{path}: holds another comparison ({key}: {before.get(key)!r} there, {now[key]!r} here); choose "
                "another --out."
            )
    other = other_data(dict.fromkeys(sorted((path / "cells").glob("*.json")), data))
    if other is not None:
        raise UserError(
            f"{other}: ran on other data than {config.stream.label!r} holds now, and one table cannot show both; "
            "restore the former (with --data-root), or choose another --out."
        )
    return True


def _run(comparison: _Comparison, directory: RunDirectory, data_root: Path | None, console: Console) -> dict[str, str]:
    """Runs the cells that are missing; returns the errors of failed cells by their names."""
    how = comparison.how
    with Reporter(console, directory.log) as reporter:
        where = how.launcher.capitalize() if how.remote else f"{comparison.device}, {how.workers or 1} at a time"
        reporter.line(headline(comparison.config, comparison.dataset, where))
        try:
            return _run_missing(comparison, directory.path / "cells", data_root, reporter)
        except (KeyboardInterrupt, Stopped):
            reporter.line(f"stopped; continue with the same command and --out {directory.path}")
            raise


def _run_missing(comparison: _Comparison, folder: Path, data_root: Path | None, reporter: Reporter) -> dict[str, str]:
    """Runs the missing cells and writes each at once; returns the errors of failed cells by their names."""
    grid, how = comparison.grid, replace(comparison.how, folder=folder.parent)
    missing = {cell.name: cell for cell in grid if read_cell(folder, cell, comparison.data) is None}
    before = len(grid) - len(missing)
    reporter.line(f"{len(grid)} cells" + (f", {before} of them finished before" if before else ""))
    failed: dict[str, str] = {}
    printed_remarks: set[str] = set()
    if not missing:
        return failed
    first = min(cell.seed for cell in grid)  # the report shows the distillations of this seed
    jobs = {name: (cell.config.model_dump_json(), data_root, cell.seed == first) for name, cell in missing.items()}
    start = time.monotonic()
    reporter.stage(before, len(grid), "cells")
    with closing(launch(run_cell, jobs, how)) as outcomes:
        for count, (name, outcome) in enumerate(outcomes, start=1):
            accuracy = None
            if isinstance(outcome, Failure):
                failed[name] = outcome.error
                write_bytes(folder / f"{name}.error.txt", f"{without_names(outcome.error)}\n".encode())
                text = f"failed: {outcome.error}"
                if reporter.log is not None:
                    reporter.log.write(outcome.traceback)
            else:
                write_cell(folder, missing[name], outcome, how.threads_each)
                for remark in outcome.remarks:
                    if remark not in printed_remarks:
                        reporter.line(remark)
                printed_remarks.update(outcome.remarks)
                accuracy = outcome.result.final_accuracy
                text = f"{100 * accuracy:.1f} %, {outcome.seconds:.1f} s"
            reporter.event("cell", name=name, final_accuracy=accuracy, failure=failed.get(name))
            reporter.stage(before + count, len(grid), "cells")
            remaining = len(missing) - count
            minutes = (time.monotonic() - start) / count * remaining / 60
            reporter.line(f"{name}: {text}" + (f"  ({remaining} left, about {minutes:.1f} min)" if remaining else ""))
    return failed
