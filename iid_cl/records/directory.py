"""The run directory: all files of a run, written by one process at a time."""

import contextlib
import io
import itertools
import json
import os
import platform
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from iid_cl.config.experiment import Config
from iid_cl.config.reading import dump_config
from iid_cl.errors import UserError
from iid_cl.files import DiskFull, is_full, is_special, read_text, write_bytes
from iid_cl.records.nameless import without_names

LOCK, HOLDER = ".lock", ".holder.json"
STUDY, SUMMARY = "study.yaml", "study.json"  # only studies have them; those of earlier versions only the latter
STATE = "state"  # folder of the checkpoints
GROWING = ("log.txt", "metrics.jsonl")  # files that are appended to
BEFORE = ("log.txt", "cells")  # made before a command begins, and empty until then
_LEFTOVER = re.compile(r"\..+\.\d+\.tmp")  # see iid_cl.files.write_bytes


class RunDirectory:
    """Holds ``config.yaml``, ``metrics.jsonl``, ``run.json``, ``log.txt``, ``memory.safetensors``, ``memory.png``.

    Also ``model.safetensors``, ``report.html`` with ``figures/``, and ``losses.jsonl`` and ``history.safetensors`` of
    methods that distil.
    A context manager: leaving it closes the log and unlocks the folder. The lock of a process that died is void. The
    log names neither users nor machines.

    Args:
        path: a folder that is missing or unused.
        again: the folder may hold files of the same command, which is resumed.

    Raises:
        UserError: the folder is used, holds what :func:`check_directory` refuses, cannot be made, or another process
            writes to it.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        used = UserError(f"{path}: holds files already; choose another --out, or remove it.")
        if path.exists() and (not path.is_dir() or is_used(path)) and not again:
            raise used
        check_directory(path)
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path)
        except OSError as error:
            reason = "the disk is full" if is_full(error) else error.strerror
            raise UserError(f"{path}: cannot be made a run directory ({reason}); choose another --out.") from None
        if not again and is_used(path):  # by a process that was quicker
            self._unlock()
            raise used
        try:
            _remove_leftovers(path)
            self.log: TextIO = _Log((path / "log.txt").open("ab"), encoding="utf-8")
        except OSError as error:
            self._unlock()
            raise UserError(f"{path}: cannot be written to ({error.strerror}); choose another --out.") from None

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # a full disk has been reported before
            self.log.close()
        self._unlock()

    def _unlock(self) -> None:
        with contextlib.suppress(OSError):
            (self.path / HOLDER).unlink(missing_ok=True)
        self._lock.release()

    def write_config(self, config: Config) -> None:
        """Stores the resolved configuration."""
        write_bytes(self.path / "config.yaml", dump_config(config).encode())

    def add_metrics(self, record: dict[str, Any]) -> None:
        """Appends one line to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def write_summary(self, name: str, summary: dict[str, Any]) -> None:
        """Stores ``summary`` as indented JSON."""
        write_bytes(self.path / name, (json.dumps(summary, indent=2) + "\n").encode())

    def sizes(self) -> dict[str, int]:
        """Sizes in bytes of the files that grow, once they are on the disk."""
        self.log.flush()
        sizes = {}
        for name in GROWING:
            with contextlib.suppress(FileNotFoundError), (self.path / name).open("rb") as file:
                os.fsync(file.fileno())
                sizes[name] = os.fstat(file.fileno()).st_size
        return sizes

    def rewind(self, sizes: dict[str, int]) -> None:
        """Cuts the files that grow to earlier sizes.

        Raises:
            UserError: a file is smaller than that.
            ValueError: a size is no size.
        """
        for name in GROWING:
            path, size = self.path / name, sizes.get(name, 0)
            actual = path.stat().st_size if path.exists() else 0
            if type(size) is not int or size < 0:
                raise ValueError(f"{name} cannot have {size!r} bytes")
            if actual < size:
                raise UserError(
                    f"{path}: has {actual} bytes, but the last checkpoint says {size}, so it was changed; remove the "
                    "run directory and run it again."
                )
            if actual > size:
                os.truncate(path, size)


