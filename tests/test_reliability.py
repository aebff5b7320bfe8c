"""The real command line under signals, a second writer, a damaged checkpoint and a full disk.

A run that is killed or stopped, or whose disk fills, has a process of its own. Other commands are called in this one.
"""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from iid_cl.cli import main
from tests.processes import Command

SMALL = {
    "stream.experiences": "2",
    "stream.train_limit": "60",
    "stream.test_limit": "10",
    "model.width": "8",
    "distill.embedder.width": "8",
    "distill.iterations": "60",
    "distill.real_batch": "8",
    "train.epochs": "3",
    "baselines": "[]",
    "checkpoint.every": "0.05",
}
SETTINGS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
PATIENCE = 600.0  # seconds; far more than anything here takes


class Done(NamedTuple):
    """What a command left when it ended."""

    returncode: int
    stdout: str
    stderr: str


def start(out: Path) -> Command:
    """A run of some seconds."""
    return Command(["run", "split_digits.yaml", "--out", str(out), *SETTINGS], out.with_suffix(".txt"), out.parent)


def finish(*arguments: str) -> Done:
    """Runs a command to its end in this process."""
    printed, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["iid-cl", *arguments])
        patch.setattr("iid_cl.runs.run.report", lambda directories: directories[0] / "report.html")
        patch.setattr(sys, "stdout", printed)
        patch.setattr(sys, "stderr", errors)
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), printed.getvalue(), errors.getvalue())


def wait_for(condition: Callable[[], bool], process: Command) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.running, process.text()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def checkpoints(out: Path) -> list[Path]:
    return sorted((out / "state").glob("*.json"))


def stored(out: Path) -> dict[str, Any]:
    return {name: (out / name).read_bytes() for name in ("metrics.jsonl", "memory.safetensors")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted run stores."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = finish("run", "split_digits.yaml", "--out", str(out), *SETTINGS)
    assert done.returncode == 0, done.stderr
    return stored(out)


def test_sigterm_saves_and_stops_and_meanwhile_nobody_else_may_write(tmp_path: Path, whole: dict[str, Any]) -> None:
    out = tmp_path / "run"
    process = start(out)
    wait_for(lambda: bool(checkpoints(out)), process)
    process.send(signal.SIGSTOP)
    other = finish("run", "split_digits.yaml", "--out", str(out), *SETTINGS)
    assert (other.returncode, other.stdout) == (2, "")
    assert f"process {process.pid} on " in other.stderr
    assert "is writing there; wait for it, or choose another --out" in other.stderr
    process.send(signal.SIGKILL)
    assert process.code(PATIENCE) == -signal.SIGKILL

    again = start(out)
    wait_for(lambda: "resumed (" in again.text(), again)
    again.send(signal.SIGTERM)
    assert again.code(PATIENCE) == 143, again.text()  # how long it takes: benchmarks/saving.py
    assert f"stopped; resume with: iid-cl resume {out}" in again.text()
    done = finish("resume", str(out))
    assert done.returncode == 0, done.stderr
    assert stored(out) == whole


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, whole: dict[str, Any]) -> None:
    out = tmp_path / "run"
    process = start(out)
    wait_for(lambda: len(checkpoints(out)) == 2, process)
    process.send(signal.SIGKILL)
    assert process.code(PATIENCE) == -signal.SIGKILL
    newest = checkpoints(out)[-1].with_suffix(".safetensors")
    data = newest.read_bytes()
    newest.write_bytes(data[: len(data) // 2])
    done = finish("resume", str(out))
    assert done.returncode == 0, done.stderr
    assert "is damaged" in done.stdout
    assert "going back to the checkpoint before it" in done.stdout
    assert stored(out) == whole


FULL = """
mount -t tmpfs -o size={size}k tmpfs {disk} || exit 77
{run}
code=$?
cp -a {disk}/. {copy}
exit $code
"""


def test_a_full_disk_ends_with_one_sentence_and_the_run_goes_on_elsewhere(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    copy.mkdir()
    arguments = ["run", "split_digits.yaml", "--out", str(disk / "run"), *SETTINGS]
    run = shlex.join([sys.executable, "-c", "from iid_cl.cli import main; main()", *arguments])
    script = FULL.format(size=120, disk=disk, copy=copy, run=run)
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    if os.name != "posix" or subprocess.run([*words[:4], "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert line.startswith("iid-cl: ")
    assert "No space left on device" in line or "the disk is full" in line
    out = copy / "run"
    assert not list(out.rglob("*.tmp"))
    resumed = finish("resume", str(out))
    assert resumed.returncode == 0, resumed.stderr
    assert stored(out) == whole
    assert json.loads((out / "run.json").read_text())["results"]
