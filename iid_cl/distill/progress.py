"""Distillations shown as bars, in the style of Avalanche's own."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

from iid_cl.distill.watch import Watch


class ProgressBars:
    """A line and a bar for each distillation, with its losses and the time left.

    The line is there at once. How long it takes about is added after two reports, as the first one includes compiling.

    Args:
        file: where to show them; None: standard output.

    >>> import io
    >>> shown = io.StringIO()
    >>> bars = ProgressBars(shown)
    >>> bars.start(classes=2, iterations=100)
    >>> bars.step(2, {"match": 0.5})
    >>> bars.step(4, {"match": 0.25})
    >>> shown.getvalue().splitlines()[0]
    'Distilling 2 classes, 100 iterations, about 0 s'
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._iterations = 0
        self._first: tuple[int, float] | None = None  # iteration and time of the first report
        self._bar: Any = None

    def start(self, classes: int, iterations: int) -> None:
        """A distillation of ``classes`` classes begins, with ``iterations`` iterations to go."""
        self.close()
        self._iterations = iterations
        self._say(f"Distilling {classes} class{'es' if classes > 1 else ''}, {iterations} iterations")

    def _say(self, text: str) -> None:
        print(text, end="", file=self._file or sys.stdout, flush=True)

    def step(self, iteration: int, losses: Mapping[str, float]) -> None:
        """The distillation has done ``iteration`` iterations."""
        if not self._iterations:
            return
        now = time.perf_counter()
        if self._first is None:
            self._first = iteration, now
            if iteration < self._iterations:
                return
        if self._bar is None:
            begun, at = self._first
            if iteration > begun:
                seconds = (now - at) / (iteration - begun) * self._iterations
                self._say(f", about {seconds:.0f} s" if seconds < 90 else f", about {seconds / 60:.0f} min")
            self._say("\n")
            out = self._file or sys.stdout
            self._bar = tqdm(total=self._iterations, initial=begun, file=out, mininterval=0.0)
            self._bar.start_t -= now - at  # so that the bar's rate leaves out compiling, too
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items()}, refresh=False)
        self._bar.update(iteration - self._bar.n)
        if iteration >= self._bar.total:
            self.close()

    def close(self) -> None:
        """Ends the line or the bar of a distillation that did not end."""
        if self._bar is not None:
            self._bar.close()
        elif self._iterations:
            self._say("\n")
        self._iterations, self._first, self._bar = 0, None, None


@contextmanager
def progress_bars(wanted: bool | None) -> Iterator[Watch]:
    """An observer that shows distillations as bars within the block, if this is ``wanted``; None: in a terminal."""
    if not (sys.stdout.isatty() if wanted is None else wanted):
        yield Watch()
        return
    bars = ProgressBars()
    try:
        yield Watch(on_step=bars.step, on_start=bars.start)
    finally:
        bars.close()
