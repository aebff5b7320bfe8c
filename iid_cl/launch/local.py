"""Jobs on this machine: in this process, or in worker processes."""

import contextlib
import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeVar

from iid_cl.launch.jobs import RETRIES, Failure, Jobs, attempt, lost
from iid_cl.launch.orphans import end_with_parent

T = TypeVar("T")


def launch_one_by_one(
    function: Callable[..., T], jobs: Jobs, threads: int
) -> Generator[tuple[str, T | Failure], None, None]:
    """Runs the jobs in this process, in turn."""
    for key, arguments in jobs.items():
        yield key, attempt(function, threads, arguments)


def launch_in_processes(
    function: Callable[..., T], jobs: Jobs, workers: int, threads: int
) -> Generator[tuple[str, T | Failure], None, None]:
    """Runs the jobs in ``workers`` processes. Each runs one job at a time, so its job is to blame if it is lost."""
    waiting = list(jobs)
    attempts = dict.fromkeys(jobs, 0)
    busy: dict[Connection, tuple[SpawnProcess, str]] = {}
    idle: list[tuple[SpawnProcess, Connection]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                process, connection = idle.pop() if idle else _start()
                key = waiting.pop(0)
                busy[connection] = (process, key)
                with contextlib.suppress(OSError):  # the worker is lost, which shows below
                    connection.send((function, threads, jobs[key]))
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                process, key = busy.pop(ready)
                try:
                    outcome = ready.recv()
                except (EOFError, OSError):
                    _stop(process, ready)
                    attempts[key] += 1
                    if attempts[key] <= RETRIES:
                        waiting.insert(0, key)
                        continue
                    outcome = lost()
                else:
                    idle.append((process, ready))
                yield key, outcome
    finally:
        for connection, (process, _) in busy.items():
            _stop(process, connection)
        for process, connection in idle:
            _stop(process, connection)


def _start() -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")  # forked processes cannot use a GPU
    connection, other_end = context.Pipe()
    process = context.Process(target=_work, args=(other_end,))
    process.start()
    other_end.close()  # now only the worker keeps the pipe open, so its death shows
    return process, connection


def _stop(process: SpawnProcess, connection: Connection) -> None:
    connection.close()
    process.terminate()
    process.join()
    process.close()


def _work(connection: Connection) -> None:
    """Runs jobs in a worker until the pipe closes. The parent handles interrupts."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # as the command line does
    while True:
        try:
            job = connection.recv()  # imports the function's module
        except EOFError:
            return
        connection.send(attempt(*job))
