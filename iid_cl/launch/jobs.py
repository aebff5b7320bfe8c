"""Independent jobs: the settings of a launch, and the outcome of a job."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from iid_cl.errors import UserError

T = TypeVar("T")
Jobs = Mapping[str, tuple[Any, ...]]

RETRIES = 2  # further attempts at a job whose worker was lost


@dataclass(frozen=True)
class Launch:
    """Where and how jobs run.

    Attributes:
        launcher: local processes, or a Ray cluster.
        workers: jobs at a time; None: one locally, as many as fit on Ray.
        threads: PyTorch threads of each job, on which the last bits of results depend. None: the threads of this
            process, divided among ``workers``; one on Ray without ``workers``.
        address: of a running Ray cluster; None starts one on this machine.
        gpus: GPUs of each job on Ray, 0.25 for four jobs on one GPU; None: 1 if the cluster has GPUs.
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
        """PyTorch threads of a job."""
        if self.threads is not None:
            return self.threads
        if self.launcher == "ray" and self.workers is None:
            return 1
        return max(1, torch.get_num_threads() // (self.workers or 1))


@dataclass(frozen=True)
class Failure:
    """A job's error: one line, the traceback (empty if the worker was lost), and whether it is a user's mistake."""

    error: str
    traceback: str = ""
    user: bool = False


def attempt(function: Callable[..., T], threads: int, arguments: tuple[Any, ...]) -> T | Failure:
    """Runs one job with its number of threads; returns its error as a :class:`Failure`."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return function(*arguments)
    except Exception as error:
        message, mistake = " ".join(str(error).split()), isinstance(error, UserError)
        line = message if mistake else f"{type(error).__name__}: {message}".removesuffix(": ")
        return Failure(line, traceback.format_exc(), mistake)
    finally:
        torch.set_num_threads(before)


def lost() -> Failure:
    """A job whose worker was lost in every attempt."""
    return Failure(f"its worker was lost {RETRIES + 1} times; it may have run out of memory.")
