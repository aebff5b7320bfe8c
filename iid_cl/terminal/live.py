"""The live view of a terminal: what runs, how far it is, how fast, and what it takes."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

WIDEST = 100  # columns used of a wide terminal
BAR = 40
_MEASURE = Console(width=WIDEST)  # text is wrapped by one
RECENT = 30  # updates that a phase's speed is measured over


@dataclass
class Phase:
    """One phase: training or distilling an experience, say. ``images`` of each step, where it has any."""

    label: str
    total: int
    started: float
    images: int | None = None
    done: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def update(self, done: int, total: int, now: float, losses: Mapping[str, float]) -> None:
        """Notes how far it is at ``now``."""
        self.done, self.total, self.losses = done, total, losses
        if self.recent and self.recent[-1][0] == now:
            self.recent.pop()
        self.recent.append((now, done))

    @property
    def rate(self) -> float | None:
        """Steps per second, lately; None before there are two looks at it."""
        if len(self.recent) < 2 or self.recent[-1][0] <= self.recent[0][0]:
            return None
        (since, before), (until, after) = self.recent[0], self.recent[-1]
        return (after - before) / (until - since)


@dataclass
class Stage:
    """How many experiences, or cells, are done; ``first`` of them were before this view began."""

    total: int
    unit: str
    started: float
    first: int = 0
    done: int = 0
    done_at: float = 0.0

    def left(self, now: float) -> float | None:
        """Seconds left, if the next ones take as long as those done; None before the first."""
        fresh = self.done - self.first
        if fresh <= 0:
            return None
        return max(0.0, (self.done_at - self.started) / fresh * (self.total - self.done) - (now - self.done_at))


class View:
    """A rich renderable of a few lines, none of which is wider than the terminal: parts that don't fit move on.

    Args:
        console: it is drawn on.
        clock: seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self.phase: Phase | None = None
        self.stage: Stage | None = None
        self.memory_bytes: int | None = None
        self.gpu = ""
        self._console = console
        self._clock = clock
        self._started = clock()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines; nothing between runs."""
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
            shown = f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
            parts.append((f"{shown} {'images' if phase.images else 'iterations'}/s", "cyan"))
            since = now - phase.recent[-1][0]
            left = max(0.0, (phase.total - phase.done) / phase.rate - since)
            parts.append((f"{clock_time(left)} left", "green"))
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
            parts.append((f"{stage.done} of {stage.total} {stage.unit} done", "bold"))
            left = stage.left(now)
            if left is not None and stage.done < stage.total:
                parts.append((f"about {clock_time(left)} left in all", "green"))
        if self.memory_bytes:
            parts.append((f"memory {self.memory_bytes:,} bytes", "magenta"))
        return [*parts, *([(self.gpu, "yellow")] if self.gpu else [])]


def _flow(parts: Sequence[tuple[str, str]], width: int, plain: bool) -> Iterator[Text]:
    """The parts in as few lines as hold them, separated by dots; one too wide for a line is broken between words."""
    gap = " | " if plain else " · "
    line = Text()
    for text, style in parts:
        shown = text.encode("ascii", "replace").decode() if plain else text
        for piece in Text(shown, style).wrap(_MEASURE, width):
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
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
