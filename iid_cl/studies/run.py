"""Runs a study: makes and judges a memory per variant, value and seed, and writes each row at once."""

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.study import StudyConfig
from iid_cl.data.images import ImageDataset
from iid_cl.data.loaded import dataset_of, forget_datasets
from iid_cl.evaluate.protocol import judge
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import save_memory
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.records.directory import RunDirectory, new_directory
from iid_cl.records.provenance import provenance
from iid_cl.report.pictures import save_memory_picture
from iid_cl.runs.whole import memory_metadata, whole_memory
from iid_cl.studies.cases import Case, cases
from iid_cl.studies.figures import save_accuracy_figure
from iid_cl.studies.rows import Row
from iid_cl.studies.tables import study_table
from iid_cl.terminal.reporter import Reporter


def run_study(
    study: StudyConfig, data_root: Path | None, out: Path | None, console: Console, *, keep_memories: bool = False
) -> list[Row]:
    """Makes and judges every memory of the study; writes ``study.csv``, ``study.json`` and ``study.png``.

    Args:
        study: what to compare.
        data_root: folder of the data sets.
        out: folder to make; None takes a free one under ``runs/``.
        keep_memories: also store the first seed's memories and their pictures.

    Raises:
        UserError: a variant is no valid configuration, or a setting does not fit the data; detected before anything
            is written wherever possible.
    """
    todo = cases(study)
    forget_datasets()
    device = resolve_device(todo[0].config.device)
    for case in todo:
        _check(case, dataset_of(case.config, data_root))
    rows: list[Row] = []
    with RunDirectory(out if out is not None else new_directory(study.name)) as directory:
        with (
            Reporter(console, directory.log) as reporter,
            deterministic(todo[0].config.deterministic, reporter.line),
            (directory.path / "study.csv").open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            writer.writeheader()
            for trial in _trials(study.seeds, todo, data_root, device, reporter):
                for entry in _memories(trial, study.iterations):
                    for row in _rows(trial, entry):
                        rows.append(row)
                        writer.writerow(asdict(row))
                        file.flush()
                    if keep_memories and trial.config.seed == trial.case.config.seed:
                        _store(directory.path / f"memory-{len(rows)}", trial, entry)
        _summarise(directory, study, rows, device)
        console.print(study_table(rows, study.title))
        console.print(Text(f"Everything is in {directory.path}"), soft_wrap=True)
    return rows


@dataclass(frozen=True)
class _Trial:
    """A case with one seed, which ``config`` holds."""

    case: Case
    config: Config
    dataset: ImageDataset
    device: torch.device
    reporter: Reporter


@dataclass(frozen=True)
class _Entry:
    """A memory, its place on the x-axis, and the seconds it took."""

    x: float | None
    memory: Exemplars
    seconds: float


def _check(case: Case, dataset: ImageDataset) -> None:
    check_methods(case.config, [case.config.memory.method], dataset, range(len(dataset.class_names)))
    check_network("evaluate.network", case.config.evaluate.network, dataset)
    for index, network in enumerate(case.config.evaluate.transfer):
        check_network(f"evaluate.transfer.{index}", network, dataset)


def _trials(
    seeds: int, todo: Sequence[Case], data_root: Path | None, device: torch.device, reporter: Reporter
) -> Iterator[_Trial]:
    """All cases with the first seed, then with the next."""
    for offset in range(seeds):
        for case in todo:
            config = case.config.model_copy(update={"seed": case.config.seed + offset})
            yield _Trial(case, config, dataset_of(config, data_root), device, reporter)


def _memories(trial: _Trial, iterations: list[int] | None) -> list[_Entry]:
    """The memory of a trial, or its memories at each of ``iterations``."""
    start = time.perf_counter()
    snapshots: list[_Entry] = []

    def on_snapshot(iteration: int, memory: Exemplars) -> None:
        snapshots.append(_Entry(float(iteration), memory, time.perf_counter() - start))

    memory = whole_memory(
        trial.config, trial.dataset, trial.device, trial.reporter,
        on_snapshot=on_snapshot, snapshots=iterations or (),
    )  # fmt: skip
    return snapshots if iterations is not None else [_Entry(trial.case.x, memory, time.perf_counter() - start)]


def _rows(trial: _Trial, entry: _Entry) -> Iterator[Row]:
    """A row per trained network."""
    start = time.perf_counter()
    judgements = judge(
        entry.memory,
        trial.dataset.test,
        trial.config.evaluate,
        normalization=trial.dataset.normalization,
        augmentations=trial.dataset.augmentations,
        seed=trial.config.seed,
        device=trial.device,
        precision=trial.config.precision,
        compile=trial.config.compile,
    )
    seconds = time.perf_counter() - start
    variant, seed = trial.case.variant, trial.config.seed
    where = "" if entry.x is None else f" at {entry.x:g}"
    for judgement in judgements:
        trial.reporter.line(
            f"{variant}{where}, seed {seed}, {judgement.network.label}: {100 * judgement.mean:.1f} % "
            f"({entry.seconds:.0f} s + {seconds:.0f} s)"
        )
        for number, accuracy in enumerate(judgement.accuracies, start=1):
            yield Row(
                variant=variant,
                x=entry.x,
                seed=seed,
                architecture=judgement.network.label,
                network=number,
                accuracy=accuracy,
                images=len(entry.memory),
                bytes=entry.memory.nbytes,
                condense_seconds=round(entry.seconds, 2),
                evaluate_seconds=round(seconds, 2),
            )


def _store(stem: Path, trial: _Trial, entry: _Entry) -> None:
    """Writes the memory and its picture, with names that start with ``stem``."""
    path = stem.with_name(f"{stem.name}-{_slug(trial.case.variant, entry.x)}.safetensors")
    save_memory(path, entry.memory, memory_metadata(trial.config, trial.dataset, trial.device, entry.seconds))
    save_memory_picture(path.with_suffix(".png"), entry.memory, trial.dataset.class_names)


def _summarise(directory: RunDirectory, study: StudyConfig, rows: Sequence[Row], device: torch.device) -> None:
    """Writes ``study.json`` and draws ``study.png``."""
    summary = {"study": study.model_dump(mode="json"), **provenance(device), "rows": [asdict(row) for row in rows]}
    directory.write_summary("study.json", summary)
    axis = study.sweep.key if study.sweep else "iterations" if study.iterations else None
    save_accuracy_figure(directory.path / "study.png", rows, study.title, axis)


def _slug(variant: str, x: float | None) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in variant)
    return name if x is None else f"{name}-{x:g}"
