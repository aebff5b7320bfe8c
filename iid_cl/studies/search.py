"""``iid-cl study --search``: tries values of some keys, and judges each on held-out training images."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.reading import dump_config
from iid_cl.config.study import RangeConfig, StudyConfig
from iid_cl.data.loaded import dataset_of, forget_datasets
from iid_cl.distill.distillation import DivergedError
from iid_cl.errors import UserError, need
from iid_cl.files import write_bytes
from iid_cl.records.nameless import without_names
from iid_cl.records.provenance import provenance
from iid_cl.studies.cases import Case, config_of
from iid_cl.studies.directory import Place, StudyRun, make_cell, study_run
from iid_cl.studies.rows import Row, Tried
from iid_cl.studies.run import Runner, Trial, check_case
from iid_cl.studies.sampling import Sampler, open_sampler
from iid_cl.studies.search_figure import save_search_figure
from iid_cl.studies.tables import search_table
from iid_cl.terminal.screen import emit

BEST, FILE, FIGURE = "best.yaml", "search.db", "study.png"
HELD_OUT = 0.2  # of each class's training images, where the base holds out none


def run_search(place: Place, console: Console) -> list[Tried]:
    """Runs the trials of a search, or goes on with them; writes ``best.yaml`` beside the files of a study.

    No trial sees the test set: each is judged on training images that are held out. The same study with the same seed
    makes the same trials, also if it is interrupted.

    Raises:
        UserError: Optuna is missing, a value does not fit, or no trial of the search does.
    """
    study = place.study
    check_search(place)
    forget_datasets()
    base = searched_config(study, {})
    device = resolve_device(base.device)
    for values in _ends(study):
        check_case(Case("search", None, searched_config(study, values)), dataset_of(base, place.data_root))
    cells = [
        make_cell(number, base.model_copy(update={"seed": base.seed + offset}), place.data_root)
        for number in range(study.trials)
        for offset in range(study.seeds)
    ]
    with study_run(place, cells, Row, device, console) as run, ExitStack() as stack:
        sampler = stack.enter_context(open_sampler(study.search or {}, base.seed, run.path / FILE))
        stack.enter_context(deterministic(base.deterministic, run.reporter.line))
        search = _Search(run, place, sampler, device)
        tried = search.trials()
        _finish(search, tried, console)
    return tried


def check_search(place: Place) -> None:
    """Refuses what no search can do, before anything is loaded.

    Raises:
        UserError: see :func:`run_search`.
    """
    study = place.study
    need("optuna", "iid-cl study --search", "search")
    if study.search is None:
        raise UserError(
            f"study {study.name}: has no `search` section; add one, such as "
            "search: {distill.lr: {low: 0.01, high: 1, log: true}}."
        )
    if place.keep_memories:
        raise UserError("--keep: a search keeps no memories; the command that it prints makes the best one.")
    base = searched_config(study, {})
    if base.seed + study.seeds > 2**32:
        raise UserError(f"study {study.name}: {study.seeds} seeds from {base.seed} on exceed 2**32 - 1; use fewer.")


def searched_config(study: StudyConfig, values: dict[str, Any]) -> Config:
    """The configuration of a trial. It holds out training images to be judged on.

    Raises:
        UserError: it is none.
    """
    config = config_of(study, values.items(), "search")
    if config.stream.validation:
        return config
    return config.model_copy(update={"stream": config.stream.model_copy(update={"validation": HELD_OUT})})


def _ends(study: StudyConfig) -> Iterator[dict[str, Any]]:
    """Both ends of each range and each choice, alone: a key or a value that does not fit is found at once."""
    for key, found in (study.search or {}).items():
        yield from ({key: value} for value in ((found.low, found.high) if isinstance(found, RangeConfig) else found))


class _Search:
    """Runs the trials of a search in its directory."""

    def __init__(self, run: StudyRun, place: Place, sampler: Sampler, device: torch.device) -> None:
        self.run, self.place, self.sampler, self.device = run, place, sampler, device
        self._runner = Runner(run, None, place.data_root, device)
        self.rows: list[Row] = []

    def trials(self) -> list[Tried]:
        """Draws and judges one trial after the other; what is finished is not run again."""
        run, total = self.run, self.place.study.trials
        seeds = self.place.study.seeds
        each = f" of {seeds} memories each" if seeds > 1 else ""
        run.reporter.line(f"{total} trials{each}, judged on held-out training images")
        tried: list[Tried] = []
        for number in range(total):
            run.reporter.stage(number, total, "trials")
            drawn = Tried(number, self.sampler.draw(number), None)
            same = next((one for one in tried if one.values == drawn.values and one.same_as is None), None)
            done = self._judged(drawn) if same is None else replace(same, number=number, same_as=same.number)
            self.sampler.tell(number, done.accuracy)
            tried.append(done)
            if done.error or same is not None:
                run.reporter.line(f"trial {done.name}: {done.error or f'as trial {done.same_as}'}")
            else:
                best = done.accuracy == max(one.accuracy or 0 for one in tried)
                run.reporter.line(f"trial {number}: {100 * (done.accuracy or 0):.1f} %{', the best so far' * best}")
            run.reporter.event("trial", **asdict(done))
        run.reporter.stage(total, total, "trials")
        return tried

    def _judged(self, drawn: Tried) -> Tried:
        """The trial with its accuracy, or with the reason why it has none."""
        try:
            cells = self._cells(drawn)
        except UserError as error:  # two values that fit alone may not fit together
            return _failed(drawn, error)
        rows: list[Row] = []
        for trial in cells:
            kept = self.run.kept(trial.cell)
            try:
                rows += self._runner.one(trial, 0) if kept is None else kept
            except DivergedError as error:  # e.g. a learning rate that is too large
                return _failed(drawn, error)
            self.run.write_table([*self.rows, *rows])
        self.rows += rows
        return replace(drawn, accuracy=mean(row.accuracy for row in rows if row.architecture == rows[0].architecture))

    def _cells(self, drawn: Tried) -> list[Trial]:
        """A memory for each seed. Raises UserError if the values do not fit."""
        config, cells = searched_config(self.place.study, drawn.values), []
        for offset in range(self.place.study.seeds):
            seeded = config.model_copy(update={"seed": config.seed + offset})
            case = Case(drawn.name, None, seeded)
            check_case(case, dataset_of(seeded, self.place.data_root))
            cells.append(Trial(case, make_cell(drawn.number, seeded, self.place.data_root), False))
        return cells


def _failed(drawn: Tried, error: UserError) -> Tried:
    return replace(drawn, error=" ".join(str(error).split()))


def _finish(search: _Search, tried: Sequence[Tried], console: Console) -> None:
    """Writes the summary, the figure and the best configuration, and prints the best trials.

    Raises:
        UserError: no trial has fitted.
    """
    run, study = search.run, search.place.study
    judged = [one for one in tried if one.accuracy is not None]
    if not judged:
        raise UserError(f"study {study.name}: none of {len(tried)} trials fits; the last: {tried[-1].error}")
    best = max(judged, key=lambda one: (one.accuracy or 0, -one.number))
    importances = search.sampler.importances()
    config = config_of(study, best.values.items(), "search")
    write_bytes(run.path / BEST, dump_config(config).encode())
    commands = use_of(config, run.path, search.place.data_root)
    save_search_figure(run.path / FIGURE, tried, study.title, importances)
    found = {
        "trials": [asdict(one) for one in tried],
        "best": best.number,
        "importances": importances,
        "held_out": searched_config(study, {}).stream.validation,
        "commands": [without_names(command) for command in commands],
    }
    told = {"study": study.model_dump(mode="json"), **provenance(search.device)}
    console.print(search_table(tried, search.rows, study.title))
    run.conclude({**told, "rows": [asdict(row) for row in search.rows], "search": found})
    for line in (
        f"Best: trial {best.name}, {100 * (best.accuracy or 0):.1f} % on held-out training images.",
        "The best of many trials looks better than it is; judge it on test images:",
        *(f"  {command}" for command in commands),
        f"Everything is in {run.path}",
    ):
        console.print(Text(line), soft_wrap=True)
    emit(console, "finished", directory=str(run.path), best=asdict(best), commands=commands)


def use_of(config: Config, path: Path, data_root: Path | None) -> list[str]:
    """The commands that make the best memory from all training images, and judge it on test images."""
    memory, root = "best.safetensors", [] if data_root is None else ["--data-root", str(data_root)]
    method = ["--method", config.memory.method, "--config", str(path / BEST)]
    make = ["iid-cl", "distill", config.stream.dataset, *method, *root, "-o", memory]
    return [shlex.join(make), shlex.join(["iid-cl", "evaluate", memory, "--config", str(path / BEST), *root])]
