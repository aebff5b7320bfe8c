"""Running a study: memories made and judged per variant, value and seed; every row is kept as soon as it is there."""

import csv
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from iid_cl.config import Config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset
from iid_cl.devices import resolve_device
from iid_cl.evaluate.scratch import judge
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import save_memory
from iid_cl.report.pictures import save_memory_picture
from iid_cl.report.tables import study_table
from iid_cl.runs.checks import check_methods, check_network
from iid_cl.runs.directory import RunDirectory, free_directory
from iid_cl.runs.memories import make_memory
from iid_cl.runs.provenance import provenance
from iid_cl.runs.reporter import Reporter
from iid_cl.studies.cases import Case, cases
from iid_cl.studies.config import StudyConfig
from iid_cl.studies.figures import save_accuracy_figure


@dataclass(frozen=True)
class Row:
    """One trained network: a line of the study's CSV. ``x`` is the swept value or the iteration, if there is one."""

    variant: str
    x: float | None
    seed: int
    architecture: str
    network: int
    accuracy: float
    images: int
    bytes: int
    condense_seconds: float
    evaluate_seconds: float


def run_study(
    study: StudyConfig, data_root: Path | None, out: Path | None, console: Console, *, keep_memories: bool = False
) -> list[Row]:
    """Makes and judges every memory of the study; writes ``study.csv``, ``study.json`` and ``study.png``.

    Args:
        study: what to compare.
        data_root: folder of the data sets.
        out: folder to make; None takes a free one under ``runs/``.
        keep_memories: store the first seed's memories and their pictures, too.

    Raises:
        UserError: a variant is no valid configuration, or something does not fit the data; found before anything
            is written wherever possible.
    """
    todo = cases(study)
    device = resolve_device(todo[0].config.device)
    dataset = load_dataset(todo[0].config.stream, data_root, todo[0].config.seed)
    for case in todo:
        _check(case, dataset)
    rows: list[Row] = []
    with RunDirectory(out if out is not None else free_directory(study.name)) as directory:
        table = directory.path / "study.csv"
        with Reporter(console, directory.log) as reporter, table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            writer.writeheader()
            for offset in range(study.seeds):
                for case in todo:
                    seeded = case.config.model_copy(update={"seed": case.config.seed + offset})
                    dataset = load_dataset(seeded.stream, data_root, seeded.seed) if offset else dataset
                    for row, memory in _judged(case, seeded, study.iterations, dataset, device, reporter):
                        rows.append(row)
                        writer.writerow(asdict(row))
                        file.flush()
                        if keep_memories and offset == 0:
                            stem = directory.path / f"memory-{_file_name(case)}.safetensors"
                            save_memory(stem, memory)
                            save_memory_picture(stem.with_suffix(".png"), memory, dataset.class_names)
        summary = {"study": study.model_dump(mode="json"), **provenance(device), "rows": [asdict(row) for row in rows]}
        directory.write_summary("study.json", summary)
        axis = study.sweep.key if study.sweep else "iterations" if study.iterations else None
        save_accuracy_figure(directory.path / "study.png", rows, study.title, axis)
        console.print(study_table(rows, study.title))
        console.print(Text(f"Everything is in {directory.path}"), soft_wrap=True)
    return rows


def _check(case: Case, dataset: ImageDataset) -> None:
    check_methods(case.config, [case.config.memory.method], dataset, range(len(dataset.class_names)))
    check_network("evaluate.network", case.config.evaluate.network, dataset)
    for index, network in enumerate(case.config.evaluate.transfer):
        check_network(f"evaluate.transfer.{index}", network, dataset)


def _judged(
    case: Case,
    config: Config,
    iterations: list[int] | None,
    dataset: ImageDataset,
    device: torch.device,
    reporter: Reporter,
) -> Iterator[tuple[Row, ExemplarSet]]:
    """The rows of one variant, value and seed."""
    start = time.perf_counter()
    snapshots: dict[int, tuple[ExemplarSet, float]] = {}

    def on_snapshot(iteration: int, memory: ExemplarSet) -> None:
        snapshots[iteration] = (memory, time.perf_counter() - start)

    memory = make_memory(config, dataset, device, reporter, on_snapshot=on_snapshot, snapshots=iterations or ())
    made: dict[float | None, tuple[ExemplarSet, float]] = {case.x: (memory, time.perf_counter() - start)}
    if iterations is not None:
        made = {float(iteration): snapshots[iteration] for iteration in iterations if iteration in snapshots}
    for x, (one, seconds) in made.items():
        start = time.perf_counter()
        judgements = judge(
            one,
            dataset.test,
            config.evaluate,
            normalization=dataset.normalization,
            augmentations=dataset.augmentations,
            seed=config.seed,
            device=device,
        )
        taken = time.perf_counter() - start
        where = "" if x is None else f" at {x:g}"
        for judgement in judgements:
            reporter.line(
                f"{case.variant}{where}, seed {config.seed}, {judgement.network.name}: {100 * judgement.mean:.1f} % "
                f"({seconds:.0f} s + {taken:.0f} s)"
            )
            for number, accuracy in enumerate(judgement.accuracies, start=1):
                row = Row(
                    variant=case.variant,
                    x=x,
                    seed=config.seed,
                    architecture=judgement.network.name,
                    network=number,
                    accuracy=accuracy,
                    images=len(one),
                    bytes=one.nbytes,
                    condense_seconds=round(seconds, 2),
                    evaluate_seconds=round(taken, 2),
                )
                yield row, one


def _file_name(case: Case) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in case.variant)
    return name if case.x is None else f"{name}-{case.x:g}"
