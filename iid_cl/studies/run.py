"""Runs a study: makes and judges a memory per variant, value and seed, and keeps each as soon as it is there."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.study import StudyConfig
from iid_cl.data.images import ImageDataset
from iid_cl.data.loaded import dataset_of, forget_datasets
from iid_cl.evaluate.protocol import judge
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import save_memory
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.records.provenance import provenance
from iid_cl.report.pictures import save_memory_picture
from iid_cl.runs.whole import memory_metadata, whole_memory
from iid_cl.studies.cases import Case, cases
from iid_cl.studies.directory import Cell, Place, StudyRun, make_cell, study_run
from iid_cl.studies.figures import save_accuracy_figure
from iid_cl.studies.rows import Row
from iid_cl.studies.tables import study_table
from iid_cl.terminal.screen import emit


def run_study(
    study: StudyConfig, data_root: Path | None, out: Path | None, console: Console, *, keep_memories: bool = False
) -> list[Row]:
    """Makes and judges every memory of the study; writes ``study.csv``, ``study.json`` and ``study.png``.

    An unfinished study in ``out`` goes on: cells that are finished are not run again. The rows equal those of an
    uninterrupted study, except for times.

    Args:
        study: what to compare.
        data_root: folder of the data sets.
        out: folder to make or to continue; None takes a free one under ``runs/``.
        console: where to print.
        keep_memories: also store the first seed's memories and their pictures.

    Raises:
        UserError: a variant is no valid configuration, or a setting does not fit the data; detected before anything
            is written wherever possible.
    """
    todo = cases(study)
    forget_datasets()
    device = resolve_device(todo[0].config.device)
    for case in todo:
        check_case(case, dataset_of(case.config, data_root))
    trials = list(_trials(study, todo, data_root, keep_memories))
    place = Place(study, data_root, out, keep_memories)
    with study_run(place, [trial.cell for trial in trials], Row, device, console) as run:
        with deterministic(todo[0].config.deterministic, run.reporter.line):
            rows = Runner(run, study.iterations, data_root, device).rows(trials)
        axis = study.sweep.key if study.sweep else "iterations" if study.iterations else None
        save_accuracy_figure(run.path / "study.png", rows, study.title, axis)
        console.print(study_table(rows, study.title))
        run.conclude({"study": study.model_dump(mode="json"), **provenance(device), "rows": list(map(asdict, rows))})
        console.print(Text(f"Everything is in {run.path}"), soft_wrap=True)
        emit(console, "finished", directory=str(run.path), rows=[asdict(row) for row in rows])
    return rows


@dataclass(frozen=True)
class Trial:
    """A case with one seed, which the cell's configuration holds. With ``stored``, its memories are stored."""

    case: Case
    cell: Cell
    stored: bool


@dataclass(frozen=True)
class _Entry:
    """A memory, its place on the x-axis, and the seconds it took."""

    x: float | None
    memory: Exemplars
    seconds: float


def check_case(case: Case, dataset: ImageDataset) -> None:
    """Checks that the case's memory and networks fit the data.

    Raises:
        UserError: they do not.
    """
    check_methods(case.config, [case.config.memory.method], dataset, range(len(dataset.class_names)))
    check_network("evaluate.network", case.config.evaluate.network, dataset)
    for index, network in enumerate(case.config.evaluate.transfer):
        check_network(f"evaluate.transfer.{index}", network, dataset)


def _trials(study: StudyConfig, todo: Sequence[Case], data_root: Path | None, keep: bool) -> Iterator[Trial]:
    """All cases with the first seed, then with the next."""
    for offset in range(study.seeds):
        for number, case in enumerate(todo):
            config = case.config.model_copy(update={"seed": case.config.seed + offset})
            stored = keep and not offset
            yield Trial(case, make_cell(number, config, data_root, [study.iterations, stored]), stored)


