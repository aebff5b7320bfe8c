"""Running independent jobs: one after the other here, in local processes, or on a Ray cluster."""

from collections.abc import Callable, Generator
from typing import TypeVar

from iid_cl.launch.jobs import Failure, Jobs, Launch
from iid_cl.launch.local import launch_in_processes, launch_one_by_one

T = TypeVar("T")


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
        return launch_one_by_one(function, jobs, how.threads_each)
    return launch_in_processes(function, jobs, how.workers or 1, how.threads_each)
