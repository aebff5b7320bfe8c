"""Starts a study, and goes on with one that was interrupted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from iid_cl.errors import UserError
from iid_cl.records.directory import SUMMARY
from iid_cl.report.page import PAGE
from iid_cl.runs.begun import check_programs
from iid_cl.studies.directory import Place, read_place
from iid_cl.studies.page import study_report
from iid_cl.studies.run import run_study
from iid_cl.studies.scatter import run_scatter
from iid_cl.terminal.screen import emit


def start_study(place: Place, console: Console) -> None:
    """Runs a study of any kind, or goes on with it.

    Raises:
        UserError: see :func:`iid_cl.studies.run.run_study`.
    """
    study, out = place.study, place.out
    if place.search:
        from iid_cl.studies.search import run_search

        run_search(place, console)
    elif not study.variants:
        raise UserError(f"study {study.name}: holds a search and no variants; add --search.")
    elif study.scatter is not None:
        run_scatter(study, study.scatter, place.data_root, out, console)
    else:
        run_study(study, place.data_root, out, console, keep_memories=place.keep_memories)


def resume_study(path: Path, console: Console, data_root: Path | None = None, *, run_program: bool = False) -> None:
    """Finishes the study in ``path``.

    Args:
        path: the directory.
        console: where to print.
        data_root: folder of the data sets, where it has moved; None: the folder that the study started with.
        run_program: whether a program that the study names as its data may run.

    Raises:
        UserError: a file is damaged, or another mistake of the user.
    """
    place = read_place(path)
    if (path / SUMMARY).is_file():
        if not (path / PAGE).is_file():  # it was interrupted in its last moment
            study_report(path)
        console.print(Text(f"{path}: is finished; {SUMMARY} and study.csv hold its results."), soft_wrap=True)
        emit(console, "finished", directory=str(path))
        return
    check_programs(path, _programs(place.study.model_dump(mode="json")), run_program)
    start_study(replace(place, data_root=data_root if data_root is not None else place.data_root), console)


def _programs(value: Any) -> list[str]:
    """Addresses of Python functions anywhere in a study."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [program for part in value for program in _programs(part)]
    return [value] if isinstance(value, str) and value.startswith("python:") else []
