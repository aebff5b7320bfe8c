"""Jobs of a Slurm cluster. Only this module imports submitit."""

import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from iid_cl.errors import UserError, need
from iid_cl.launch.jobs import RETRIES, Failure, Jobs, Launch, attempt, lost

T = TypeVar("T")

CLUSTER = "slurm"  # tests take submitit's "local" executor, which needs no Slurm
MINUTES = 24 * 60  # of a job, unless --slurm time=... says otherwise
POLL = 2.0  # seconds between looks at the jobs' files; submitit asks Slurm itself less often


def launch_on_slurm(
    function: Callable[..., T], jobs: Jobs, how: Launch
) -> Generator[tuple[str, T | Failure], None, None]:
    """Submits each job to Slurm, see :func:`iid_cl.launch.launch.launch`.

    Jobs leave what they return in a folder inside ``how.folder``, which goes at the end. It stays, with the jobs' logs,
    if a job was lost.

    Raises:
        UserError: submitit or Slurm is missing, or Slurm refuses a job.
    """
    need("submitit", "--launcher slurm", "slurm")
    if CLUSTER == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError("--launcher slurm: sbatch and srun are not found, so no Slurm cluster takes jobs from here; "
                        "use a login node, or --launcher local.")  # fmt: skip
    how.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=how.folder))
    any_lost = False
    outcomes = _outcomes(_executor(folder, how), function, jobs, how)
    try:
        for key, outcome in outcomes:
            any_lost |= outcome is None
            yield key, lost(f"; the logs are in {folder}") if outcome is None else outcome
    finally:
        outcomes.close()
        if not any_lost:
            shutil.rmtree(folder, ignore_errors=True)


def _outcomes(
    executor: Any, function: Callable[..., T], jobs: Jobs, how: Launch
) -> Generator[tuple[str, T | Failure | None], None, None]:
    """Each job's key and outcome; None if it was lost in every attempt. Closing it cancels the others."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    waiting = list(jobs)
    attempts = dict.fromkeys(jobs, 0)
    running: dict[str, Any] = {}
    try:
        while waiting or running:
            while waiting and len(running) < (how.workers or len(jobs)):
                key = waiting.pop(0)
                running[key] = _submit(executor, attempt, function, how.threads_each, jobs[key])
            for key in [key for key, job in running.items() if job.done()]:
                job = running.pop(key)
                try:
                    outcome: T | Failure | None = job.result()
                except FailedJobError as error:  # before the job began: other versions on that machine
                    outcome = Failure(_last_error(str(error)), str(error))
                except UncompletedJobError:  # it returned nothing: killed, out of memory or out of time
                    attempts[key] += 1
                    if attempts[key] <= RETRIES:
                        waiting.insert(0, key)
                        continue
                    outcome = None
                yield key, outcome
            if running:
                time.sleep(POLL)
    finally:
        for job in running.values():
            with suppress(OSError):
                job.cancel(check=False)


def _executor(folder: Path, how: Launch) -> Any:
    """submitit's executor with the resources of a job."""
    import submitit

    executor = submitit.AutoExecutor(folder=folder, cluster=CLUSTER)
    options = dict(option.split("=", 1) for option in how.slurm)
    executor.update_parameters(
        name="iid-cl",
        timeout_min=MINUTES,
        cpus_per_task=how.threads_each,
        slurm_additional_parameters={key.replace("-", "_"): value for key, value in options.items()},
        **({"gpus_per_node": int(how.gpus)} if how.gpus else {}),
    )
    return executor


def _last_error(text: str) -> str:
    """The last line of the traceback in submitit's message, which lies between two rulers."""
    lines = text.split("-" * 22)[1].strip().splitlines() if text.count("-" * 22) > 1 else text.strip().splitlines()
    return lines[-1] if lines else "the job failed before it began"


def _submit(executor: Any, *call: Any) -> Any:
    """Raises UserError if Slurm refuses the job."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        return executor.submit(*call)
    except (FailedJobError, FailedSubmissionError) as error:
        said = str(error).strip().splitlines() or ["sbatch failed"]
        raise UserError(f"--launcher slurm: Slurm refuses the job ({said[-1]}); change its options with --slurm, or "
                        "run fewer at a time with --workers.") from None  # fmt: skip
