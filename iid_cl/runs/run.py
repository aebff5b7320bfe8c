"""``iid-cl run`` and ``iid-cl resume``: train the methods in turn and store the results in a directory."""

import errno
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from rich.console import Console
from rich.text import Text

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.methods import MethodName
from iid_cl.config.reading import first_difference, load_config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.fingerprint import fingerprint
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import class_order
from iid_cl.errors import UserError
from iid_cl.files import State, read_text
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.records.checkpoint import STATE, Checkpoints, fits_the_run
from iid_cl.records.directory import RunDirectory, free_directory, is_used
from iid_cl.records.provenance import differences, provenance
from iid_cl.records.recording import Recording
from iid_cl.records.result import Result
from iid_cl.report.page import report
from iid_cl.report.pictures import save_memory_picture
from iid_cl.report.tables import results_table
from iid_cl.runs.audit import Audit, remark
from iid_cl.runs.experiment import run_method
from iid_cl.runs.loggers import Loggers, check_loggers
from iid_cl.runs.saver import Saver
from iid_cl.runs.whole import origin_of
from iid_cl.terminal.headline import headline
from iid_cl.terminal.reporter import Reporter
from iid_cl.terminal.screen import emit
from iid_cl.terminal.signals import Stopped, stop_request

BEGUN = "begun.json"
WIDE = 76  # columns that the full table needs

_RESULT = TypeAdapter(Result)


def run(config: Config, data_root: Path | None, out: Path | None, console: Console) -> Path:
    """Runs the configured memory and its ``baselines`` with one seed; returns the run directory.

    An unfinished run of the same configuration in ``out`` is resumed. Its results equal those of an uninterrupted run,
    except for times.

    Raises:
        UserError: a mistake of the user, detected before the directory is made wherever possible.
        Stopped: a signal asked the run to stop; its state is saved.
    """
    path = out if out is not None else free_directory(config.name)
    unfinished = path.is_dir() and is_used(path)
    if unfinished:
        before = _unfinished(path)
        different = first_difference(before, config)
        if different is not None:
            raise UserError(
                f"{path}: holds an unfinished run of another configuration ({different}); choose another --out, or "
                f"finish it with iid-cl resume {path}."
            )
    job = _Run(config, data_root, path, unfinished, console)
    with job.directory:
        job.all_methods()
    return path


def resume(path: Path, console: Console) -> Path:
    """Finishes the unfinished run in ``path``, with the data it started with.

    Raises:
        UserError: there is no unfinished run, or another mistake of the user.
        Stopped: a signal asked the run to stop; its state is saved.
    """
    config = _unfinished(path)
    root = _begun(path).get("data_root")
    return run(config, None if root is None else Path(root), path, console)


def _unfinished(path: Path) -> Config:
    """The configuration of the unfinished run in a directory.

    Raises:
        UserError: the directory holds no unfinished run.
    """
    if (path / "run.json").is_file():
        raise UserError(f"{path}: holds a finished run; choose another --out, or remove it.")
    if not (path / "config.yaml").is_file() or not (path / BEGUN).is_file():
        if not path.is_dir():
            raise UserError(f"{path}: no such run directory.")
        raise UserError(f"{path}: holds files already, and no unfinished run; choose another --out, or remove it.")
    return load_config(str(path / "config.yaml"))


def _begun(path: Path) -> dict[str, Any]:
    """The record that was written when the run started: provenance and data.

    Raises:
        UserError: the file is damaged.
    """
    try:
        record = json.loads(read_text(path / BEGUN))
        kinds = {"provenance": dict, "data": str, "data_root": str | None}
        if not all(isinstance(record[key], kind) for key, kind in kinds.items()):
            raise TypeError
        return dict(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path / BEGUN}: is damaged; remove the run directory and run it again.") from None


