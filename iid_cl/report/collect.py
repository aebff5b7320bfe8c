"""Reads run directories and comparisons into plain data for a report."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from iid_cl.budget import Budget
from iid_cl.config.experiment import Config
from iid_cl.config.grid import cell_name
from iid_cl.config.reading import load_config
from iid_cl.errors import UserError
from iid_cl.files import read_text
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import load_memory
from iid_cl.records.recording import Recording, read_recording
from iid_cl.records.result import Result
from iid_cl.report.comparison import Measured

_RESULT = TypeAdapter(Result)

Place = tuple[str, Budget]  # mode and budget


@dataclass(frozen=True)
class Source:
    """A directory of a report."""

    path: Path
    config: Config
    config_text: str
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Pictured:
    """A memory to show. ``recording``, if there is one, shows how its distilled images changed."""

    label: str
    method: str
    seed: int
    place: Place
    memory: Exemplars
    recording: Recording | None


@dataclass(frozen=True)
class Collected:
    """Everything a report shows.

    Attributes:
        main: label of the method that the report is about.
        measured: every result; mode and budget are None for bounds.
        pictured: the memories of one seed, starting with the memory of ``main``.
        class_names: by class index; empty if no directory holds them.
    """

    name: str
    sources: list[Source]
    main: str
    measured: list[Measured]
    pictured: list[Pictured]
    class_names: list[str]

    @property
    def places(self) -> list[Place]:
        """Modes and budgets of the memories, budgets ascending."""
        places = {(m.mode, m.budget) for m in self.measured if m.mode is not None and m.budget is not None}
        modes = list(dict.fromkeys(m.mode for m in self.measured))
        return sorted(places, key=lambda place: (modes.index(place[0]), place[1]))

    def class_name(self, label: int) -> str:
        """The class's name, or ``class 3`` if it is a number."""
        name = self.class_names[label] if label < len(self.class_names) else str(label)
        return f"class {name}" if name.isdigit() else name


def collect(directories: Sequence[Path]) -> Collected:
    """Reads runs, or one comparison.

    Runs that differ only in their seed count as seeds of the same methods. Otherwise the directory's name stands before
    the method's.

    Raises:
        UserError: a directory is missing, unfinished, damaged, or neither a run nor a comparison; or a comparison is
            not alone.
    """
    for directory in directories:
        if not directory.is_dir():
            raise UserError(f"{directory}: no such directory; name one that `iid-cl run` or `iid-cl compare` made.")
    comparisons = [directory for directory in directories if (directory / "cells").is_dir()]
    if comparisons and len(directories) > 1:
        raise UserError(f"{comparisons[0]}: is a comparison, which is reported alone; name only this directory.")
    return _comparison(comparisons[0]) if comparisons else _runs(list(dict.fromkeys(map(Path.resolve, directories))))


def _runs(directories: Sequence[Path]) -> Collected:
    sources = [_source(directory, "run.json") for directory in directories]
    groups: dict[str, list[Source]] = {}  # by the configuration without its seed
    for source in sources:
        values = source.config.model_dump(mode="json", exclude={"name", "seed", "baselines", "device", "compare"})
        key = json.dumps(values, sort_keys=True)
        while any(other.config.seed == source.config.seed for other in groups.get(key, [])):
            key += "again"  # the same run a second time
        groups.setdefault(key, []).append(source)
    measured: list[Measured] = []
    pictured: list[Pictured] = []
    names: list[str] = []
    for members in groups.values():
        prefix = f"{members[0].path.name}: " if len(groups) > 1 else ""
        for source in members:
            for result in _results(source):
                place = source.config.train.mode, source.config.memory.budget
                mode, budget = place if result.memory_images else (None, None)
                measured.append(Measured(prefix + result.method, mode, budget, result))
        first = members[0]
        recording = read_recording(first.path)
        names = names or ([] if recording is None else recording.class_names)
        seed, place = first.config.seed, (first.config.train.mode, first.config.memory.budget)
        for method in dict.fromkeys(result.method for result in _results(first)):
            stem = "memory" if method == first.config.memory.method else f"memory-{method}"
            file = first.path / f"{stem}.safetensors"
            if file.is_file():
                part = _of(recording, method)
                pictured.append(Pictured(prefix + method, method, seed, place, load_memory(file), part))
    (first, *_), *others = groups.values()
    main = (f"{first.path.name}: " if others else "") + first.config.memory.method
    name = first.config.name if len(sources) == 1 or not others else "several runs"
    return Collected(name, sources, main, measured, _first(pictured, main), names)


