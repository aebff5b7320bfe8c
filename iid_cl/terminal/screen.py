"""A console with a mode: text, results only, or JSON events."""

import json
import sys
import time
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table

DEEPEST = 64  # levels of nested values in an event
PAGE = 160  # columns in a file or pipe


class Mode(StrEnum):
    """What a command prints."""

    full = "full"
    quiet = "quiet"  # results and errors
    json = "json"  # events, a JSON object per line


class Screen(Console):
    """A rich console with a mode; in ``json`` it prints events only, see :func:`emit`."""

    def __init__(self, mode: Mode = Mode.full) -> None:
        super().__init__(quiet=mode is Mode.json)
        self.mode = mode
        self.started = time.monotonic()


def mode_of(console: Console) -> Mode:
    """The console's mode; that of any other console is ``full``."""
    return console.mode if isinstance(console, Screen) else Mode.full


def emit(console: Console, event: str, /, **values: Any) -> None:
    """In JSON mode, prints a line ``{"event": ..., "seconds": since the start, ...}``.

    NaN and infinities, which JSON does not know, become null. What is nested deeper than 64 levels becomes "…".
    """
    if isinstance(console, Screen) and console.mode is Mode.json:
        record = {"event": event, "seconds": round(time.monotonic() - console.started, 3), **values}
        sys.stdout.write(json.dumps(_finite(record), default=str) + "\n")
        sys.stdout.flush()


def width_of(console: Console) -> int:
    """Columns of the terminal; ``PAGE`` if there is none."""
    return console.width if console.is_terminal else PAGE


def print_table(console: Console, table: Table) -> None:
    """Prints a table within :func:`width_of`."""
    if not console.is_terminal:
        console.width = PAGE  # a table cannot be wider than its console
    console.print(table)


def _finite(value: Any, room: int = DEEPEST) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict | list | tuple) and not room:
        return "…"
    if isinstance(value, dict):
        return {str(key): _finite(item, room - 1) for key, item in value.items()}
    return [_finite(item, room - 1) for item in value] if isinstance(value, list | tuple) else value


def in_seconds(value: float) -> str:
    """``1.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
