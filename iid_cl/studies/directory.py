"""The directory of a study: what was asked for, the cells that are finished, and how to go on."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from rich.console import Console

from iid_cl.config.experiment import Config
from iid_cl.config.reading import first_difference
from iid_cl.config.study import StudyConfig
from iid_cl.data.loaded import fingerprint_of
from iid_cl.errors import UserError
from iid_cl.files import write_bytes
from iid_cl.records.cells import CELLS, countable, digest_of, other_data, read_cell_file, write_cell_file
from iid_cl.records.directory import STUDY, SUMMARY, RunDirectory, check_directory, is_study, new_directory
from iid_cl.records.integrity import check_file, sha256_of
from iid_cl.records.provenance import differences, provenance
from iid_cl.runs.begun import BEGUN, Begun, read_begun, write_record
from iid_cl.runs.ending import interruptions
from iid_cl.studies.cases import dump_study, load_study
from iid_cl.studies.page import study_report
from iid_cl.terminal.reporter import Reporter

TABLE = "study.csv"
ELSEWHERE = ("name", "compare", "baselines", "loggers")  # keys that no cell of a study depends on


@dataclass(frozen=True)
class Cell:
    """A part of a study that is run and kept as a whole.

    Attributes:
        name: stem of its files.
        config: all of its settings.
        data: fingerprint of its data set.
        extra: further plain values that its outcome depends on.
    """

    name: str
    config: Config
    data: str
    extra: Any = None

    @property
    def digest(self) -> str:
        """Digest of all that the outcome depends on."""
        return digest_of([self.config.model_dump(mode="json", exclude={*ELSEWHERE}), self.extra])


def make_cell(number: int, config: Config, data_root: Path | None, extra: Any = None) -> Cell:
    """The cell of a study's case ``number``, with the configuration's seed.

    Raises:
        UserError: its data set cannot be loaded.
    """
    return Cell(f"{number:04d}-seed{config.seed}", config, fingerprint_of(config, data_root), extra)


@dataclass(frozen=True)
class StudyRun:
    """A study in its directory, while its cells run.

    Attributes:
        kind: of the rows, a dataclass of plain values.
    """

    directory: RunDirectory
    reporter: Reporter
    kind: type[Any]

    @property
    def path(self) -> Path:
        """The directory."""
        return self.directory.path

    def conclude(self, summary: Mapping[str, Any]) -> None:
        """Writes ``study.json`` and then the report of what lies in the directory."""
        self.directory.write_summary(SUMMARY, {**summary, "started": read_begun(self.path).started})
        self.reporter.line(f"The report is {study_report(self.path)}")

    def kept(self, cell: Cell) -> list[Any] | None:
        """The rows of a cell that is finished; None if it has to run."""
        rows = TypeAdapter(list[self.kind])  # type: ignore[name-defined]

        def convert(record: dict[str, Any]) -> list[Any]:
            for name, digest in record["files"].items():
                if not (self.path / Path(name).name).is_file():
                    raise ValueError("a memory is gone")
                check_file(self.path / Path(name).name, digest)
            if not countable(record["rows"]):
                raise ValueError("it holds useless values")
            rows.validate_json(json.dumps(record["rows"]), strict=True)
            return [self.kind(**row) for row in record["rows"]]  # as it was written: 1 stays apart from 1.0

        return read_cell_file(self._file(cell), cell.digest, cell.data, convert)

    def keep(self, cell: Cell, rows: Sequence[Any], files: Sequence[Path] = ()) -> None:
        """Writes the rows of a cell, which is now finished. ``files`` are its memories, which are in the directory."""
        record = {
            "name": cell.name,
            "digest": cell.digest,
            "data": cell.data,
            "files": {file.name: sha256_of(file) for file in files},
            "rows": [asdict(row) for row in rows],
        }
        write_cell_file(self._file(cell), record)

    def write_table(self, rows: Sequence[Any]) -> None:
        """Writes ``study.csv``."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.kind.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
        write_bytes(self.path / TABLE, text.getvalue().encode())

    def _file(self, cell: Cell) -> Path:
        return self.path / CELLS / f"{cell.name}.json"


