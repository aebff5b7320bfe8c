"""Jobs on this machine: in this process, or in worker processes."""

import contextlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import NamedTuple, TypeVar

import torch

from iid_cl.launch.jobs import RETRIES, Failure, Jobs, Launch, attempt, lost
from iid_cl.launch.orphans import end_with_parent

T = TypeVar("T")


def launch_one_by_one(
    function: Callable[..., T], jobs: Jobs, threads: int
) -> Generator[tuple[str, T | Failure], None, None]:
    """Runs the jobs in this process, in turn."""
    for key, arguments in jobs.items():
        yield key, attempt(function, threads, arguments)


class _Worker(NamedTuple):
    process: SpawnProcess
    connection: Connection
    gpu: str | None  # the only one that it sees; None: all


def launch_in_processes(
    function: Callable[..., T], jobs: Jobs, how: Launch
) -> Generator[tuple[str, T | Failure], None, None]:
    """Runs the jobs in ``how.workers`` processes. Each runs one job at a time, so its job is to blame if it is lost.

    Where there are several GPUs, workers get one each, in turn. The worker that takes a lost one's place gets its GPU.
    """
    waiting = list(jobs)
    attempts = dict.fromkeys(jobs, 0)
    busy: dict[Connection, tuple[_Worker, str]] = {}
    idle: list[_Worker] = []
    free = _gpus(how)
    try:
        while waiting or busy:
            while waiting and (idle or free):
                worker = idle.pop() if idle else _start(free.pop(0))
                key = waiting.pop(0)
                busy[worker.connection] = (worker, key)
                with contextlib.suppress(OSError):  # the worker is lost, which shows below
                    worker.connection.send((function, how.threads_each, jobs[key]))
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                worker, key = busy.pop(ready)
                try:
                    outcome = ready.recv()
                except (EOFError, OSError):
                    _stop(worker)
                    free.append(worker.gpu)
                    attempts[key] += 1
                    if attempts[key] <= RETRIES:
                        waiting.insert(0, key)
                        continue
                    outcome = lost()
                else:
                    idle.append(worker)
                yield key, outcome
    finally:
        for worker in (*(worker for worker, _ in busy.values()), *idle):
            _stop(worker)


def _gpus(how: Launch) -> list[str | None]:
    """The GPU of each worker, as ``CUDA_VISIBLE_DEVICES`` names it; None where there is nothing to share out."""
    count, workers = torch.cuda.device_count() if how.spread else 0, how.workers or 1
    if count < 2:
        return [None] * workers
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = named.split(",")[:count] if named else [str(number) for number in range(count)]
    return [gpus[number % len(gpus)] for number in range(workers)]


def _start(gpu: str | None) -> _Worker:
    context = multiprocessing.get_context("spawn")  # forked processes cannot use a GPU
    connection, other_end = context.Pipe()
    process = context.Process(target=_work, args=(other_end, gpu))
    process.start()
    other_end.close()  # now only the worker keeps the pipe open, so its death shows
    return _Worker(process, connection, gpu)


def _stop(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.terminate()
    worker.process.join()
    worker.process.close()


def _work(connection: Connection, gpu: str | None) -> None:
    """Runs jobs in a worker until the pipe closes. The parent handles interrupts."""
    end_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when the first job touches a GPU
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # as the command line does
    while True:
        try:
            job = connection.recv()  # imports the function's module
        except EOFError:
            return
        connection.send(attempt(*job))
