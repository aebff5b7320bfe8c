"""Bad input, twenty thousand times: each case is read or refused in a sentence, in bounded time and memory.

python -m tests.hardening.fuzz [--cases 20000] [--seed 0]
python -m tests.hardening.fuzz --only "memory files" --case 17     # one case again

Valid files are mutated with a generator seeded by (seed, category, number of the case). Nothing is trained: what reads
and checks the input is called in this process, and once in a while as a command in a process of its own. A category
is a function in tests/hardening/fuzzing/ and a line in its dictionary. Inputs that crash or hang are kept in
fuzz-failures/, with their traceback.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from benchmarks import ledger
from iid_cl.compute.devices import resolve_device
from iid_cl.errors import UserError, is_printable, one_line
from iid_cl.records.provenance import provenance
from tests.hardening.fuzzing import CATEGORIES
from tests.hardening.fuzzing.mutations import Refused

CPU_SECONDS = 10  # of a case; the wall clock also counts what other programs do
WALL_SECONDS = 60
MOST_MEMORY = 4 * 2**30
OUTCOMES = ("accepted", "refused", "crash", "hang", "memory", "touched")


class Hang(BaseException):
    """Not an Exception: no handler of the code under test may take it for one of its own."""


@dataclass
class Tally:
    """What became of a category's cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # CPU seconds
    failures: list[str] = field(default_factory=list)


def run_case(category: str, number: int, seed: int, sandbox: Path) -> tuple[str, str, float]:
    """One case in ``sandbox``/case: its outcome, what there is to say about it, and its CPU seconds."""
    folder = sandbox / "case"
    _remove(folder)
    folder.mkdir()
    generator = random.Random(f"{seed}/{category}/{number}")
    read = CATEGORIES[category](generator, folder)
    before = _tree(sandbox)
    start = time.process_time() + _children()
    outcome, said = _outcome(read)
    seconds = time.process_time() + _children() - start
    if outcome in ("accepted", "refused"):
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10 > MOST_MEMORY:
            outcome, said = "memory", f"peak above {MOST_MEMORY:,} bytes"
        elif seconds > CPU_SECONDS:
            outcome, said = "hang", f"{seconds:.1f} s"
        elif _tree(sandbox) != before:
            outcome, said = "touched", f"{sorted(set(_tree(sandbox).items()) ^ set(before.items()))}"
    return outcome, said, seconds


def _outcome(read: Callable[[], object]) -> tuple[str, str]:
    try:
        with _time_limit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as the command line does
            read()
    except (UserError, Refused) as error:
        sentence = one_line(error) if isinstance(error, UserError) else ""
        if not is_printable(sentence):
            return "crash", f"unprintable: {sentence!r}"
        return "refused", sentence
    except Hang:
        return "hang", traceback.format_exc()
    except Exception:
        return "crash", traceback.format_exc()
    return "accepted", ""


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, CPU_SECONDS), (signal.SIGALRM, signal.ITIMER_REAL, WALL_SECONDS))
    for name, timer, seconds in timers:
        signal.signal(name, stop)
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for _, timer, _ in timers:
            signal.setitimer(timer, 0)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree(sandbox: Path) -> dict[str, tuple[int, int, int]]:
    """Every entry's kind, and a file's size and time of change; the cache of decoded images is meant to change."""
    found = {}
    waiting = [str(sandbox)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.path == str(sandbox / "cache"):
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)
                    found[entry.path] = (status.st_mode, 0, 0)
                else:
                    found[entry.path] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def run_category(category: str, numbers: range, seed: int, sandbox: Path, keep: Path | None, console: Console) -> Tally:
    """All cases of a category; inputs that failed are copied to ``keep``."""
    tally = Tally()
    for number in track(numbers, category, console=console, transient=True, disable=not console.is_terminal):
        outcome, said, seconds = run_case(category, number, seed, sandbox)
        tally.outcomes[outcome] += 1
        tally.slowest = max(tally.slowest, seconds)
        if outcome in ("accepted", "refused"):
            continue
        tally.failures.append(f"{category} {number} (seed {seed}): {outcome}: {said.strip().splitlines()[-1][:300]}")
        if keep is not None:
            place = keep / f"{category.replace(' ', '-')}-{number}-seed{seed}"
            _remove(place)
            shutil.copytree(sandbox / "case", place, symlinks=True, ignore=_special)
            (place / "FAILURE.txt").write_text(f"{outcome}\n{said}\n", encoding="utf-8", errors="replace")
    return tally


def _special(folder: str, names: list[str]) -> list[str]:
    """Pipes cannot be copied."""
    return [name for name in names if stat.S_ISFIFO(os.lstat(Path(folder) / name).st_mode)]