class _Log(io.TextIOWrapper):
    """A log without names of users and machines."""

    def write(self, text: str, /) -> int:
        super().write(without_names(text))
        return len(text)


def is_used(path: Path) -> bool:
    """Whether a folder holds more than a process leaves that is killed before it begins: a lock and an empty log."""
    names = {entry.name for entry in path.iterdir() if not _LEFTOVER.fullmatch(entry.name)}
    if LOCK in names:
        names -= {name for name in BEFORE if _is_empty(path / name)}
    return bool(names - {LOCK, HOLDER})


def _is_empty(entry: Path) -> bool:
    if entry.is_symlink():
        return False
    return not any(entry.iterdir()) if entry.is_dir() else entry.is_file() and entry.stat().st_size == 0


def check_directory(folder: Path, names: Collection[str] | None = None) -> None:
    """Refuses what no run leaves behind: links that lead out of the folder, pipes, devices and sockets.

    A run directory may come from somebody else. Every command that reads or writes its files calls this first; else it
    could read or write files elsewhere, or wait for ever.

    Args:
        folder: it may be missing.
        names: entries that the command touches, with all that they hold; None: all.

    Raises:
        UserError: the folder holds such a thing, or cannot be read.
    """
    home = os.path.realpath(folder)
    try:
        for entry in _everything(folder, names):
            if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(home):
                raise UserError(
                    f"{entry}: is a link that leads out of the run directory; put a copy there, or remove it."
                )
            if is_special(entry):
                raise UserError(f"{entry}: is a pipe, a device or a socket, which no run leaves behind; remove it.")
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); change its permissions.") from None


def _everything(folder: Path, names: Collection[str] | None) -> Iterator[Path]:
    """What a folder holds, at any depth; links are not followed."""
    waiting = [folder / name for name in names] if names is not None else list(_inside(folder))
    wandb = folder / "wandb"
    while waiting:
        entry = waiting.pop()
        if wandb not in entry.parents or entry.parent == wandb:  # its logs are links out, made by Weights & Biases
            yield entry
        if not entry.is_symlink():
            waiting += _inside(entry)


def _inside(folder: Path) -> Iterator[Path]:
    return iter(folder.iterdir()) if folder.is_dir() else iter(())


def _remove_leftovers(path: Path) -> None:
    """Removes temporary files of processes that were killed while they wrote."""
    for entry in _everything(path, None):
        if _LEFTOVER.fullmatch(entry.name) and entry.is_file():
            entry.unlink(missing_ok=True)


def _locked(path: Path) -> FileLock:
    """Locks a folder for this process.

    Raises:
        UserError: another process has locked it; the error names that process.
    """
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{path}: {_holder(path)} is writing there; wait for it, or choose another --out.") from None
    holder = {"process": os.getpid(), "host": platform.node()}
    with contextlib.suppress(DiskFull):  # a second process is told less
        write_bytes(path / HOLDER, (json.dumps(holder) + "\n").encode())
    return lock


def is_running(path: Path) -> bool:
    """Whether a process is at work in a folder; the lock of one that died is void."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with (path / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def is_study(path: Path) -> bool:
    """Whether a directory holds a study, finished or not, of this version or an earlier one."""
    return (path / STUDY).is_file() or (path / SUMMARY).is_file()


def _holder(path: Path) -> str:
    try:
        holder = json.loads(read_text(path / HOLDER, 2**12))
        return f"process {int(holder['process'])} on {json.dumps(holder['host'])[1:-1]}"
    except (OSError, ValueError, KeyError, TypeError):  # the file is just being written
        return "another process"


def new_directory(name: str) -> Path:
    """Makes the first of ``runs/NAME``, ``runs/NAME-2``, ... that does not exist; no other process gets the same.

    Raises:
        UserError: it cannot be made.
    """
    for number in itertools.count(1):
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except OSError as error:
            if not os.path.lexists(path):
                raise UserError(f"{path}: cannot be made ({error.strerror}); choose another --out.") from None
    raise AssertionError("numbers do not end")
