"""Runs of split digits killed with SIGKILL at random moments: each has to go on and end as if nothing had happened.

    python -m tests.hardening.crashtest [--runs 150] [--seed 0]

Half of the runs are killed in their first or last second: before and while they write their first file, while they
write their results, and while they make their report. Every third run is killed once more while it goes on. What it
then stores (metrics, memories, results without times) is compared byte for byte with an uninterrupted run of the same
configuration; its report has to be whole, and no temporary file may be left. Runs are forked from one process that has
imported everything. To save time the report's figures are blank, and its plane shows two components instead of t-SNE.
Writes ``benchmarks/results/crashtest.json``; exit code 1 where a run differs or does not go on.
"""

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from avalanche.training.templates import SupervisedTemplate
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import iid_cl.runs.run
from benchmarks import ledger
from iid_cl.cli import main as command_line
from iid_cl.compute.devices import resolve_device
from iid_cl.distill.distillation import Distillation
from iid_cl.records.checkpoint import Checkpoints
from iid_cl.records.provenance import provenance
from iid_cl.report import content

SMALL = ["train.epochs=3", "distill.iterations=20", "model.width=8", "distill.embedder.width=8"]
QUEUE = "distill.queue={networks: 1, steps: 1, batch_size: 16}"
CONFIGURATIONS = {
    "replay, distilled and herding": [*SMALL, "memory.ipc=2"],
    "memory only, two networks": [
        *SMALL,
        "train.mode=memory_only",
        "train.networks=2",
        "train.memory_updates=40",
        "baselines=[]",
    ],
    "replay, IDM with soft labels": [
        *SMALL,
        "distill.objective=idm",
        QUEUE,
        "distill.cc={network: {width: 8, depth: 1}, trainings: 1, epochs: 2, snapshots: 1}",
        "memory.soft_labels=true",
        "baselines=[]",
    ],
    "replay, auto under a fixed total": [
        *SMALL,
        "memory.method=auto",
        "memory.ipc=null",
        "memory.mem_size=20",
        "stream.experiences=2",
        "baselines=[]",
    ],
}
PHASES = (
    "starting",
    "beginning",
    "training",
    "distilling",
    "saving",
    "evaluating",
    "writing results",
    "reporting",
    "finished",
)
SECOND_KILL = 3  # one run in so many is killed twice
IN_WINDOWS = 40  # runs at least that are killed in their first or last second


@dataclass(frozen=True)
class Moment:
    """When to kill: after seconds, then as soon as a phase has begun, then up to ``delay`` seconds later.

    Seconds are a range in shares of the uninterrupted run's, or, below 0 and with ``absolute``, in seconds.
    """

    first: float = 0.0
    last: float = 1.0
    absolute: bool = False
    phase: str | None = None
    delay: float = 0.0

    def after(self, seconds: float, draws: random.Random) -> float:
        """Seconds to wait, of a run that takes ``seconds``; negative ones count from its end."""
        at = draws.uniform(self.first, self.last)
        return max(0.0, seconds + at if at < 0 else at) if self.absolute else at * seconds


ANYWHERE = Moment()
MOMENTS = (
    Moment(0.0, 1.0, absolute=True),
    Moment(0.0, 0.0, phase="beginning", delay=0.01),
    Moment(0.0, 0.0, phase="writing results", delay=0.03),
    Moment(0.0, 0.0, phase="reporting", delay=1.0),
    Moment(-1.0, -1e-9, absolute=True),
    ANYWHERE,
    ANYWHERE,
    ANYWHERE,
    Moment(phase="saving"),
    Moment(phase="evaluating"),
)

# where the running process is, shared with the one that kills it
_phase = mmap.mmap(-1, 1)


