"""What a run writes first, and what is left to do in its directory."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from iid_cl.config.experiment import Config
from iid_cl.config.plain_yaml import parse_yaml
from iid_cl.config.reading import dump_config, first_difference, load_config, parse_config
from iid_cl.errors import UserError, shown
from iid_cl.files import read_text, write_bytes
from iid_cl.records.directory import STATE, RunDirectory, check_directory, is_study, is_used
from iid_cl.records.nameless import path_of, stored_path

BEGUN = "begun.json"
TEXT = str | None
KINDS: dict[str, Any] = {"provenance": dict, "data": str, "data_root": TEXT, "config": TEXT, "config_sha256": TEXT,
                         "started": TEXT, "options": dict}  # fmt: skip
# what files of older versions lack
LATER: dict[str, Any] = {"config": None, "config_sha256": None, "started": None, "options": {}}


class Stage(Enum):
    """How far the run in a directory is."""

    NEW = "nothing has begun"
    BEGUN = "some methods are left"
    MEASURED = "only the report is left"


@dataclass(frozen=True)
class Begun:
    """The first file of a run or a study.

    Attributes:
        provenance: of the process that began it.
        data: the data set's fingerprint.
        data_root: folder of the data sets; None: the default.
        started: when the run began, in ISO format; None in files of older versions.
        config: text of ``config.yaml``, and its SHA-256; None in files of older versions.
        options: further options of the command.
    """

    provenance: dict[str, Any]
    data: str
    data_root: Path | None
    config: str | None = None
    config_sha256: str | None = None
    started: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def stage_of(path: Path) -> Stage:
    """How far the run in a directory is.

    Raises:
        UserError: it is finished, or the directory holds something else.
    """
    if not path.is_dir() or not is_used(path):
        return Stage.NEW
    check_directory(path)
    if is_finished(path):
        raise UserError(f"{path}: holds a finished run; choose another --out, or remove it.")
    if (path / "run.json").is_file():
        return Stage.MEASURED
    if is_study(path):
        raise UserError(f"{path}: holds a study; finish it with iid-cl resume {path}, or choose another --out.")
    if (path / BEGUN).is_file():
        return Stage.BEGUN
    if (path / "cells").is_dir():
        raise UserError(f"{path}: holds a comparison; its `iid-cl compare` command with this --out goes on with it.")
    raise UserError(f"{path}: holds files already, and no unfinished run; choose another --out, or remove it.")


def is_finished(path: Path) -> bool:
    """Whether a directory holds a finished run."""
    return (path / "run.json").is_file() and not (path / STATE).is_dir()  # which is removed last


def write_begun(
    directory: RunDirectory,
    config: Config,
    provenance: dict[str, Any],
    data: str,
    data_root: Path | None,
    **options: Any,
) -> None:
    """Writes ``begun.json`` and then ``config.yaml``. From the first on, the run can be resumed."""
    write_record(directory, Begun(provenance, data, data_root, dump_config(config), options=options))
    directory.write_config(config)


def write_record(directory: RunDirectory, begun: Begun) -> None:
    """Writes ``begun.json``, with the digest of the configuration, and the time of now if the record has none."""
    root, text = begun.data_root, begun.config
    record = {
        "started": begun.started or datetime.now(UTC).isoformat(timespec="seconds"),
        "provenance": begun.provenance,
        "data_root": None if root is None else stored_path(root, directory.path),
        "data": begun.data,
        "config": text,
        "config_sha256": None if text is None else _sha256(text.encode()),
        "options": begun.options,
    }
    directory.write_summary(BEGUN, record)


def read_begun(path: Path) -> Begun:
    """Reads ``begun.json`` of a run directory.

    Raises:
        UserError: the file is damaged.
    """
    try:
        record = {**LATER, **json.loads(read_text(path / BEGUN))}
        values = {key: record[key] for key in KINDS}
        if not all(isinstance(values[key], kind) for key, kind in KINDS.items()):
            raise TypeError
        json.dumps(values, ensure_ascii=False).encode()  # half a letter of UTF-16 cannot be written
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path / BEGUN}: is damaged; remove the run directory and run it again.") from None
    root = values.pop("data_root")
    return Begun(**values, data_root=None if root is None else path_of(root, path))


def read_run(path: Path) -> Begun:
    """:func:`read_begun` for a run.

    Raises:
        UserError: the file is damaged, or belongs to another command.
    """
    begun = read_begun(path)
    if begun.options.get("command"):
        given = begun.provenance.get("command")
        raise UserError(f"{path}: holds what {shown(given)} has done so far; that command goes on with it.")
    return begun


def config_of(path: Path, begun: Begun) -> Config:
    """The configuration that the run in a directory began with. A ``config.yaml`` that is missing is written again.

    Raises:
        UserError: it has been changed since.
    """
    file, text = path / "config.yaml", begun.config
    if text is not None and _sha256(text.encode()) != begun.config_sha256:
        raise UserError(f"{path / BEGUN}: is damaged; remove the run directory and run it again.")
    if text is not None and not file.exists():
        write_bytes(file, text.encode())
    if text is not None and _sha256(_bytes(file)) != begun.config_sha256:
        raise UserError(
            f"{file}: was changed after the run began{_change(file, text)}; undo that, or begin another run with "
            f"iid-cl run {file} --out OTHER."
        )
    if not file.is_file():
        raise UserError(f"{path}: holds files already, and no unfinished run; choose another --out, or remove it.")
    return load_config(str(file))


def _bytes(file: Path) -> bytes:
    try:
        return read_text(file).encode()
    except (OSError, ValueError):
        return b""


def _change(file: Path, text: str) -> str:
    """The first key that was changed, in brackets; empty where none was, or the file cannot be read."""
    try:
        before, now = parse_config(parse_yaml(text), BEGUN), load_config(str(file))
    except (UserError, ValueError):
        return ""
    difference = first_difference(before, now, ("then", "now"))
    return "" if difference is None else f" ({difference})"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check_programs(path: Path, programs: Sequence[str], allowed: bool) -> None:
    """Refuses to run what a directory, which may be anybody's, names as its data.

    Raises:
        UserError: there are programs, and they are not allowed.
    """
    if programs and not allowed:
        raise UserError(
            f"{path}: its configuration names the program {programs[0]!r} as its data; if you trust it, resume with "
            "--run-program."
        )
