"""Running independent jobs: one after the other here, in local processes, or on a Ray cluster."""

import contextlib
import multiprocessing
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Literal, TypeVar

import torch

from iid_cl.errors import UserError

T = TypeVar("T")
Jobs = Mapping[str, tuple[Any, ...]]

RETRIES = 2  # of a job whose worker was lost


@dataclass(frozen=True)
class Launch:
    """Where and how jobs run.

    Attributes:
        launcher: local processes, or a Ray cluster.
        workers: jobs at a time; None: one locally, on Ray as many as fit.
        threads: of PyTorch in each job, wherever it runs: results depend on them in the last bits. None: this
            process's own, divided among ``workers``; on Ray without ``workers`` one.
        address: of a running Ray cluster; None starts one on this machine.
        gpus: of each job on Ray, 0.25 puts four on one GPU; None: 1 where the cluster has any.
    """

    launcher: Literal["local", "ray"] = "local"
    workers: int | None = None
    threads: int | None = None
    address: str | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        for option, value in (("--address", self.address), ("--gpus-per-cell", self.gpus)):
            if self.launcher == "local" and value is not None:
                raise UserError(f"{option}: {value} means nothing to local processes; add --launcher ray.")

    @property
    def threads_each(self) -> int:
        """Threads of a job."""
        if self.threads is not None:
            return self.threads
        if self.launcher == "ray" and self.workers is None:
            return 1
        return max(1, torch.get_num_threads() // (self.workers or 1))


@dataclass(frozen=True)
class Failure:
    """What went wrong in a job: one line, the whole traceback (empty where a worker was lost), whose mistake it was."""

    error: str
    traceback: str = ""
    user: bool = False


def launch(function: Callable[..., T], jobs: Jobs, how: Launch) -> Generator[tuple[str, T | Failure], None, None]:
    """Yields each job's key once, with what ``function(*arguments)`` returned or why it failed, as they finish.

    A job whose worker is lost (killed, out of memory) is given to another one, up to two times. Leaving the
    iteration early, as an interrupt does, stops all workers.

    Args:
        function: of a module that workers can import.
        jobs: positional arguments by key, which can be pickled.
        how: where they run.

    Raises:
        UserError: Ray is not installed, not there, or too small.
    """
    if how.launcher == "ray":
        from iid_cl.launch.on_ray import launch_on_ray

        return launch_on_ray(function, jobs, how)
    if (how.workers or 1) == 1:
        return _one_by_one(function, jobs, how.threads_each)
    return _in_processes(function, jobs, how.workers or 1, how.threads_each)


def attempt(function: Callable[..., T], threads: int, arguments: tuple[Any, ...]) -> T | Failure:
    """One job with its number of threads; an error becomes a value."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return function(*arguments)
    except Exception as error:
        said, mistake = " ".join(str(error).split()), isinstance(error, UserError)
        named = said if mistake else f"{type(error).__name__}: {said}".removesuffix(": ")
        return Failure(named, traceback.format_exc(), mistake)
    finally:
        torch.set_num_threads(before)


def lost() -> Failure:
    """A job that took too many workers with it."""
    return Failure(f"its worker was lost {RETRIES + 1} times; it may have run out of memory.")


def _one_by_one(function: Callable[..., T], jobs: Jobs, threads: int) -> Generator[tuple[str, T | Failure], None, None]:
    for key, arguments in jobs.items():
        yield key, attempt(function, threads, arguments)


def _in_processes(
    function: Callable[..., T], jobs: Jobs, workers: int, threads: int
) -> Generator[tuple[str, T | Failure], None, None]:
    """A process per worker, each with one job at a time, so that a lost one is known to be that job's."""
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