def shares(cases: int, commands: int) -> dict[str, int]:
    """Cases of each category: equally many, and so many commands."""
    inside = [name for name in CATEGORIES if name != "commands"]
    return {**{name: -(-cases // len(inside)) for name in inside}, "commands": commands}


@contextmanager
def sandbox() -> Iterator[Path]:
    """A folder with things that no case may touch beside the case's own; the working directory is in it."""
    before, root = Path.cwd(), os.environ.get("IID_CL_DATA")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "outside").mkdir()
        (folder / "outside" / "kept.txt").write_text("not yours")
        (folder / "cache").mkdir()
        os.environ["IID_CL_DATA"] = str(folder / "cache")
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)
            os.environ.pop("IID_CL_DATA") if root is None else os.environ.update(IID_CL_DATA=root)


def table(tallies: dict[str, Tally]) -> Table:
    """A line per category, and their sum."""
    shown = Table(title="Fuzzed inputs", title_justify="left")
    shown.add_column("category")
    for heading in ("cases", "accepted", "refused", "crashes", "hangs", "over 4 GiB", "touched", "slowest, CPU s"):
        shown.add_column(heading, justify="right")
    total = sum((tally.outcomes for tally in tallies.values()), Counter())
    for name, tally in tallies.items():
        shown.add_row(name, *_cells(tally.outcomes), f"{tally.slowest:.2f}")
    shown.add_section()
    shown.add_row("all", *_cells(total), f"{max(tally.slowest for tally in tallies.values()):.2f}", style="bold")
    return shown


def _cells(outcomes: Counter[str]) -> list[str]:
    return [f"{outcomes.total():,}", *(f"{outcomes[name]:,}" for name in OUTCOMES)]


def rows(tallies: dict[str, Tally]) -> list[dict[str, Any]]:
    """The ledger's."""
    total = sum((tally.outcomes for tally in tallies.values()), Counter())
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 2**20
    slowest = max(tally.slowest for tally in tallies.values())
    made = [ledger.row("fuzzed inputs", [total.total()], "cases", target=20_000, better="higher")]
    names = {
        "crash": "tracebacks",
        "hang": "hangs",
        "memory": "cases over 4 GiB",
        "touched": "cases that changed a file",
    }
    made += [ledger.row(name, [total[key]], "cases", target=0, better="lower") for key, name in names.items()]
    made.append(ledger.row("slowest case, CPU time", [slowest], "s", target=CPU_SECONDS, better="lower"))
    made.append(ledger.row("peak memory", [peak], "GiB", target=4.0, better="lower"))
    for category, tally in tallies.items():
        read = f"{tally.outcomes['accepted']:,} accepted, {tally.outcomes['refused']:,} refused"
        made.append(ledger.row(f"{category} ({read})", [tally.outcomes.total()], "cases"))
    return made


def main() -> int:
    """Runs all cases; exit code 1 where one crashed, hung, took too much memory or changed a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000, help="in this process, over all categories")
    parser.add_argument("--commands", type=int, default=200, help="as commands, in processes of their own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=CATEGORIES, help="one category")
    parser.add_argument("--case", type=int, help="one case of it")
    given = parser.parse_args()
    console, keep = Console(width=110), Path("fuzz-failures").resolve()
    wanted = shares(given.cases, given.commands)
    if given.only is not None:
        wanted = {given.only: wanted[given.only]}
    start, tallies = time.perf_counter(), dict[str, Tally]()
    with sandbox() as folder:
        _limit_memory()
        for name, count in wanted.items():
            numbers = range(count) if given.case is None else range(given.case, given.case + 1)
            tallies[name] = run_category(name, numbers, given.seed, folder, keep, console)
    seconds = time.perf_counter() - start
    console.print(table(tallies))
    failures = [line for tally in tallies.values() for line in tally.failures]
    for line in failures:
        console.print(Text(line), soft_wrap=True)
    console.print(f"{seconds:.0f} s" + (f"; the inputs that failed are in {keep.name}/" if failures else ""))
    if given.only is None:
        arguments = f"--cases {given.cases} --commands {given.commands} --seed {given.seed}"
        origin = provenance(resolve_device("cpu"))
        ledger.write("fuzz", rows(tallies), origin, seconds, arguments, module="tests.hardening.fuzz")
    return int(bool(failures))


def _limit_memory() -> None:
    """No more than 4 GiB on top of what the libraries take: a bomb is an error here, not the machine's end."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_MEMORY, hard))


if __name__ == "__main__":
    sys.exit(main())
