"""Distillations shown as bars, in the style of Avalanche's own."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

from iid_cl.distill.watch import Watch


class ProgressBars:
    """A line and a bar for each distillation, with its losses and the time left.

    Args:
        file: where to show them; None: standard output.

    >>> import io
    >>> shown = io.StringIO()
    >>> bars = ProgressBars(shown)
    >>> bars.start(classes=2, iterations=100)
    >>> bars.step(100, {"match": 0.25})
    >>> shown.getvalue().splitlines()[0]
    'Distilling 2 classes, 100 iterations'
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._bar: Any = None

    def start(self, classes: int, iterations: int) -> None:
        """A distillation of ``classes`` classes begins, with ``iterations`` iterations to go."""
        self.close()
        out = self._file or sys.stdout
        print(f"Distilling {classes} class{'es' if classes > 1 else ''}, {iterations} iterations", file=out, flush=True)
        self._bar = tqdm(total=iterations, file=out, mininterval=0.0)

    def step(self, iteration: int, losses: Mapping[str, float]) -> None:
        """The distillation has done ``iteration`` iterations."""
        if self._bar is None:
            return
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items()}, refresh=False)
        self._bar.update(iteration - self._bar.n)
        if iteration >= self._bar.total:
            self.close()

    def close(self) -> None:
        """Ends the bar of a distillation that did not end."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def progress_bars(wanted: bool) -> Iterator[Watch]:
    """An observer that shows distillations as bars within the block, if this is ``wanted``."""
    if not wanted:
        yield Watch()
        return
    bars = ProgressBars()
    try:
        yield Watch(on_step=bars.step, on_start=bars.start)
    finally:
        bars.close()
