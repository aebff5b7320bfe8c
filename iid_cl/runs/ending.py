"""The end of a run that is interrupted, and of one that was."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.text import Text

from iid_cl.errors import UserError
from iid_cl.files import on_full_disk, read_text
from iid_cl.records.result import Result
from iid_cl.terminal.screen import emit
from iid_cl.terminal.signals import Stopped

_RESULTS = TypeAdapter(list[Result])


@contextmanager
def interruptions(path: Path, console: Console, way: str | None = None) -> Iterator[None]:
    """Says how an interrupted command goes on: ``way``, by default ``iid-cl resume PATH``.

    Raises:
        UserError: the disk is full.
        Stopped: a signal asked the run to stop.
    """
    way = f"iid-cl resume {path}" if way is None else way
    try:
        with on_full_disk(f"{path}: the disk is full; free some space, then {way}."):
            yield
    except Stopped:
        console.print(Text(f"stopped; resume with: {way}"), soft_wrap=True)
        emit(console, "stopped", directory=str(path))
        raise


def measured(file: Path) -> tuple[list[Result], Any]:
    """The results and the checks in a ``run.json``.

    Raises:
        UserError: it is damaged.
    """
    try:
        summary = json.loads(read_text(file))
        return _RESULTS.validate_python(summary["results"]), summary["checks"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # a pydantic error is a ValueError
        raise UserError(f"{file}: is damaged; remove the run directory and run it again.") from None
