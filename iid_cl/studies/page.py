"""``iid-cl report`` of a study: one page with its question, figure, values, memories and origin."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from pydantic import TypeAdapter, ValidationError

from iid_cl.config.study import StudyConfig
from iid_cl.errors import UserError
from iid_cl.files import read_text, write_bytes
from iid_cl.records.cells import countable
from iid_cl.records.directory import SUMMARY, check_directory
from iid_cl.records.nameless import without_names
from iid_cl.report.content import in_bytes
from iid_cl.report.overview import began
from iid_cl.report.page import PAGE, template
from iid_cl.report.statistics import percent
from iid_cl.studies.rows import Row, Tried, text
from iid_cl.terminal.screen import in_seconds

FIGURE, BEST = "study.png", "best.yaml"
MOST_BYTES = 5_000_000  # of a picture inside the page
_ROWS = TypeAdapter(list[Row])
_STUDY = TypeAdapter(StudyConfig)
_TRIED = TypeAdapter(list[Tried])


@dataclass(frozen=True)
class Line:
    """A variant at one value of the axis, with its accuracy by architecture, in words."""

    variant: str
    at: str
    accuracies: list[str]
    size: str
    seconds: str


def study_report(directory: Path, out: Path | None = None) -> Path:
    """Writes ``report.html`` of a finished study; returns its path.

    Raises:
        UserError: the study has not finished or is damaged, or the file cannot be written.
    """
    check_directory(directory)
    study, rows, told = _read(directory)
    search = _search(directory, told, rows)
    architectures = list(dict.fromkeys(row.architecture for row in rows))
    pictures = {FIGURE: directory / FIGURE, **{file.stem: file for file in sorted(directory.glob("memory-*.png"))}}
    urls = {name: _url(file) for name, file in pictures.items() if file.is_file() and file.stat().st_size < MOST_BYTES}
    versions = told.get("versions")
    html = template("study.html.j2").render(
        study=study,
        search=search,
        facts=_facts(study, rows, told, search),
        axis=study.sweep.key if study.sweep else "iterations" if study.iterations else "",
        architectures=architectures,
        lines=lines(rows, architectures),
        figure=urls.pop(FIGURE, None),
        memories=urls,
        command=without_names(str(told.get("command", ""))),
        versions={str(k): str(v) for k, v in versions.items()} if isinstance(versions, dict) else {},
        base=json.dumps(study.base, indent=2),
    )
    page = (out or directory) / PAGE
    write_bytes(page, html.encode(errors="backslashreplace"))
    return page


def lines(rows: Sequence[Row], architectures: Sequence[str]) -> list[Line]:
    """A line for each variant and value, with a mean for each architecture."""
    found = []
    for variant, x in dict.fromkeys((row.variant, row.x) for row in rows):
        group = [row for row in rows if (row.variant, row.x) == (variant, x)]
        by = [[row.accuracy for row in group if row.architecture == name] for name in architectures]
        sizes = [row.bytes for row in group]
        found.append(
            Line(
                variant,
                "" if x is None else f"{x:g}",
                [percent(values) if values else "-" for values in by],
                in_bytes(min(sizes), max(sizes)),
                in_seconds(mean(row.condense_seconds for row in group)),
            )
        )
    return found


def _read(directory: Path) -> tuple[StudyConfig, list[Row], dict[str, Any]]:
    file = directory / SUMMARY
    if not file.is_file():
        raise UserError(f"{directory}: has not finished, {SUMMARY} is missing; finish it before it is reported.")
    try:
        told = json.loads(read_text(file))
        if not countable(told.get("rows", [])):
            raise ValueError("it holds useless values")
        return _STUDY.validate_python(told["study"]), _ROWS.validate_python(told.get("rows", [])), told
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise UserError(f"{file}: is damaged ({str(error).splitlines()[0]}); make the study anew.") from None


@dataclass(frozen=True)
class Search:
    """What the page shows of a search. ``trials`` are rows of its table, best first."""

    best: Tried
    best_values: dict[str, str]
    trials: list[list[str]]
    held_out: str
    commands: list[str]
    config: str


def _search(directory: Path, told: Mapping[str, Any], rows: Sequence[Row]) -> Search | None:
    """The search of a study, if it was one.

    Raises:
        UserError: the summary or the best configuration is damaged.
    """
    if "search" not in told:
        return None
    try:
        found = told["search"]
        tried = _TRIED.validate_python(found["trials"])
        best = next(one for one in tried if one.number == found["best"])
        return Search(
            best,
            {key: text(value) for key, value in best.values.items()},
            [_trial(one, rows) for one in sorted(tried, key=lambda one: -(one.accuracy or 0))],
            f"{100 * float(found['held_out']):g} %",
            [str(command) for command in found["commands"]],
            read_text(directory / BEST, MOST_BYTES),
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration, ValidationError) as error:
        reason = (str(error).splitlines() or ["no best trial"])[0]
        raise UserError(f"{directory}: holds a damaged search ({reason}); give its command again.") from None


def _trial(one: Tried, rows: Sequence[Row]) -> list[str]:
    """The cells of a trial: its number, accuracy, values, memory, seconds, and a note."""
    group = [row for row in rows if row.variant == one.name]
    accuracy = "-" if one.accuracy is None else f"{100 * one.accuracy:.1f}"
    size = in_bytes(group[0].bytes, group[0].bytes) if group else "-"
    seconds = in_seconds(mean(row.condense_seconds for row in group)) if group else "-"
    note = one.error or ("" if one.same_as is None else f"same values as trial {one.same_as}")
    return [str(one.number), accuracy, *(text(value) for value in one.values.values()), size, seconds, note]


def _facts(study: StudyConfig, rows: Sequence[Row], told: Mapping[str, Any], search: Search | None) -> dict[str, str]:
    stream = study.base.get("stream")
    facts = {"data": str(stream.get("dataset", "digits"))} if isinstance(stream, Mapping) else {}
    count = {"variants": str(len(study.variants))} if search is None else {"trials": str(len(search.trials))}
    facts |= {**count, "seeds": str(study.seeds)}
    if rows:
        facts["networks judged"] = str(len(rows))
        each = {(r.variant, r.x, r.seed): r.condense_seconds + r.evaluate_seconds for r in rows}
        facts["took"] = in_seconds(sum(each.values()))
    if moment := began(told):
        facts["began"] = moment
    return facts | {key: str(told[key]) for key in ("device", "machine", "commit") if told.get(key)}


def _url(file: Path) -> str:
    try:
        return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}).") from None