class Runner:
    """Runs the trials of a study in its directory."""

    def __init__(self, run: StudyRun, iterations: list[int] | None, data_root: Path | None, device: torch.device):
        self._run, self._iterations, self._data_root, self._device = run, iterations, data_root, device

    def rows(self, trials: Sequence[Trial]) -> list[Row]:
        """The rows of all trials. What is kept is not run again; what is run is kept as soon as it is there."""
        kept = {trial.cell.name: self._run.kept(trial.cell) for trial in trials}
        reporter, done = self._run.reporter, sum(rows is not None for rows in kept.values())
        reporter.line(f"{len(trials)} memories" + (f", {done} of them finished before" if done else ""))
        reporter.stage(done, len(trials), "memories")
        rows: list[Row] = []
        for trial in trials:
            before = kept[trial.cell.name]
            if before is None:
                self._run.write_table(rows)
                before = self.one(trial, len(rows))
                done += 1
                reporter.stage(done, len(trials), "memories")
            rows += before
        self._run.write_table(rows)
        return rows

    def one(self, trial: Trial, number: int) -> list[Row]:
        """Runs a trial and keeps its rows, which come after ``number`` others."""
        dataset = dataset_of(trial.cell.config, self._data_root)
        rows: list[Row] = []
        files: list[Path] = []
        for entry in self._memories(trial, dataset):
            rows += self._judged(trial, entry, dataset)
            if trial.stored:
                name = f"memory-{number + len(rows)}-{_slug(trial.case.variant, entry.x)}.safetensors"
                files.append(self._run.path / name)
                metadata = memory_metadata(trial.cell.config, dataset, self._device, entry.seconds)
                save_memory(files[-1], entry.memory, metadata)
                save_memory_picture(files[-1].with_suffix(".png"), entry.memory, dataset.class_names)
        self._run.keep(trial.cell, rows, files)
        return rows

    def _memories(self, trial: Trial, dataset: ImageDataset) -> list[_Entry]:
        """The memory of a trial, or its memories at each of the study's iterations."""
        start = time.perf_counter()
        snapshots: list[_Entry] = []

        def on_snapshot(iteration: int, memory: Exemplars) -> None:
            snapshots.append(_Entry(float(iteration), memory, time.perf_counter() - start))

        memory = whole_memory(
            trial.cell.config, dataset, self._device, self._run.reporter,
            on_snapshot=on_snapshot, snapshots=self._iterations or (),
        )  # fmt: skip
        once = [_Entry(trial.case.x, memory, time.perf_counter() - start)]
        return snapshots if self._iterations is not None else once

    def _judged(self, trial: Trial, entry: _Entry, dataset: ImageDataset) -> Iterator[Row]:
        """A row per trained network."""
        start, config = time.perf_counter(), trial.cell.config
        judgements = judge(
            entry.memory,
            dataset.test,
            config.evaluate,
            normalization=dataset.normalization,
            augmentations=dataset.augmentations,
            seed=config.seed,
            device=self._device,
            precision=config.precision,
            compile=config.compile,
        )
        seconds = time.perf_counter() - start
        variant, where = trial.case.variant, "" if entry.x is None else f" at {entry.x:g}"
        for judgement in judgements:
            label, accuracies = judgement.network.label, judgement.accuracies
            self._run.reporter.line(
                f"{variant}{where}, seed {config.seed}, {label}: {100 * judgement.mean:.1f} % "
                f"({entry.seconds:.0f} s + {seconds:.0f} s)"
            )
            self._run.reporter.event(
                "judgement", variant=variant, x=entry.x, seed=config.seed, network=label, accuracies=accuracies
            )
            for number, accuracy in enumerate(accuracies, start=1):
                yield Row(
                    variant=variant,
                    x=entry.x,
                    seed=config.seed,
                    architecture=label,
                    network=number,
                    accuracy=accuracy,
                    images=len(entry.memory),
                    bytes=entry.memory.nbytes,
                    condense_seconds=round(entry.seconds, 2),
                    evaluate_seconds=round(seconds, 2),
                )


def _slug(variant: str, x: float | None) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in variant)
    return name if x is None else f"{name}-{x:g}"
