"""Reads run directories and comparisons into plain data for a report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from iid_cl.budget import Budget
from iid_cl.config.experiment import Config
from iid_cl.config.grid import cell_name
from iid_cl.config.reading import load_config
from iid_cl.errors import NO_RESULTS, UserError
from iid_cl.files import read_text
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import load_memory
from iid_cl.records.directory import check_directory
from iid_cl.records.integrity import check_file, check_memories
from iid_cl.records.recording import Recording, read_recording
from iid_cl.records.result import Result
from iid_cl.report.comparison import Measured

_RESULT = TypeAdapter(Result)

Place = tuple[str, Budget]  # mode and budget


@dataclass(frozen=True)
class Source:
    """A directory that a report is made from."""

    path: Path
    config: Config
    config_text: str
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Pictured:
    """A memory to look at. ``recording`` may hold how its distilled images came to be."""

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
        main: label of the method the report is about.
        measured: every result; its mode and budget are None for bounds.
        pictured: the memories of one seed, that of ``main`` first.
        groups: the runs, each with its other seeds; a comparison is one group.
        class_names: by class index; empty where no directory says.
    """

    name: str
    sources: list[Source]
    main: str
    measured: list[Measured]
    pictured: list[Pictured]
    class_names: list[str]
    groups: list[list[Source]]

    @property
    def places(self) -> list[Place]:
        """Modes and budgets of the memories, budgets ascending."""
        found = {(m.mode, m.budget) for m in self.measured if m.mode is not None and m.budget is not None}
        modes = list(dict.fromkeys(m.mode for m in self.measured))
        return sorted(found, key=lambda place: (modes.index(place[0]), place[1]))

    def class_name(self, label: int) -> str:
        """The class's name; a number alone says that it is a class."""
        name = self.class_names[label] if label < len(self.class_names) else str(label)
        return f"class {name}" if name.isdigit() else name


def collect(directories: Sequence[Path]) -> Collected:
    """Reads runs, or one comparison.

    Runs that differ in their seed only are seeds of the same methods; others keep their directory's name before the
    method's.

    Raises:
        UserError: no such directory, neither a run nor a comparison, unfinished, damaged, or a comparison among others.
    """
    for directory in directories:
        if not directory.is_dir():
            raise UserError(f"{directory}: {NO_RESULTS}")
        check_directory(directory)
    compared = [each for each in directories if (each / "cells").is_dir()]
    if compared and len(directories) > 1:
        raise UserError(f"{compared[0]}: is a comparison, which is reported alone; name it without the others.")
    return _comparison(compared[0]) if compared else _runs(list(dict.fromkeys(map(Path.resolve, directories))))


def _runs(directories: Sequence[Path]) -> Collected:
    sources = [_source(directory, "run.json") for directory in directories]
    groups: dict[str, list[Source]] = {}  # by everything but the seed
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
            place = source.config.train.mode, source.config.memory.budget
            for result in _results(source):
                bound = not result.memory_images
                mode, budget = (None, None) if bound else place
                measured.append(Measured(prefix + result.method, mode, budget, result))
            check_memories(source.path, source.provenance.get("checks"))
        first = members[0]
        recording = read_recording(first.path)
        names = names or ([] if recording is None else recording.class_names)
        for method in dict.fromkeys(result.method for result in _results(first)):
            stem = "memory" if method == first.config.memory.method else f"memory-{method}"
            file = first.path / f"{stem}.safetensors"
            if file.is_file():
                place = first.config.train.mode, first.config.memory.budget
                shown = prefix + method
                pictured.append(
                    Pictured(shown, method, first.config.seed, place, load_memory(file), _of(recording, method))
                )
    (first, *_), *others = groups.values()
    main = (f"{first.path.name}: " if others else "") + first.config.memory.method
    name = first.config.name if len(sources) == 1 or not others else "several runs"
    return Collected(name, sources, main, measured, _first(pictured, main), names, [*groups.values()])


def _comparison(directory: Path) -> Collected:
    source = _source(directory, "results.json")
    measured, digests = _measured(source)
    if not measured:
        raise UserError(f"{directory}: no cell of this comparison has finished; go on with it first.")
    main = _main(source.config, measured)
    pictured, names = _pictured(directory, main, measured, digests)
    return Collected(source.config.name, [source], main, measured, _first(pictured, main), names, [[source]])


