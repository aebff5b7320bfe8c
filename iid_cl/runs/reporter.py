"""What a person sees of a run: a live bar on a terminal, plain lines elsewhere, and the log file."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from iid_cl.errors import printable

PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal
LIVE_INTERVAL = 0.1

Losses = Callable[[], Mapping[str, float]]


class _Rate(ProgressColumn):
    """Iterations per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed and task.speed >= 10 else f"{task.speed or 0:.1f}/s")


class Reporter:
    """Shows lines and the progress of one phase at a time; use it as a context manager.

    Args:
        console: where to print.
        log: every line is written here, too.
    """

    def __init__(self, console: Console, log: TextIO | None = None) -> None:
        self._console = console
        self.log = log
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[losses]}", style="dim"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._label = ""
        self._done = 0
        self._shown_at = 0.0

    def __enter__(self) -> "Reporter":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def line(self, text: str = "") -> None:
        """One line for the person and the log."""
        text = printable(text)
        self._console.print(Text(text), soft_wrap=True)
        self._write_log(text)

    def progress(self, label: str, done: int, total: int, losses: Losses = dict) -> None:
        """Reports that ``done`` of ``total`` steps of phase ``label`` are done.

        ``losses`` is called only when something is shown, so that a device is not waited for in each step.
        """
        now = time.monotonic()
        if label != self._label or done < self._done:
            self._begin(label, total, now)
        self._done = done
        interval = LIVE_INTERVAL if self._console.is_terminal else PLAIN_INTERVAL
        if now - self._shown_at < interval and done < total:
            return
        shown = "  ".join(f"{name} {value:.4g}" for name, value in losses().items())
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total, losses=shown)
        elif now - self._shown_at >= interval:
            self.line(f"  {label}: {done}/{total}  {shown}")
        self._shown_at = now
        if done >= total:
            self._end()

    def _begin(self, label: str, total: int, now: float) -> None:
        self._end()
        self._label = label
        self._shown_at = now
        if self._console.is_terminal:
            self._task = self._progress.add_task(label, total=total, losses="")

    def _end(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = None
        self._label = ""
        self._done = 0

    def _write_log(self, text: str) -> None:
        if self.log is not None:
            self.log.write(text + "\n")
            self.log.flush()
