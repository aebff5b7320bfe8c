"""Runs of split digits killed with SIGKILL at random moments: each has to go on and end as if nothing had happened.

    python -m tests.hardening.crashtest [--runs 100] [--seed 0]

Every third run is killed once more while it goes on. What it then stores (metrics, memories, results without times) is
compared byte for byte with an uninterrupted run of the same configuration. Runs are forked from one process that has
imported everything, and leave the HTML report out, so that the time is spent in runs. Writes
``benchmarks/results/crashtest.json``; exit code 1 where a run differs or does not go on.
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
from pathlib import Path
from typing import Any

import torch
from avalanche.training.templates import SupervisedTemplate
from rich.console import Console
from rich.table import Table

import iid_cl.runs.run
from benchmarks import ledger
from iid_cl.cli import main as command_line
from iid_cl.compute.devices import resolve_device
from iid_cl.distill.engine import Distillation
from iid_cl.records.checkpoint import Checkpoints
from iid_cl.records.provenance import provenance

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
PHASES = ("starting", "training", "distilling", "saving", "evaluating", "finished")
SECOND_KILL = 3  # every so manieth run is killed twice
WANTED = (None, None, None, "saving", "evaluating")  # some are killed while they do what takes a moment only

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


def kill(arguments: list[str], log: Path, after: float, wanted: str | None = None) -> str:
    """Kills the command line after so many seconds, or as soon after them as it does what is ``wanted``.

    Returns:
        What it was doing.

    Raises:
        RuntimeError: it failed by itself.
    """
    _phase[0] = 0
    process = start(arguments, log)
    deadline = time.perf_counter() + after
    while time.perf_counter() < deadline or (wanted is not None and PHASES[_phase[0]] != wanted):
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended and status:
            raise RuntimeError(f"iid-cl {' '.join(arguments)}: status {status}\n{log.read_text()[-2000:]}")
        if ended:
            return "finished"
        time.sleep(0.0002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return PHASES[_phase[0]]


def stored(path: Path) -> dict[str, Any]:
    """What a run leaves behind, but for times."""
    results = json.loads((path / "run.json").read_text())["results"]
    kept = [file for file in path.iterdir() if file.suffix in (".safetensors", ".jsonl") or file.name == "sources.json"]
    files = {file.name: file.read_bytes() for file in kept}
    plain = [{key: value for key, value in result.items() if not key.endswith("seconds")} for result in results]
    return {"results": plain, **files}


def crash(number: int, folder: Path, whole: dict[str, tuple[float, dict[str, Any]]], draws: random.Random) -> Any:
    """One run, killed and gone on with; returns what it was doing each time, and whether it ended as it should."""
    name = list(CONFIGURATIONS)[number % len(CONFIGURATIONS)]
    seconds, expected = whole[name]
    path, log = folder / str(number), folder / f"{number}.log"
    command = _command(CONFIGURATIONS[name], path)
    wanted = WANTED[number % len(WANTED)]
    while (first := kill(command, log, draws.uniform(0, seconds), wanted)) == "finished":
        shutil.rmtree(path)  # it was done by then
    phases = [first]
    goes_on = ["resume", str(path)] if number % 2 and (path / "begun.json").exists() else command
    if number % SECOND_KILL == 0 and not (path / "run.json").exists():
        phases.append(kill(goes_on, log, draws.uniform(0, seconds)))
    if not (path / "run.json").exists():
        finish(goes_on, log)
    found = stored(path)
    different = [key for key in expected if found.get(key) != expected[key]]
    return phases, different


def _command(settings: list[str], path: Path) -> list[str]:
    changes = [word for setting in settings for word in ("--set", setting)]
    return ["run", "split_digits.yaml", "--out", str(path), "--set", "checkpoint.every=0.1", *changes]


def main(runs: int, seed: int) -> list[dict[str, Any]]:
    """Measures, prints a table and writes ``benchmarks/results/crashtest.json``."""
    began = time.perf_counter()
    torch.set_num_threads(1)  # a forked process must not have begun to use more
    Checkpoints.write = _watched("saving", Checkpoints.write)  # type: ignore[method-assign]
    Distillation.run = _watched("distilling", Distillation.run)  # type: ignore[method-assign]
    SupervisedTemplate.train = _watched("training", SupervisedTemplate.train)
    SupervisedTemplate.eval = _watched("evaluating", SupervisedTemplate.eval)
    iid_cl.runs.run.report = lambda directories: directories[0]
    draws = random.Random(seed)
    phases: Counter[str] = Counter()
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
                found, different = crash(number, folder, whole, draws)
            except (RuntimeError, OSError, ValueError) as error:
                found, different = [], [str(error)]
            phases.update(found)
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
    table.add_row("ended byte for byte the same", str(runs - len(broken)))
    Console().print(table)
    rows = [
        ledger.row("runs that ended byte for byte the same", [runs - len(broken)], "", target=runs, better="higher"),
        ledger.row("runs", [runs], ""),
        ledger.row("killed twice", [twice], ""),
        *(ledger.row(f"killed while {phase}", [phases[phase]], "") for phase in PHASES if phases[phase]),
    ]
    rows = [{**row, "seeds": f"seed {seed}"} for row in rows]
    origin, arguments = provenance(resolve_device("cpu")), f"--runs {runs} --seed {seed}"
    seconds = time.perf_counter() - began
    ledger.write("crashtest", rows, origin, seconds, arguments, module="tests.hardening.crashtest")
    print("\n".join(broken))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(bool(ledger.missed(main(given.runs, given.seed))))
