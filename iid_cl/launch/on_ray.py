"""Jobs on a Ray cluster. Only this module imports Ray."""

import logging
import os
import secrets
import socket
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from iid_cl.errors import UserError
from iid_cl.launch.jobs import RETRIES, Failure, Jobs, Launch, attempt, lost

T = TypeVar("T")

# of a cluster that this process starts, for itself alone. Ray reads them when it is imported, and its processes, too
LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # it listens on the loopback address only
    "RAY_AUTH_MODE": "token",  # other users of this machine are refused
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


def launch_on_ray(
    function: Callable[..., T], jobs: Jobs, how: Launch
) -> Generator[tuple[str, T | Failure], None, None]:
    """Runs each job as a remote task, see :func:`iid_cl.launch.launch.launch`.

    Raises:
        UserError: Ray is not installed or not reachable, or no machine of the cluster has room for a job.
    """
    threads = how.threads_each
    with settings(how), _cluster(how, threads) as ray:
        gpus = how.gpus if how.gpus is not None else float(ray.cluster_resources().get("GPU", 0) > 0)
        _check_room(ray, threads, gpus)
        remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)(attempt)
        waiting = list(jobs)
        running: dict[Any, str] = {}
        try:
            while waiting or running:
                while waiting and len(running) < (how.workers or len(jobs)):
                    key = waiting.pop(0)
                    running[remote.remote(function, threads, jobs[key])] = key
                (reference, *_), _ = ray.wait(list(running), num_returns=1)
                key = running.pop(reference)
                try:
                    outcome = ray.get(reference)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                    outcome = lost()
                except ray.exceptions.RayError as error:
                    outcome = Failure(f"{type(error).__name__}: {' '.join(str(error).split())}", str(error))
                yield key, outcome
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


@contextmanager
def settings(how: Launch) -> Iterator[None]:
    """Sets Ray's environment variables while the context lasts; those that are set already stay."""
    wanted = {"RAY_USAGE_STATS_ENABLED": "0"}  # no reports to Ray's makers
    if how.address is None:
        wanted |= LOCAL if _reads_tokens() else {}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _reads_tokens() -> bool:
    """Whether Ray would take a token: not if it was imported before with authentication off, as it reads that once."""
    if "ray" not in sys.modules:
        return True
    with suppress(ImportError):  # private to Ray
        from ray._private.authentication.authentication_utils import is_token_auth_enabled

        return bool(is_token_auth_enabled())
    return True


@contextmanager
def _cluster(how: Launch, threads: int) -> Iterator[Any]:
    """Ray, connected to the cluster that ``how`` names, or to one on this machine while the context lasts."""
    try:
        import ray
    except ImportError:
        raise UserError("--launcher ray: Ray is not installed; run pip install 'iid-cl[ray]'.") from None
    if ray.is_initialized():  # by the caller, who also shuts it down
        yield ray
        return
    settings: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    if how.workers is not None:
        settings["num_cpus"] = how.workers * threads
    if how.address is not None:
        _check_reachable(how.address)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about settings that future versions will change
            ray.init(
                **({"address": how.address} if how.address is not None else {"address": "local", **settings}),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--address {how.address}: the Ray cluster there refuses the connection ({' '.join(str(error).split())}); "
            "if it asks for a token, set RAY_AUTH_MODE=token and see docs/compare.md."
            if how.address is not None
            else f"--launcher ray: Ray does not start on this machine ({' '.join(str(error).split())})."
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuses a cluster that does not answer; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # auto, for which Ray has its own search
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({error}); start one with ray start --head."
        ) from None


def _check_room(ray: Any, threads: int, gpus: float) -> None:
    """Refuses jobs that fit no machine, as they would wait for ever."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(machine.get("CPU", 0) >= threads and machine.get("GPU", 0) >= gpus for machine in machines):
        raise UserError(
            f"--launcher ray: no machine of the cluster has the {threads} CPUs and {gpus:g} GPUs that a cell needs; "
            "lower --threads or --gpus-per-cell."
        )
