"""Runs independent jobs: in this process, in local processes, on a Ray cluster, or as jobs of Slurm."""

from collections.abc import Callable, Generator
from typing import TypeVar

from iid_cl.launch.jobs import Failure, Jobs, Launch
from iid_cl.launch.local import launch_in_processes, launch_one_by_one

T = TypeVar("T")


def launch(function: Callable[..., T], jobs: Jobs, how: Launch) -> Generator[tuple[str, T | Failure], None, None]:
    """Yields each job's key and the return value of ``function(*arguments)`` or its error, in the order they finish.

    If a worker is lost (killed, out of memory), another one repeats its job, up to two times. Leaving the iteration
    early, e.g. by an interrupt, stops all workers.

    Args:
        function: importable by workers.
        jobs: positional arguments by key; they can be pickled.
        how: where the jobs run.

    Raises:
        UserError: Ray or Slurm is missing, not reachable, or has no room for a job.
    """
    if how.launcher == "ray":
        from iid_cl.launch.on_ray import launch_on_ray

        return launch_on_ray(function, jobs, how)
    if how.launcher == "slurm":
        from iid_cl.launch.on_slurm import launch_on_slurm

        return launch_on_slurm(function, jobs, how)
    if (how.workers or 1) == 1:
        return launch_one_by_one(function, jobs, how.threads_each)
    return launch_in_processes(function, jobs, how)