def _measured(source: Source) -> tuple[list[Measured], dict[str, str]]:
    """The cells of a comparison's ``results.json``, and the SHA-256 of their memories by the cells' names.

    What remains in the source's provenance is where they come from.
    """
    try:
        records = source.provenance.pop("cells")
        source.provenance.pop("summary", None)
        measured, digests = [], {}
        for one in records:
            label, mode = str(one["label"]), None if one["mode"] is None else str(one["mode"])
            budget = None
            if one["budget"] is not None:
                budget = Budget(**{key: int(value) for key, value in one["budget"].items()})
            measured.append(Measured(label, mode, budget, _RESULT.validate_python(one["result"])))
            if isinstance(digest := one.get("memory_sha256"), str):
                digests[cell_name(label, mode, budget, measured[-1].result.seed)] = digest
        return measured, digests
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        file = source.path / "results.json"
        raise UserError(f"{file}: is damaged ({_short(error)}); the same `iid-cl compare --out` mends it.") from None


def _main(config: Config, measured: Sequence[Measured]) -> str:
    """The method that a comparison's report is about."""
    labels = list(dict.fromkeys(m.label for m in measured if m.budget is not None))
    if config.memory.method in labels:
        return config.memory.method
    distilled = next((name for name in labels if "distilled" in name), None)
    return distilled or (labels or [measured[0].label])[0]


def _pictured(
    directory: Path, main: str, measured: Sequence[Measured], digests: Mapping[str, str]
) -> tuple[list[Pictured], list[str]]:
    """A comparison's memories of the first seed, and the names of the classes.

    They are those at the first mode's largest budget, then ``main``'s at every other mode and budget.
    """
    seed = min(m.result.seed for m in measured)
    places = [(m.mode, m.budget) for m in measured if m.mode is not None and m.budget is not None]
    place = max((each for each in places if each[0] == places[0][0]), default=None)
    names: list[str] = []
    pictured = []
    for one in measured:
        if one.result.seed != seed or one.mode is None or one.budget is None:
            continue
        if (one.mode, one.budget) != place and one.label != main:
            continue
        name = cell_name(one.label, one.mode, one.budget, seed)
        recording = read_recording(directory / "cells", f"{name}.")
        names = names or ([] if recording is None else recording.class_names)
        file = directory / "cells" / f"{name}.safetensors"
        if file.is_file():
            check_file(file, digests.get(name))
            method, own = one.result.method, _of(recording, one.result.method)
            pictured.append(Pictured(one.label, method, seed, (one.mode, one.budget), load_memory(file), own))
    return sorted(pictured, key=lambda each: each.place != place), names


def _source(directory: Path, summary: str) -> Source:
    """The configuration and the summary of a directory, without its results being looked at."""
    config, file = directory / "config.yaml", directory / summary
    if not config.is_file():
        raise UserError(f"{directory}: is no run directory, config.yaml is missing; name one that `iid-cl run` made.")
    if not file.is_file():
        raise UserError(f"{directory}: has not finished, {summary} is missing; finish it before it is reported.")
    settings = load_config(str(config))
    try:
        told, text = json.loads(read_text(file)), read_text(config)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read ({_short(error)}); make the run anew.") from None
    if not isinstance(told, dict):
        raise UserError(f"{file}: is damaged, it holds no mapping; make the run anew.")
    return Source(directory, settings, text, told)


def _results(source: Source) -> list[Result]:
    try:
        found = [_RESULT.validate_python(one) for one in source.provenance["results"]]
    except (KeyError, TypeError, ValidationError) as error:
        file = source.path / "run.json"
        raise UserError(f"{file}: is damaged ({_short(error)}); make the run anew.") from None
    if not found or not all(one.matrix for one in found):
        raise UserError(f"{source.path / 'run.json'}: holds no result; make the run anew.")
    return found


def _of(recording: Recording | None, method: str) -> Recording | None:
    """The part of a recording that belongs to a method."""
    if recording is None:
        return None
    part = Recording(recording.class_names)
    part.kept = [one for one in recording.kept if one.method == method]
    part.features = {name: each for name, each in recording.features.items() if name == method}
    return part if part.kept or part.features else None


def _first(pictured: list[Pictured], main: str) -> list[Pictured]:
    return sorted(pictured, key=lambda one: one.label != main)


def _short(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
