"""The live view on a terminal: current phase, progress, speed, losses, memory and GPU."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

WIDEST = 100  # maximum columns of the view
BAR = 40
_MEASURE = Console(width=WIDEST)  # for wrapping text
RECENT = 30  # calls of `Phase.update` over which the speed is measured


@dataclass
class Phase:
    """One phase, e.g. training or distilling an experience. ``images`` is the number of images in each step, if any."""

    label: str
    total: int
    started: float
    images: int | None = None
    done: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def update(self, done: int, total: int, now: float, losses: Mapping[str, float]) -> None:
        """Records the progress at the time ``now``."""
        self.done, self.total, self.losses = done, total, losses
        if self.recent and self.recent[-1][0] == now:
            self.recent.pop()
        self.recent.append((now, done))

    @property
    def rate(self) -> float | None:
        """Recent steps per second; None before the second update."""
        if len(self.recent) < 2 or self.recent[-1][0] <= self.recent[0][0]:
            return None
        (since, before), (until, after) = self.recent[0], self.recent[-1]
        return (after - before) / (until - since)


@dataclass
class Stage:
    """Number of finished experiences or cells; ``first`` of them were finished before this view started.

    ``forecast`` are the seconds left of the whole run at the time ``done_at``, where they are known.
    """

    total: int
    unit: str
    started: float
    first: int = 0
    done: int = 0
    done_at: float = 0.0
    forecast: float | None = None

    def left(self, now: float) -> float | None:
        """Seconds left: the forecast, or else as if the rest were as fast as what is finished; None before that."""
        if self.forecast is not None:
            return max(0.0, self.forecast - (now - self.done_at))
        fresh = self.done - self.first
        if fresh <= 0:
            return None
        return max(0.0, (self.done_at - self.started) / fresh * (self.total - self.done) - (now - self.done_at))


class View:
    """A rich renderable of a few lines. Parts that do not fit the terminal's width move to the next line.

    Args:
        console: where it is drawn.
        clock: returns seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self.phase: Phase | None = None
        self.stage: Stage | None = None
        self.method = (1, 1)  # that is running, and how many there are
        self.memory_bytes: int | None = None
        self.gpu = ""
        self._console = console
        self._clock = clock
        self._started = clock()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws the lines; none between runs."""
        phase, stage = self.phase, self.stage
        if phase is None and stage is None:
            return
        width = max(1, min(options.max_width, WIDEST) - 1)  # the last column makes some terminals wrap
        plain = options.ascii_only
        now = self._clock()
        head = [(phase.label, "bold")] if phase is not None else [("working", "bold")]
        yield from _flow([*head, (clock_time(now - self._started), "dim")], width, plain)
        if phase is not None:
            yield from self._bar(phase, width, plain, now)
        yield from _flow([*self._losses(phase), *self._state(stage, now)], width, plain)

    def _bar(self, phase: Phase, width: int, plain: bool, now: float) -> RenderResult:
        parts = [(f"{phase.done}/{phase.total}", "")]
        if phase.rate:
            speed = phase.rate * (phase.images or 1)
            number = f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
            parts.append((f"{number} {'images' if phase.images else 'iterations'}/s", "cyan"))
            seconds = max(0.0, (phase.total - phase.done) / phase.rate - (now - phase.recent[-1][0]))
            parts.append((f"{clock_time(seconds)} left", "green"))
        bar = ProgressBar(total=max(1, phase.total), completed=phase.done, width=min(width, BAR))
        lines = list(_flow(parts, width, plain))
        yield bar
        if len(lines) == 1 and BAR + 2 + lines[0].cell_len <= width:
            yield Text("  ", end="")
        else:
            yield Segment.line()
        yield from lines

    def _losses(self, phase: Phase | None) -> list[tuple[str, str]]:
        return [] if phase is None else [(f"{name} {value:.4g}", "") for name, value in phase.losses.items()]

    def _state(self, stage: Stage | None, now: float) -> list[tuple[str, str]]:
        parts = []
        if stage is not None:
            number, methods = self.method
            if methods > 1:
                parts.append((f"method {number} of {methods}", "bold"))
            parts.append((f"{stage.done} of {stage.total} {stage.unit} done", "bold"))
            seconds = stage.left(now)
            if seconds is not None and stage.done < stage.total:
                # without a forecast, the next method may take another time
                whole = "all" if number == methods or stage.forecast is not None else "this method"
                parts.append((f"about {clock_time(seconds)} left in {whole}", "green"))
        if self.memory_bytes:
            parts.append((f"memory {self.memory_bytes:,} bytes", "magenta"))
        return [*parts, *([(self.gpu, "yellow")] if self.gpu else [])]


def _flow(parts: Sequence[tuple[str, str]], width: int, plain: bool) -> Iterator[Text]:
    """Fills lines with the parts, separated by dots; a part that is wider than a line is broken between words."""
    gap = " | " if plain else " · "
    line = Text()
    for text, style in parts:
        printable = text.encode("ascii", "replace").decode() if plain else text
        for piece in Text(printable, style).wrap(_MEASURE, width):
            piece.rstrip()
            if line and line.cell_len + len(gap) + piece.cell_len > width:
                yield line
                line = Text()
            if line:
                line.append(gap, "dim")
            line.append_text(piece)
    if line:
        yield line


def clock_time(seconds: float) -> str:
    """``0:07``, ``12:30`` or ``3:05:00``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