def _watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, which tells that it is at work."""

    def watched(*arguments: Any, **options: Any) -> Any:
        before, _phase[0] = _phase[0], PHASES.index(name)
        try:
            return function(*arguments, **options)
        finally:
            _phase[0] = before

    return watched


def start(arguments: list[str], log: Path) -> int:
    """Forks a process that runs the command line; returns its number."""
    process = os.fork()
    if process:
        return process
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["iid-cl", *arguments]
    code = 1
    try:
        command_line()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException as error:  # a forked process must not return into its parent's program
        os.write(2, repr(error).encode())
    os._exit(code)


def finish(arguments: list[str], log: Path) -> float:
    """Runs the command line to its end; returns its seconds.

    Raises:
        RuntimeError: it failed.
    """
    began = time.perf_counter()
    _, status = os.waitpid(start(arguments, log), 0)
    if status:
        raise RuntimeError(f"iid-cl {' '.join(arguments)}: status {status}\n{log.read_text()[-2000:]}")
    return time.perf_counter() - began


@dataclass(frozen=True)
class Kill:
    """A process that was killed, or that had ended: what it did, and the seconds since it started."""

    phase: str
    seconds: float

    def window(self, whole: float) -> str | None:
        """``first`` or ``last`` second of a run that takes ``whole`` seconds; None in between."""
        if self.phase == "finished":
            return None
        if self.phase in ("starting", "beginning") or self.seconds < 1:
            return "first"
        return "last" if self.phase in ("writing results", "reporting") or self.seconds > whole - 1 else None


def kill(arguments: list[str], log: Path, after: float, moment: Moment, draws: random.Random) -> Kill:
    """Kills the command line after so many seconds and at the moment.

    Raises:
        RuntimeError: it failed by itself.
    """
    _phase[0] = 0
    began = time.perf_counter()
    process = start(arguments, log)

    def ended() -> bool:
        number, status = os.waitpid(process, os.WNOHANG)
        if number and status:
            raise RuntimeError(f"iid-cl {' '.join(arguments)}: status {status}\n{log.read_text()[-2000:]}")
        return bool(number)

    deadline = began + after
    while time.perf_counter() < deadline or (moment.phase is not None and PHASES[_phase[0]] != moment.phase):
        if ended():
            return Kill("finished", time.perf_counter() - began)
        time.sleep(0.0002)
    time.sleep(draws.uniform(0, moment.delay))
    if ended():
        return Kill("finished", time.perf_counter() - began)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return Kill(PHASES[_phase[0]], time.perf_counter() - began)


def is_finished(path: Path) -> bool:
    """Whether a run says that it is finished."""
    return (path / "run.json").exists() and not (path / "state").exists()


def stored(path: Path) -> dict[str, Any]:
    """What a run leaves behind, but for times; of the report only that it is whole."""
    summary = json.loads((path / "run.json").read_text())
    kept = [file for file in path.iterdir() if file.suffix in (".safetensors", ".jsonl") or file.name == "sources.json"]
    files = {file.name: file.read_bytes() for file in kept}
    plain = [{k: v for k, v in result.items() if not k.endswith("seconds")} for result in summary["results"]]
    page = (path / "report.html").read_text().rstrip().endswith("</html>")
    names = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.name != ".lock")
    return {"results": plain, "checks": summary["checks"], "page": page, "names": names, **files}


Wholes = dict[str, tuple[float, dict[str, Any]]]


def crash(number: int, folder: Path, whole: Wholes, draws: random.Random) -> tuple[list[Kill], list[str], float]:
    """One run, killed and gone on with: the kills, what is not as it should be, and the seconds of a whole run."""
    name = list(CONFIGURATIONS)[number % len(CONFIGURATIONS)]
    seconds, expected = whole[name]
    path, log = folder / str(number), folder / f"{number}.log"
    command = _command(CONFIGURATIONS[name], path)
    moment = MOMENTS[number % len(MOMENTS)]
    while (first := kill(command, log, moment.after(seconds, draws), moment, draws)).phase == "finished":
        shutil.rmtree(path)  # it was done by then: the machine has become faster
        seconds *= 0.8
    kills = [first]

    def goes_on() -> list[str]:
        return ["resume", str(path)] if number % 2 and (path / "begun.json").exists() else command

    if number % SECOND_KILL == 0 and not is_finished(path):
        kills.append(kill(goes_on(), log, draws.uniform(0, seconds), ANYWHERE, draws))
    if not is_finished(path):
        finish(goes_on(), log)
    found = stored(path)
    return kills, [key for key in expected if found.get(key) != expected[key]], seconds


def _command(settings: list[str], path: Path) -> list[str]:
    changes = [word for setting in settings for word in ("--set", setting)]
    return ["run", "split_digits.yaml", "--out", str(path), "--set", "checkpoint.every=0.1", *changes]


def _draw_quickly() -> None:
    """Figures are written, but not drawn: each has taken a quarter of a second."""

    def savefig(figure: Figure, file: Any, **options: Any) -> None:
        file.write(b"blank")

    Figure.savefig = savefig  # type: ignore[method-assign]
    Figure.tight_layout = lambda *_: None  # type: ignore[method-assign]
    content.plane_of = lambda features: features.points[:, :2].tolist()  # type: ignore[assignment]


def main(runs: int, seed: int) -> list[dict[str, Any]]:
    """Measures, prints a table and writes ``benchmarks/results/crashtest.json``."""
    began = time.perf_counter()
    torch.set_num_threads(1)  # a forked process must not have begun to use more
    Checkpoints.write = _watched("saving", Checkpoints.write)  # type: ignore[method-assign]
    Distillation.run = _watched("distilling", Distillation.run)  # type: ignore[method-assign]
    SupervisedTemplate.train = _watched("training", SupervisedTemplate.train)
    SupervisedTemplate.eval = _watched("evaluating", SupervisedTemplate.eval)
    for function, name in (("write_begun", "beginning"), ("report", "reporting")):
        setattr(iid_cl.runs.run, function, _watched(name, getattr(iid_cl.runs.run, function)))
    of_results = _watched("writing results", iid_cl.runs.run._Run._write_results)
    iid_cl.runs.run._Run._write_results = of_results  # type: ignore[method-assign]
    _draw_quickly()
    draws = random.Random(seed)
    phases: Counter[str] = Counter()
    windows: Counter[str | None] = Counter()
    twice = 0
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = {}
        for index, (label, settings) in enumerate(CONFIGURATIONS.items()):
            path = folder / f"whole-{index}"
            whole[label] = (finish(_command(settings, path), folder / "whole.log"), stored(path))
            print(f"{label}: {whole[label][0]:.1f} s uninterrupted", flush=True)
        for number in range(runs):
            try:
                kills, different, seconds = crash(number, folder, whole, draws)
            except (RuntimeError, OSError, ValueError) as error:
                kills, different, seconds = [], [str(error)], 0.0
            found = [each.phase for each in kills]
            phases.update(found)
            windows.update([each.window(seconds) for each in kills[:1]])
            twice += len(found) > 1 and found[1] != "finished"
            if different:
                broken.append(f"run {number}: {', '.join(different)}")
            verdict = "differs: " + ", ".join(different) if different else "the same"
            print(f"{number + 1}/{runs}: killed while {' and '.join(found)}; {verdict}", flush=True)
    table = Table("killed while", "times")
    for phase in PHASES:
        table.add_row(phase, str(phases[phase]))
    table.add_section()
    table.add_row("runs", str(runs))
    table.add_row("killed twice", str(twice))
    for window in ("first", "last"):
        table.add_row(f"killed in the {window} second", str(windows[window]))
    table.add_row("ended byte for byte the same", str(runs - len(broken)))
    Console().print(table)
    rows = [
        ledger.row("runs that ended byte for byte the same", [runs - len(broken)], "", target=runs, better="higher"),
        ledger.row("runs", [runs], ""),
        ledger.row("killed twice", [twice], ""),
        ledger.row(
            "killed in the first or last second",
            [windows["first"] + windows["last"]],
            "",
            target=min(IN_WINDOWS, runs // 3),
            better="higher",
        ),
        *(ledger.row(f"killed in the {window} second", [windows[window]], "") for window in ("first", "last")),
        *(ledger.row(f"killed while {phase}", [phases[phase]], "") for phase in PHASES if phases[phase]),
    ]
    rows = [{**row, "seeds": f"seed {seed}"} for row in rows]
    origin, arguments = provenance(resolve_device("cpu")), f"--runs {runs} --seed {seed}"
    spent = time.perf_counter() - began
    ledger.write("crashtest", rows, origin, spent, arguments, module="tests.hardening.crashtest")
    print("\n".join(broken))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(bool(ledger.missed(main(given.runs, given.seed))))
