"""``iid-cl run`` and ``iid-cl resume``: train the methods in turn and store the results in a directory."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from rich.console import Console
from rich.text import Text

from iid_cl.audit.audit import Audit, promise_of, remark
from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.methods import MethodName
from iid_cl.config.reading import first_difference
from iid_cl.data.datasets import load_dataset
from iid_cl.data.fingerprint import fingerprint
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import Stream, class_order, make_stream
from iid_cl.errors import NO_RUN, UserError
from iid_cl.evaluate.model import NAME as MODEL
from iid_cl.evaluate.model import TrainedModel, save_model
from iid_cl.files import State, on_full_disk
from iid_cl.nets import Network
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.precheck.forecast import Forecast, Spent, spent_on
from iid_cl.precheck.plan import Step, plan
from iid_cl.records.checkpoint import Checkpoints, fits_the_run
from iid_cl.records.directory import STATE, RunDirectory, new_directory
from iid_cl.records.integrity import check_memories
from iid_cl.records.provenance import differences, provenance
from iid_cl.records.recording import Recording
from iid_cl.records.result import Result
from iid_cl.report.page import report
from iid_cl.report.pictures import save_memory_picture
from iid_cl.report.tables import results_table
from iid_cl.runs.begun import (
    Begun,
    Stage,
    check_programs,
    config_of,
    is_finished,
    read_begun,
    read_run,
    stage_of,
    write_begun,
)
from iid_cl.runs.ending import interruptions, measured
from iid_cl.runs.experiment import run_method
from iid_cl.runs.loggers import Loggers, check_loggers
from iid_cl.runs.saver import Saver
from iid_cl.runs.whole import origin_of
from iid_cl.terminal.headline import headline
from iid_cl.terminal.reporter import Reporter
from iid_cl.terminal.screen import emit
from iid_cl.terminal.signals import stop_request

WIDE = 76  # columns that the full table needs

_RESULT = TypeAdapter(Result)


def run(config: Config, data_root: Path | None, out: Path | None, console: Console) -> Path:
    """Runs the configured memory and its ``baselines`` with one seed; returns the run directory.

    An unfinished run of the same configuration in ``out`` is resumed. Its results equal those of an uninterrupted run,
    except for times. Where only the report is missing, it is made.

    Raises:
        UserError: a mistake of the user, detected before the directory is made wherever possible.
        Stopped: a signal asked the run to stop; its state is saved.
    """
    stage, begun = Stage.NEW if out is None else stage_of(out), None
    if out is not None and stage is not Stage.NEW:
        begun = read_run(out)
        different = first_difference(config_of(out, begun), config)
        if different is not None:
            raise UserError(
                f"{out}: holds an unfinished run of another configuration ({different}); choose another --out, or "
                f"finish it with iid-cl resume {out}."
            )
        if stage is Stage.MEASURED:
            _conclude_again(config, out, console)
            return out
    job = _Run(config, data_root, out, begun, console)
    with job.directory:
        job.all_methods()
    return job.path


def resume(path: Path, console: Console, data_root: Path | None = None, *, run_program: bool = False) -> Path:
    """Finishes the unfinished run in ``path``, with the data it started with. Of a finished one it says that.

    Args:
        path: the run directory.
        console: where to print.
        data_root: folder of the data sets, where it has moved; None: the folder that the run started with.
        run_program: whether a program that the run's configuration names as its data may run.

    Raises:
        UserError: there is no unfinished run, or another mistake of the user.
        Stopped: a signal asked the run to stop; its state is saved.
    """
    if not path.is_dir():
        raise UserError(f"{path}: {NO_RUN}")
    if is_finished(path):
        console.print(Text(f"{path}: is finished; iid-cl list {path} shows its results."), soft_wrap=True)
        emit(console, "finished", directory=str(path))
        return path
    if stage_of(path) is Stage.NEW:
        raise UserError(f"{path}: no run has begun there; give its `iid-cl run` command again.")
    begun = read_run(path)
    config = config_of(path, begun)
    check_programs(path, config.stream.programs, run_program)
    return run(config, data_root if data_root is not None else begun.data_root, path, console)


class _Run:
    """A run in its directory. Every check that is possible comes before the first file is written."""

    def __init__(
        self, config: Config, data_root: Path | None, out: Path | None, begun: Begun | None, console: Console
    ) -> None:
        self._config, self._console, self._data_root, self._begun = config, console, data_root, begun
        self._methods = list(dict.fromkeys([config.memory.method, *config.baselines]))
        self._device, self._dataset, stream = _prepare(config, self._methods, data_root)
        self._data = fingerprint(self._dataset)
        if begun is not None and begun.data != self._data:
            raise UserError(
                f"stream.dataset: the files of {config.stream.label!r} have changed since the run in {out} was "
                "started; restore them, or choose another --out."
            )
        self._results: list[Result] = []
        self._audit = Audit(self._dataset, stream)
        self._recording = Recording(self._dataset.class_names)
        self._forecast = Forecast(self._plans)
        self._checks: dict[MethodName, Any] = {}  # results of the audit
        self.path = out if out is not None else new_directory(config.name)
        self.directory = RunDirectory(self.path, again=begun is not None)
        self._checkpoints = Checkpoints(self.path / STATE)

    def all_methods(self) -> None:
        """Runs the methods that are not finished, and reports on all."""
        config, path = self._config, self.path
        if self._begun is None:
            with on_full_disk(f"{path}: the disk is full; free some space, then give the same command again."):
                write_begun(self.directory, config, provenance(self._device), self._data, self._data_root)
        way = f"iid-cl resume {path}{' --run-program' if config.stream.programs else ''}"
        with (
            interruptions(path, self._console, way),
            stop_request() as stop,
            Reporter(self._console, self.directory.log) as reporter,
            deterministic(config.deterministic, reporter.line),
        ):
            state = self._load_checkpoint(self._begun, reporter) if self._begun is not None else None
            saver = Saver(self._checkpoints, config.checkpoint.every, stop, self._state)
            if state is None:
                reporter.line(headline(config, self._dataset, self._device))
                for note in self._dataset.remarks:
                    reporter.line(f"note: {note}")
            for method in self._methods[len(self._results) :]:
                reporter.method(len(self._results) + 1, len(self._methods))
                self._results.append(self._one_method(method, reporter, saver, state))
                state = None
                saver.save()
            self._write_results(saver)
            _conclude(self.directory, config, self._results, self._console, reporter)

    def _plans(self) -> dict[str, list[Step]]:
        order = class_order(self._config.stream, len(self._dataset.class_names), self._config.seed)
        return {method: plan(self._config, method, self._dataset, order) for method in self._methods}

    def _left(self, method: MethodName, spent: Spent) -> float | None:
        """Seconds left of the run in its current method."""
        before = {result.method: spent_on(result) for result in self._results}
        return self._forecast.left({**before, method: spent})

    def _load_checkpoint(self, begun: Begun, reporter: Reporter) -> Mapping[str, Any] | None:
        """Loads the last checkpoint; returns the state of the interrupted method."""
        state = self._checkpoints.newest(reporter.line)
        with fits_the_run():
            self.directory.rewind({} if state is None else state["sizes"])
        for change in differences(begun.provenance, provenance(self._device)):
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
        check_memories(self.path, self._checks)  # of methods that are done
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
                left=partial(self._left, method),
                on_network=self._save_model if method == config.memory.method else None,
            )
        if memory is not None and memory.exemplars is not None:
            stem = "memory" if method == config.memory.method else f"memory-{method}"
            path = directory.path / f"{stem}.safetensors"
            memory.save(path, origin_of(config, dataset))
            save_memory_picture(path.with_suffix(".png"), memory.exemplars, dataset.class_names)
            checks = self._audit.verify(
                method, path, result.memory_bytes, config.memory.budget, promise_of(memory.method)
            )
            self._checks[method] = {**checks, "file": path.name}
            reporter.line(f"{prefix}{remark(checks)}")
        return result

    def _save_model(self, network: Network) -> None:
        dataset, config = self._dataset, self._config
        order = class_order(config.stream, len(dataset.class_names), config.seed)
        model = TrainedModel(network, config.model, dataset.shape, dataset.class_names, dataset.normalization, order)
        save_model(self.path / MODEL, model)

    def _write_results(self, saver: Saver) -> None:
        """Writes ``run.json``, after which only the report is left."""
        directory = self.directory
        self._recording.write(directory.path)
        if self._checks:
            self._audit.save_sources(directory.path / "sources.json")
        directory.write_summary(
            "run.json",
            {
                **provenance(self._device),
                "started": read_begun(self.path).started,
                "data": self._data,
                "results": [asdict(result) for result in self._results],
                "checks": self._checks,
                "checkpoints": {"saves": saver.saves, "seconds": round(saver.seconds, 3)},
            },
        )


def _conclude(
    directory: RunDirectory, config: Config, results: Sequence[Result], console: Console, reporter: Reporter
) -> None:
    """Shows the results in ``run.json`` and makes the report. Last it removes the checkpoints: the run is finished."""
    path = directory.path
    title = f"{config.name}: seed {config.seed}, {config.train.mode.replace('_', ' ')}"
    for result in results:
        emit(console, "result", **asdict(result))
    console.print(results_table(results, title, full=console.width >= WIDE))
    Console(file=directory.log, width=110, color_system=None).print(results_table(results, title))
    reporter.line(f"The report is {report([path])}")
    directory.log.flush()
    shutil.rmtree(path / STATE, ignore_errors=True)
    console.print(Text(f"Everything is in {path}"), soft_wrap=True)
    emit(console, "finished", directory=str(path))


def _conclude_again(config: Config, path: Path, console: Console) -> None:
    """Ends a run that was interrupted in its end. Neither its data nor its device are needed.

    Raises:
        UserError: ``run.json`` is damaged, or a memory is not the one that it names.
        Stopped: a signal asked the run to stop.
    """
    with RunDirectory(path, again=True) as directory:
        results, checks = measured(path / "run.json")
        check_memories(path, checks)
        with (
            interruptions(path, console),
            stop_request(),
            Reporter(console, directory.log) as reporter,
        ):
            _conclude(directory, config, results, console, reporter)


def _prepare(
    config: Config, methods: Sequence[MethodName], data_root: Path | None
) -> tuple[torch.device, ImageDataset, Stream]:
    """Device, data and stream, checked as far as possible before anything is written."""
    check_loggers(config)
    device = resolve_device(config.device)
    dataset = load_dataset(config.stream, data_root, config.seed)
    stream = make_stream(config.stream, dataset, config.seed)
    check_network("model", config.model, dataset)
    check_methods(config, methods, dataset, stream.classes)
    return device, dataset, stream