def _comparison(directory: Path) -> Collected:
    source = _source(directory, "results.json")
    file = directory / "results.json"
    try:
        records = source.provenance.pop("cells")
        source.provenance.pop("summary", None)
        measured = [
            Measured(
                str(record["label"]),
                None if record["mode"] is None else str(record["mode"]),
                None if record["budget"] is None else Budget(**{k: int(v) for k, v in record["budget"].items()}),
                _RESULT.validate_python(record["result"]),
            )
            for record in records
        ]
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise UserError(f"{file}: is damaged ({_short(error)}); the same `iid-cl compare --out` repairs it.") from None
    if not measured:
        raise UserError(f"{directory}: no cell of this comparison has finished; continue the comparison first.")
    labels = list(dict.fromkeys(m.label for m in measured if m.budget is not None)) or [measured[0].label]
    method = source.config.memory.method
    main = method if method in labels else next((label for label in labels if "distilled" in label), labels[0])
    seed = min(m.result.seed for m in measured)
    mode = next((m.mode for m in measured if m.mode is not None), None)
    largest = max((m.budget for m in measured if m.mode == mode and m.budget), default=None)
    names: list[str] = []
    pictured = []
    for cell in measured:
        if (
            cell.mode is None
            or cell.budget is None
            or (cell.result.seed, cell.mode, cell.budget) != (seed, mode, largest)
        ):
            continue
        name = cell_name(cell.label, cell.mode, cell.budget, seed)
        recording = read_recording(directory / "cells", f"{name}.")
        names = names or ([] if recording is None else recording.class_names)
        memory = directory / "cells" / f"{name}.safetensors"
        if memory.is_file():
            part, place = _of(recording, cell.result.method), (cell.mode, cell.budget)
            pictured.append(Pictured(cell.label, cell.result.method, seed, place, load_memory(memory), part))
    return Collected(source.config.name, [source], main, measured, _first(pictured, main), names)


def _source(directory: Path, summary: str) -> Source:
    """The configuration and the summary of a directory; its results are not checked here."""
    config, file = directory / "config.yaml", directory / summary
    if not config.is_file():
        raise UserError(f"{directory}: is no run directory, config.yaml is missing; name one that `iid-cl run` made.")
    if not file.is_file():
        raise UserError(f"{directory}: has not finished, {summary} is missing; finish it before you report it.")
    settings = load_config(str(config))
    try:
        provenance, text = json.loads(read_text(file)), read_text(config)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read ({_short(error)}); repeat the run.") from None
    if not isinstance(provenance, dict):
        raise UserError(f"{file}: is damaged, it holds no mapping; repeat the run.")
    return Source(directory, settings, text, provenance)


def _results(source: Source) -> list[Result]:
    file = source.path / "run.json"
    try:
        results = [_RESULT.validate_python(record) for record in source.provenance["results"]]
    except (KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{file}: is damaged ({_short(error)}); repeat the run.") from None
    if not results or not all(result.matrix for result in results):
        raise UserError(f"{file}: holds no result; repeat the run.")
    return results


def _of(recording: Recording | None, method: str) -> Recording | None:
    """A method's part of a recording."""
    if recording is None:
        return None
    part = Recording(recording.class_names)
    part.kept = [distillation for distillation in recording.kept if distillation.method == method]
    part.features = {name: features for name, features in recording.features.items() if name == method}
    return part if part.kept or part.features else None


def _first(pictured: list[Pictured], main: str) -> list[Pictured]:
    return sorted(pictured, key=lambda memory: memory.label != main)


def _short(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
