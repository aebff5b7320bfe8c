"""The run directory: all files of a run, written by one process at a time."""

import contextlib
import json
import os
import platform
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from iid_cl.config.experiment import Config
from iid_cl.config.reading import dump_config
from iid_cl.errors import UserError
from iid_cl.files import read_text, write_bytes

LOCK, HOLDER = ".lock", ".holder.json"
GROWING = ("log.txt", "metrics.jsonl")  # files that are appended to


class RunDirectory:
    """Holds ``config.yaml``, ``metrics.jsonl``, ``run.json``, ``log.txt``, ``memory.safetensors``, ``memory.png``.

    Also ``report.html`` with ``figures/``, and ``losses.jsonl`` and ``history.safetensors`` of methods that distil.
    A context manager: leaving it closes the log and unlocks the folder. The lock of a process that died is void.

    Args:
        path: a folder that is missing or empty.
        again: the folder may hold files of the same command, which is resumed.

    Raises:
        UserError: the folder is not empty, holds a link that leads out of it, cannot be made, or another process
            writes to it.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        if path.exists() and (not path.is_dir() or is_used(path)) and not again:
            raise UserError(f"{path}: holds files already; choose another --out, or remove it.")
        _check_links(path)
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be made a run directory ({error.strerror}); choose another --out."
            ) from None
        try:
            self.log: TextIO = (path / "log.txt").open("a", encoding="utf-8")
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


def is_used(path: Path) -> bool:
    """Whether a folder holds more than a lock."""
    return any(entry.name not in (LOCK, HOLDER) for entry in path.iterdir())


def _check_links(path: Path) -> None:
    """Refuses links through which a run would write to files elsewhere.

    Raises:
        UserError: a link leads out of the folder.
    """
    home = os.path.realpath(path)
    for entry in path.rglob("*"):
        in_wandb = path / "wandb" in entry.parents  # Weights & Biases makes links to its logs there
        if entry.is_symlink() and not in_wandb and not Path(os.path.realpath(entry)).is_relative_to(home):
            raise UserError(f"{entry}: is a link that leads out of the run directory; put a copy there, or remove it.")


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
    write_bytes(path / HOLDER, (json.dumps(holder) + "\n").encode())
    return lock


def _holder(path: Path) -> str:
    try:
        holder = json.loads(read_text(path / HOLDER, 2**12))
        return f"process {int(holder['process'])} on {json.dumps(holder['host'])[1:-1]}"
    except (OSError, ValueError, KeyError, TypeError):  # the file is just being written
        return "another process"


def free_directory(name: str) -> Path:
    """The first of ``runs/NAME``, ``runs/NAME-2``, ... that does not exist."""
    path, number = Path("runs") / name, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return path
