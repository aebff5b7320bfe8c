"""The run directory: everything a run leaves behind."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from iid_cl.config import Config
from iid_cl.config_files import dump_config
from iid_cl.errors import UserError
from iid_cl.memory.files import write_bytes


class RunDirectory:
    """Holds ``config.yaml``, ``metrics.jsonl``, ``run.json``, ``log.txt``, ``memory.safetensors``, ``memory.png``.

    A context manager: leaving it closes the log.

    Args:
        path: a folder that is missing or empty.
        again: it may hold files already: of the same command, which goes on.

    Raises:
        UserError: the folder holds something already, or cannot be made.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())) and not again:
            raise UserError(f"{path}: holds files already; choose another --out, or remove it.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be made a run directory ({error.strerror}); choose another --out."
            ) from None
        self.path = path
        self.log: TextIO = (path / "log.txt").open("a", encoding="utf-8")

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.close()

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


def free_directory(name: str) -> Path:
    """The first of ``runs/NAME``, ``runs/NAME-2``, ... that does not exist."""
    path, number = Path("runs") / name, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return path
