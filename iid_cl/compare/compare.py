"""``iid-cl compare``: a grid of methods, modes, budgets and seeds, kept cell by cell, with one table of it all."""

import time
from collections.abc import Sequence
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
from iid_cl.data.loaded import dataset_of, forget_datasets
from iid_cl.data.streams import class_order
from iid_cl.errors import UserError
from iid_cl.files import write_bytes
from iid_cl.launch.jobs import Failure, Launch
from iid_cl.launch.launch import launch
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.records.directory import RunDirectory, free_directory
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


@dataclass(frozen=True)
class _Comparison:
    """What is to be run, with everything checked that can be before anything is written."""

    config: Config
    how: Launch
    device: torch.device
    dataset: ImageDataset
    classes: int  # of the stream
    grid: list[Cell]
    baseline: str | None


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
    todo = _checked(config, data_root, how if how is not None else Launch())
    path = out if out is not None else free_directory(f"{config.name}-compare")
    again = _is_begun(path, config)
    with RunDirectory(path, again=again) as directory:
        directory.write_config(config)
        (path / "cells").mkdir(exist_ok=True)
        failed = _run(todo, directory, data_root, console)
        records = [(cell, record) for cell in todo.grid if (record := read_cell(path / "cells", cell)) is not None]
        summary = summary_of(config, todo.baseline, records, todo.dataset, todo.classes)
        write_results(directory, summary, todo.device)
        show_results(directory, summary, console)
        with Reporter(console, directory.log) as reporter:
            for line in remarks(summary, failed):
                reporter.result(line)
            if summary.rows:
                reporter.line(f"The report is {report([path])}")
    console.print(Text(f"Everything is in {path}"), soft_wrap=True)
    rows = [row.plain() for row in summary.rows]
    emit(console, "finished", directory=str(path), baseline=todo.baseline, rows=rows, failed=failed)
    return path, list(failed)


def _checked(config: Config, data_root: Path | None, how: Launch) -> _Comparison:
    """The cells, if they are possible.

    Raises:
        UserError: something the user can mend.
    """
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
    return _Comparison(config, how, device, dataset, len(classes), grid, baseline)


def _is_begun(path: Path, config: Config) -> bool:
    """Whether the folder holds this comparison already.

    Raises:
        UserError: it holds another one, or a link in place of its cells.
    """
    if not ((path / "config.yaml").is_file() and (path / "cells").is_dir()):
        return False
    if (path / "cells").is_symlink():
        raise UserError(f"{path / 'cells'}: is a link, and cells would be written elsewhere; choose another --out.")
    _check_same(path, config)
    return True


def _run(todo: _Comparison, directory: RunDirectory, data_root: Path | None, console: Console) -> dict[str, str]:
    """Runs the cells that are missing; returns the errors of those that failed."""
    with Reporter(console, directory.log) as reporter:
        where = "Ray" if todo.how.launcher == "ray" else f"{todo.device}, {todo.how.workers or 1} at a time"
        reporter.line(headline(todo.config, todo.dataset, where))
        try:
            return _run_missing(todo.grid, directory.path / "cells", data_root, todo.how, reporter)
        except (KeyboardInterrupt, Stopped):
            reporter.line(f"stopped; the same command with --out {directory.path} goes on")
            raise


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
                write_cell(folder, missing[name], outcome, how.threads_each)
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
