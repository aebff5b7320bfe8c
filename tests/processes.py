"""Processes forked from one that has imported everything: they behave like fresh ones, and spare them ten seconds.

That one is started when it is first needed, once in each process of the runner. It has trained nothing, so it has no
threads that a fork would lose, and no GPU. Its environment is that of the first test that needs it.
"""

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

IMPORTED = ["iid_cl.cli", "iid_cl.runs.run", "iid_cl.compare.compare", "iid_cl.runs.shards", "sklearn.datasets"]


def forked() -> ForkServerContext:
    """A context whose processes are forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers on this machine are forked; in tests/launch/test_launch.py some are started as users have them."""
    context = forked()
    monkeypatch.setattr("iid_cl.launch.local.multiprocessing.get_context", lambda _: context)


class Command:
    """The command line in another process; its runs leave no report, which takes as long as the rest of such a run.

    Args:
        arguments: what stands behind ``iid-cl``.
        printed: receives what it prints: a new file, or a terminal, which is then the process's own.
        folder: where it runs.
    """

    def __init__(self, arguments: list[str], printed: Path, folder: Path) -> None:
        self._printed = printed
        self._process = forked().Process(target=_run, args=(arguments, str(printed), str(folder)))
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def code(self, patience: float) -> int | None:
        """Waits for its end: the exit code, negative for a signal; None if patience, in seconds, ran out."""
        self._process.join(patience)
        return self._process.exitcode

    def text(self) -> str:
        """What it has printed to its file so far."""
        return self._printed.read_text(encoding="utf-8") if self._printed.exists() else ""


def _run(arguments: list[str], printed: str, folder: str) -> None:
    import iid_cl.runs.run
    from iid_cl.cli import main

    os.setsid()  # so that a terminal that is opened becomes this process's
    stream = os.open(printed, os.O_RDWR | os.O_CREAT)
    for number in range(3):
        os.dup2(stream, number)
    os.chdir(folder)
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    os.environ["TERM"] = "xterm-256color"
    iid_cl.runs.run.report = lambda directories: directories[0] / "report.html"
    sys.argv = ["iid-cl", *arguments]
    main()
