"""What a launch is made of: independent jobs, how they run, and what comes back from each."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
