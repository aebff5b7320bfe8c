"""Shows a run to a person: a live view on a terminal, plain lines elsewhere, and the log file.

Quiet mode prints results only, JSON mode events, see :mod:`iid_cl.terminal.screen`.
"""

import time
from collections.abc import Callable, Mapping
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from iid_cl.compute.devices import gpu_state
from iid_cl.errors import printable
from iid_cl.terminal.live import Phase, Stage, View
from iid_cl.terminal.screen import Mode, emit, mode_of

PLAIN_INTERVAL = 10.0  # seconds between progress lines, if there is no terminal
LIVE_INTERVAL = 0.1
JSON_INTERVAL = 1.0
GPU_INTERVAL = 1.0  # seconds between two readings of the GPU's state

Losses = Callable[[], Mapping[str, float]]


class Reporter:
    """Shows lines and the progress of one phase at a time; use it as a context manager.

    Args:
        console: where to print.
        log: file to which every line is also written.
    """

    def __init__(self, console: Console, log: TextIO | None = None) -> None:
        self._console = console
        self.log = log
        self._mode = mode_of(console)
        live = self._mode is Mode.full and console.is_terminal and not console.is_dumb_terminal and not console.quiet
        self._view = View(console, time.monotonic)
        # lines go through the reporter; other output also appears above the view
        self._live = Live(self._view, console=console, refresh_per_second=8, transient=True) if live else None
        self._interval = {Mode.json: JSON_INTERVAL}.get(self._mode, LIVE_INTERVAL if live else PLAIN_INTERVAL)
        self._label = ""
        self._done = 0
        self._shown_at = 0.0
        self._gpu_at = -GPU_INTERVAL

    def __enter__(self) -> "Reporter":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._view.phase = self._view.stage = None
            self._live.stop()

    def line(self, text: str = "") -> None:
        """Prints a line and logs it."""
        text = printable(text)
        if self._mode is Mode.full:
            self._print(text)
        elif text:
            emit(self._console, "message", text=text)
        self._write_log(text)

    def result(self, text: str) -> None:
        """Prints a line in quiet mode, too, and logs it."""
        if self._mode is Mode.quiet:
            self._print(text)
            self._write_log(text)
        else:
            self.line(text)

    def event(self, name: str, /, **values: object) -> None:
        """Prints an event, in JSON mode only."""
        emit(self._console, name, **values)

    def method(self, number: int, total: int) -> None:
        """Reports that method ``number``, from 1, of ``total`` begins, with its own experiences."""
        self._view.method, self._view.stage = (number, total), None

    def stage(
        self,
        done: int,
        total: int,
        unit: str = "experiences",
        memory_bytes: int | None = None,
        left: Callable[[], float | None] | None = None,
    ) -> None:
        """Reports that ``done`` of ``total`` experiences (or another ``unit``) are done, and the memory's size.

        ``left`` returns the seconds left of the whole run, if they are known; it is called only for a live view.
        """
        view, now = self._view, time.monotonic()
        if view.stage is None or (view.stage.total, view.stage.unit) != (total, unit) or done < view.stage.done:
            view.stage = Stage(total, unit, now, first=done)
        view.stage.done, view.memory_bytes = done, memory_bytes
        view.stage.done_at = now
        view.stage.forecast = None if left is None or self._live is None else left()

    def progress(self, label: str, done: int, total: int, losses: Losses = dict, images: int | None = None) -> None:
        """Reports that ``done`` of ``total`` steps of phase ``label`` are done.

        Args:
            label: name of the phase; another name, or fewer steps than before, starts a new phase.
            done: steps so far, from 1.
            total: steps of the phase.
            losses: called only when something is shown, so that not every step waits for the device.
            images: number of images in a step; if given, the speed is shown in images.
        """
        now = time.monotonic()
        if label != self._label or done < self._done or self._view.phase is None:
            self._label = label
            self._view.phase = Phase(label, total, now, images)
            self._view.phase.recent.append((now, done))
            self._shown_at = now
        self._done = done
        if now - self._shown_at < self._interval and done < total:
            return
        # a short phase prints no line, but in JSON every phase has its end
        if self._live is not None or self._mode is Mode.json or now - self._shown_at >= self._interval:
            self._show(self._view.phase, done, total, losses, now)
        self._shown_at = now
        if done >= total:
            self._view.phase = None
            self._label = ""
            self._done = 0

    def _show(self, phase: Phase, done: int, total: int, losses: Losses, now: float) -> None:
        phase.update(done, total, now, losses() if self._mode is not Mode.quiet else {})
        if self._live is not None and now - self._gpu_at >= GPU_INTERVAL:
            # not while the view is drawn: another thread does that, and CUDA may be recording a graph at the time
            self._view.gpu, self._gpu_at = gpu_state(), now
        if self._mode is Mode.json:
            rate = None if phase.rate is None else round(phase.rate * (phase.images or 1), 3)
            unit = "images" if phase.images else "iterations"
            emit(
                self._console, "progress", phase=phase.label, done=done, total=total, losses=dict(phase.losses),
                **{f"{unit}_per_second": rate},
            )  # fmt: skip
        elif self._live is None and self._mode is Mode.full:
            terms = "  ".join(f"{name} {value:.4g}" for name, value in phase.losses.items())
            self.line(f"  {phase.label}: {done}/{total}  {terms}")

    def _print(self, text: str) -> None:
        """On a terminal, breaks the line between words; in a file or pipe, leaves it whole."""
        self._console.print(Text(text), soft_wrap=not self._console.is_terminal)

    def _write_log(self, text: str) -> None:
        if self.log is not None:
            self.log.write(text + "\n")
            self.log.flush()
