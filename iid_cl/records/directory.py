"""The run directory: everything a run leaves behind, written by one process at a time."""

import contextlib
import json
import os
import platform
from pathlib import Path
from types import TracebackType
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

    And ``report.html`` with its ``figures/``; of runs that distil ``losses.jsonl`` and ``history.safetensors``, too.

    A context manager: leaving it closes the log and lets other processes in. A process that died holds nothing.

    Args:
        path: a folder that is missing or empty.
        again: it may hold files already: of the same command, which goes on.

    Raises:
        UserError: the folder holds something already, or a link that leads out of it, cannot be made, or another
            process writes to it.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk has been told of before
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
        """Bytes of the files that grow, all of them on the disk."""
        self.log.flush()
        found = {}
        for name in GROWING:
            with contextlib.suppress(FileNotFoundError), (self.path / name).open("rb") as file:
                os.fsync(file.fileno())
                found[name] = os.fstat(file.fileno()).st_size
        return found

    def rewind(self, sizes: dict[str, int]) -> None:
        """Takes the files that grow back to earlier sizes.

        Raises:
            UserError: one is smaller than that.
            ValueError: a size is none.
        """
        for name in GROWING:
            path, size = self.path / name, sizes.get(name, 0)
            found = path.stat().st_size if path.exists() else 0
            if type(size) is not int or size < 0:
                raise ValueError(f"{name} cannot have {size!r} bytes")
            if found < size:
                raise UserError(
                    f"{path}: has {found} bytes where the last checkpoint found {size}; it was changed, so remove the "
                    "run directory and run it again."
                )
            if found > size:
                os.truncate(path, size)


def is_used(path: Path) -> bool:
    """Whether a folder holds anything but a lock."""
    return any(entry.name not in (LOCK, HOLDER) for entry in path.iterdir())


def _check_links(path: Path) -> None:
    """What a run appends to, it would append to the file that a link leads to.

    Raises:
        UserError: a link leads out of the folder.
    """
    home = os.path.realpath(path)
    for entry in path.rglob("*"):
        own = path / "wandb" in entry.parents  # where Weights & Biases links a log of its own
        if entry.is_symlink() and not own and not Path(os.path.realpath(entry)).is_relative_to(home):
            raise UserError(f"{entry}: is a link that leads out of the run directory; put a copy there, or remove it.")


def _locked(path: Path) -> FileLock:
    """Locks a folder for this process.

    Raises:
        UserError: another process has it; it is named.
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
        found = json.loads(read_text(path / HOLDER, 2**12))
        return f"process {int(found['process'])} on {json.dumps(found['host'])[1:-1]}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written
        return "another process"


def free_directory(name: str) -> Path:
    """The first of ``runs/NAME``, ``runs/NAME-2``, ... that does not exist."""
    path, number = Path("runs") / name, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return path
