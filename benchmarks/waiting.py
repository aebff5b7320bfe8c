"""How long a person waits: for the first line of a command, the first training step of a run, and quick answers.

python -m benchmarks.waiting [--rounds 3]

Commands run in a terminal of their own, as a person has them. Seconds on the wall grow on a busy machine; those of the
processor hardly do, so both are told.
"""

import argparse
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

from benchmarks import ledger
from iid_cl.compute.devices import resolve_device
from iid_cl.records.provenance import provenance

HZ = os.sysconf("SC_CLK_TCK")
RUN = ["run", "split_digits"]
ANSWERS = (["--help"], ["list"], ["doctor"], ["check", "split_digits", "--no-probe"], ["check", "split_digits"])
TARGETS = {"--help": 1.0, "list": 1.0, "doctor": 3.0, "check split_digits --no-probe": 3.0, "check split_digits": 10.0}
FIRST_LINE, FIRST_STEP = "its first line", "its first training step"
Seconds = tuple[float, float]
"""On the wall, and of the processor."""


def start(arguments: list[str], folder: str) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a command in a terminal; returns its process and the terminal's other end."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "iid_cl", *arguments]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    return process, controller


def processor_seconds(process: int) -> float:
    """Of a process that runs, without its children."""
    with open(f"/proc/{process}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def until_shown(arguments: list[str], folder: str, words: tuple[str, ...]) -> list[Seconds]:
    """Seconds until each of the words is shown in turn; any text for an empty one. Then the command is stopped."""
    begun = time.perf_counter()
    process, controller = start(arguments, folder)
    shown, found = b"", []
    try:
        for word in words:
            while not shown or word.encode() not in shown:
                if not select.select([controller], [], [], 300)[0]:
                    raise TimeoutError(f"{word!r} was not shown in five minutes")
                shown += os.read(controller, 65536)
            found.append((time.perf_counter() - begun, processor_seconds(process.pid)))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(controller)
    return found


def until_answered(arguments: list[str], folder: str) -> Seconds:
    """Seconds until the command ends, with its children's."""
    before, begun = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "iid_cl", *arguments], cwd=folder, check=True, capture_output=True)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, processor


def rows_of(name: str, measured: list[Seconds], target: float) -> list[dict[str, Any]]:
    wall, processor = (median(values) for values in zip(*measured, strict=True))
    return [
        ledger.row(name, [wall], "s", target=target, better="lower"),
        ledger.row(f"{name}: processor", [processor], "s"),
    ]


def main(rounds: int) -> list[dict[str, Any]]:
    """Measures and writes ``results/waiting.json``."""
    begun = time.perf_counter()
    measured: dict[str, list[Seconds]] = {}
    for _ in range(rounds):  # in turn, so that load on the machine meets all alike
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(f"{folder}/runs")
            for arguments in ANSWERS:
                measured.setdefault(" ".join(arguments), []).append(until_answered(arguments, folder))
            line, step = until_shown(RUN, folder, ("", "experience 1/5 training"))
            measured.setdefault(FIRST_LINE, []).append(line)
            measured.setdefault(FIRST_STEP, []).append(step)
    run = f"iid-cl {' '.join(RUN)}"
    rows = [
        *rows_of(f"{run}, {FIRST_LINE}", measured[FIRST_LINE], 1.0),
        *rows_of(f"{run}, {FIRST_STEP}", measured[FIRST_STEP], 6.0),
    ]
    for name, target in TARGETS.items():
        rows += rows_of(f"iid-cl {name}", measured[name], target)
    arguments = f"--rounds {rounds}"
    ledger.write("waiting", rows, provenance(resolve_device("cpu")), time.perf_counter() - begun, arguments)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times that each command runs; medians are told")
    missed = ledger.missed(main(parser.parse_args().rounds))
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
