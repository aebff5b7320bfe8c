"""Jobs on this machine: one after the other in this process, or in processes beside it."""

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

T = TypeVar("T")


def launch_one_by_one(
    function: Callable[..., T], jobs: Jobs, threads: int
) -> Generator[tuple[str, T | Failure], None, None]:
    """Runs the jobs in this process."""
    for key, arguments in jobs.items():
        yield key, attempt(function, threads, arguments)


def launch_in_processes(
    function: Callable[..., T], jobs: Jobs, workers: int, threads: int
) -> Generator[tuple[str, T | Failure], None, None]:
    """Runs the jobs in ``workers`` processes, one at a time each: a process that is lost was lost by its job."""
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
                with contextlib.suppress(OSError):  # of a worker lost meanwhile, which is seen below
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
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there,))
    process.start()
    there.close()  # so that the worker's end alone keeps the pipe open, and its death is seen
    return process, here


def _stop(process: SpawnProcess, connection: Connection) -> None:
    connection.close()
    process.terminate()
    process.join()
    process.close()


def _work(connection: Connection) -> None:
    """A worker's life: jobs until the pipe closes. Interrupts are the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # as the command line does
    while True:
        try:
            job = connection.recv()  # imports the function's module
        except EOFError:
            return
        connection.send(attempt(*job))