@dataclass(frozen=True)
class Place:
    """Where a study runs, and what it was asked for.

    Attributes:
        out: folder to make or to continue; None takes a free one under ``runs/``.
        keep_memories: also store the first seed's memories.
        search: search for values of ``study.search``, and leave the variants aside.
    """

    study: StudyConfig
    data_root: Path | None
    out: Path | None
    keep_memories: bool = False
    search: bool = False

    def again(self) -> "Place":
        """The place of a study that has begun: ``out``, or the folder that the first run of this name made.

        Raises:
            UserError: no study has begun there.
        """
        path = self.out if self.out is not None else Path("runs") / self.name
        if not is_study(path):
            raise UserError(
                f"--resume: no study has begun in {path}; name its folder with --out, or leave --resume out."
            )
        return replace(self, out=path)

    @property
    def name(self) -> str:
        """Name of the folder that is made where none is given."""
        return f"{self.study.name}-search" if self.search else self.study.name


@contextmanager
def study_run(
    place: Place, cells: Sequence[Cell], kind: type[Any], device: torch.device, console: Console
) -> Iterator[StudyRun]:
    """Makes the directory of a study, or goes on with it.

    Raises:
        UserError: it holds something else, or cells of other data.
    """
    out = place.out
    again = out is not None and _is_started(place, out, cells)
    path = out if out is not None else new_directory(place.name)
    with (
        interruptions(path, console),
        RunDirectory(path, again=again) as directory,
        Reporter(console, directory.log) as reporter,
    ):
        for note in _begin(directory, place, provenance(device)):
            reporter.line(f"note: {note}")
        yield StudyRun(directory, reporter, kind)


def _begin(directory: RunDirectory, place: Place, origin: dict[str, Any]) -> list[str]:
    """Writes what is needed to go on; returns what has changed since the study began."""
    path = directory.path
    before = read_begun(path) if (path / BEGUN).is_file() else None
    (path / CELLS).mkdir(exist_ok=True)
    write_bytes(path / STUDY, dump_study(place.study).encode())
    options = {"keep_memories": place.keep_memories, "search": place.search}
    started = None if before is None else before.started
    write_record(directory, Begun(origin, "", place.data_root, started=started, options=options))
    (path / SUMMARY).unlink(missing_ok=True)  # until it is finished once more
    return [] if before is None else differences(before.provenance, origin)


def _is_started(place: Place, path: Path, cells: Sequence[Cell]) -> bool:
    """Whether the folder already holds this study. The number of seeds may differ, or that of a search's trials.

    Raises:
        UserError: it holds another study, or cells that ran on other data.
    """
    check_directory(path)
    if not (path / STUDY).is_file():
        return False
    study, searched = place.study, _options(path).get("search") is True
    if searched != place.search:
        held = "a search" if searched else "a study of variants"
        raise UserError(f"{path}: holds {held}; choose another --out.")
    stored = load_study(str(path / STUDY), seeds=None if searched else study.seeds, trials=study.trials)
    different = first_difference(stored, study)
    if different is not None:
        raise UserError(f"{path}: holds another study ({different}); choose another --out.")
    other = other_data({path / CELLS / f"{cell.name}.json": cell.data for cell in cells})
    if other is not None:
        raise UserError(
            f"{other}: ran on other data than the study's data set holds now, and one table cannot show both; "
            "restore the former (with --data-root), or choose another --out."
        )
    return True


def _options(path: Path) -> dict[str, Any]:
    """Those that a study began with."""
    return read_begun(path).options if (path / BEGUN).is_file() else {}


def read_place(path: Path) -> Place:
    """The study in a directory, to go on with it.

    Raises:
        UserError: no study has begun there, or a file is damaged.
    """
    if not (path / BEGUN).is_file():
        raise UserError(f"{path}: no study has begun there; give its `iid-cl study` command again.")
    check_directory(path)
    begun, study = read_begun(path), load_study(str(path / STUDY))
    options = {name: begun.options.get(name) is True for name in ("keep_memories", "search")}
    return Place(study, begun.data_root, path, **options)
