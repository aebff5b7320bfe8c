"""A process whose parent is killed ends soon."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import multiprocessing, os, time
from pathlib import Path
from iid_cl.launch.orphans import end_with_parent

def work():
    end_with_parent()
    Path("worker").write_text(str(os.getpid()))
    while True:  # without a pause, as a computation
        sum(range(1000))

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    time.sleep(60)
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root})
    deadline = time.monotonic() + 60
    while not (tmp_path / "worker").exists() or not (tmp_path / "worker").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker = int((tmp_path / "worker").read_text())
    parent.kill()
    parent.wait()
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = is_running(worker)
    if left:
        os.kill(worker, signal.SIGKILL)
    assert not left


def is_running(process: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
