"""Independent jobs: the settings of a launch, and the outcome of a job."""

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from iid_cl.errors import UserError, shown

T = TypeVar("T")
Jobs = Mapping[str, tuple[Any, ...]]

RETRIES = 2  # further attempts at a job whose worker was lost


@dataclass(frozen=True)
class Launch:
    """Where and how jobs run.

    Attributes:
        launcher: processes of this machine, a Ray cluster, or jobs of Slurm.
        workers: jobs at a time; None: one locally, as many as fit on Ray, all of them on Slurm.
        threads: PyTorch threads of each job, on which the last bits of results depend. None: the threads of this
            process, divided among ``workers``; one on Ray and Slurm without ``workers``.
        address: of a running Ray cluster; None starts one on this machine.
        gpus: GPUs of each job on Ray or Slurm, 0.25 for four jobs on one GPU of Ray; None: see :meth:`on`.
        slurm: options of Slurm's sbatch, as ``("partition=gpu", "time=02:00:00")``.
        spread: each local worker sees one GPU only, in turn; False: all of them see all.
        folder: on Slurm, where jobs leave what they return. All machines have to see it.
    """

    launcher: Literal["local", "ray", "slurm"] = "local"
    workers: int | None = None
    threads: int | None = None
    address: str | None = None
    gpus: float | None = None
    slurm: tuple[str, ...] = ()
    spread: bool = True
    folder: Path = Path()

    def __post_init__(self) -> None:
        options: dict[str, tuple[Any, tuple[str, ...]]] = {
            "--address": (self.address, ("ray",)),
            "--gpus-per-cell": (self.gpus, ("ray", "slurm")),
            "--slurm": (" ".join(self.slurm) or None, ("slurm",)),
        }
        for option, (value, launchers) in options.items():
            if value is not None and self.launcher not in launchers:
                where = "local processes" if self.launcher == "local" else self.launcher.capitalize()
                raise UserError(f"{option}: {value} means nothing to {where}; add --launcher {launchers[0]}.")
        for option in self.slurm:
            if not re.fullmatch(r"[a-z][a-z-]*=.+", option):
                raise UserError(f"--slurm {shown(option)}: must read KEY=VALUE as for sbatch, e.g. partition=gpu.")
        if self.launcher == "slurm" and self.gpus is not None and self.gpus != int(self.gpus):
            raise UserError(f"--gpus-per-cell: {self.gpus:g} is no whole number; Slurm gives whole GPUs to a job.")

    @property
    def remote(self) -> bool:
        """Whether jobs may run on other machines, with other devices."""
        return self.launcher != "local"

    @property
    def threads_each(self) -> int:
        """PyTorch threads of a job."""
        if self.threads is not None:
            return self.threads
        if self.launcher == "slurm" or (self.launcher == "ray" and self.workers is None):
            return 1
        return max(1, torch.get_num_threads() // (self.workers or 1))

    def on(self, device: str) -> "Launch":
        """The launch of jobs whose configuration names this device.

        A job on ``cpu`` gets no GPU. On Slurm, which cannot be asked, a job gets one GPU if its device is ``cuda``.
        Local workers that name a GPU, as ``cuda:1``, share that one.

        >>> Launch("slurm").on("cuda").gpus, Launch("slurm").on("auto").gpus, Launch().on("cuda:1").spread
        (1.0, 0.0, False)
        """
        gpus = self.gpus
        if gpus is None and self.launcher == "slurm":
            gpus = float(device.startswith("cuda"))
        if gpus is None and self.launcher == "ray" and device == "cpu":
            gpus = 0.0
        return replace(self, gpus=gpus, spread=device in ("auto", "cuda"))


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


def lost(more: str = "") -> Failure:
    """A job whose worker was lost in every attempt; ``more`` ends the sentence."""
    return Failure(f"its worker was lost {RETRIES + 1} times; it may have run out of memory{more}.")