class _Run:
    """A run in its directory. Every check that is possible comes before the first file is written."""

    def __init__(self, config: Config, data_root: Path | None, path: Path, unfinished: bool, console: Console) -> None:
        self._config, self._console, self._path = config, console, path
        self._methods = list(dict.fromkeys([config.memory.method, *config.baselines]))
        self._device, self._dataset = _prepare(config, self._methods, data_root)
        data = fingerprint(self._dataset)
        before = _begun(path) if unfinished else None
        if before is not None and before["data"] != data:
            raise UserError(
                f"stream.dataset: the files of {config.stream.dataset!r} have changed since the run in {path} was "
                "started; restore them, or choose another --out."
            )
        self._before = None if before is None else before["provenance"]
        self._results: list[Result] = []
        self._audit = Audit(self._dataset, class_order(config.stream, len(self._dataset.class_names), config.seed))
        self._recording = Recording(self._dataset.class_names)
        self._checks: dict[MethodName, Any] = {}  # results of the audit
        self.directory = RunDirectory(path, again=unfinished)
        self._checkpoints = Checkpoints(path / STATE)
        if not unfinished:
            root = None if data_root is None else str(data_root.resolve())
            record = {"provenance": provenance(self._device), "data_root": root, "data": data}
            self.directory.write_config(config)
            self.directory.write_summary(BEGUN, record)

    def all_methods(self) -> None:
        """Runs the methods that are not finished, and reports on all."""
        config = self._config
        try:
            with (
                stop_request() as stop,
                Reporter(self._console, self.directory.log) as reporter,
                deterministic(config.deterministic, reporter.line),
            ):
                state = self._load_checkpoint(reporter) if self._before is not None else None
                saver = Saver(self._checkpoints, config.checkpoint.every, stop, self._state)
                if state is None:
                    reporter.line(headline(config, self._dataset, self._device))
                    for note in self._dataset.remarks:
                        reporter.line(f"note: {note}")
                for method in self._methods[len(self._results) :]:
                    self._results.append(self._one_method(method, reporter, saver, state))
                    state = None
                    saver.save()
                self._finish(saver, reporter)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{self._path}: the disk is full; free some space, then iid-cl resume {self._path}."
            ) from None
        except Stopped:
            self._console.print(Text(f"stopped; resume with: iid-cl resume {self._path}"), soft_wrap=True)
            emit(self._console, "stopped", directory=str(self._path))
            raise

    def _load_checkpoint(self, reporter: Reporter) -> Mapping[str, Any] | None:
        """Loads the last checkpoint; returns the state of the interrupted method."""
        state = self._checkpoints.newest(reporter.line)
        with fits_the_run():
            self.directory.rewind({} if state is None else state["sizes"])
        for change in differences(self._before or {}, provenance(self._device)):
            reporter.line(f"note: {change}")
        if state is None:
            return None
        with fits_the_run():
            self._results = [_RESULT.validate_python(result) for result in state["results"]]
            self._audit.load_state_dict(state["audit"])
            self._checks = state["checks"]
            self._recording.load_state_dict(state["recording"])
            method: Mapping[str, Any] | None = state["method"]
            progress = f"{len(self._results)} of {len(self._methods)} methods done"
            where = "" if method is None else f", experience {method['index'] + 1}"
        self._console.print(Text(f"{self._config.name}: resumed ({progress}{where})"), soft_wrap=True)
        return method

    def _state(self, of_method: State | None) -> State:
        return {
            "sizes": self.directory.sizes(),
            "results": [asdict(result) for result in self._results],
            "checks": self._checks,
            "audit": self._audit.state_dict(),
            "recording": self._recording.state_dict(),
            "method": of_method,
        }

    def _one_method(
        self, method: MethodName, reporter: Reporter, saver: Saver, state: Mapping[str, Any] | None
    ) -> Result:
        """Runs one method; its metrics, memory and picture go to the directory."""
        config, dataset, directory = self._config, self._dataset, self.directory

        def on_experience(record: Mapping[str, Any]) -> None:
            directory.add_metrics({"method": method, "seed": config.seed, **record})
            reporter.event("experience", method=method, seed=config.seed, **record)

        prefix = f"{method}: " if len(self._methods) > 1 else ""
        with Loggers(config, method, directory.path, dataset.class_names) as loggers:
            result, memory = run_method(
                config,
                method,
                dataset,
                self._device,
                reporter,
                prefix=prefix,
                on_experience=on_experience,
                on_images=self._audit.watch(method),
                saver=saver,
                state=state,
                loggers=loggers,
                recording=self._recording,
            )
        if memory is not None and memory.exemplars is not None:
            stem = "memory" if method == config.memory.method else f"memory-{method}"
            path = directory.path / f"{stem}.safetensors"
            memory.save(path, origin_of(config, dataset))
            save_memory_picture(path.with_suffix(".png"), memory.exemplars, dataset.class_names)
            self._checks[method] = self._audit.verify(method, path, result.memory_bytes, config.memory.budget)
            reporter.line(f"{prefix}{remark(self._checks[method])}")
        return result

    def _finish(self, saver: Saver, reporter: Reporter) -> None:
        """Writes ``run.json``, which marks the run as finished; removes the checkpoints; prints the results."""
        config, directory = self._config, self.directory
        self._recording.write(directory.path)
        if self._checks:
            self._audit.save_sources(directory.path / "sources.json")
        directory.write_summary(
            "run.json",
            {
                **provenance(self._device),
                "data": _begun(self._path)["data"],
                "results": [asdict(result) for result in self._results],
                "checks": self._checks,
                "checkpoints": {"saves": saver.saves, "seconds": round(saver.seconds, 3)},
            },
        )
        shutil.rmtree(self._path / STATE, ignore_errors=True)
        title = f"{config.name}: seed {config.seed}, {config.train.mode.replace('_', ' ')}"
        for result in self._results:
            emit(self._console, "result", **asdict(result))
        self._console.print(results_table(self._results, title, full=self._console.width >= WIDE))
        Console(file=directory.log, width=110, color_system=None).print(results_table(self._results, title))
        reporter.line(f"The report is {report([self._path])}")
        self._console.print(Text(f"Everything is in {self._path}"), soft_wrap=True)
        emit(self._console, "finished", directory=str(self._path))


def _prepare(
    config: Config, methods: Sequence[MethodName], data_root: Path | None
) -> tuple[torch.device, ImageDataset]:
    """Device and data, checked as far as possible before anything is written."""
    check_loggers(config)
    device = resolve_device(config.device)
    dataset = load_dataset(config.stream, data_root, config.seed)
    order = class_order(config.stream, len(dataset.class_names), config.seed)
    check_network("model", config.model, dataset)
    check_methods(config, methods, dataset, [c for group in order for c in group])
    return device, dataset
