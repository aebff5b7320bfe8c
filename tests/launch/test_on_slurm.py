"""Jobs through submitit, whose local executor stands for Slurm: it writes the same files, and starts the same."""

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from iid_cl.errors import UserError
from iid_cl.launch import on_slurm
from iid_cl.launch.jobs import Failure, Launch
from iid_cl.launch.launch import launch
from tests.launch.test_launch import job

submitit = pytest.importorskip("submitit")
# submitit's own: log files left to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def as_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are processes of this machine, and one that returns nothing is lost at once."""
    monkeypatch.setattr(on_slurm, "CLUSTER", "local")
    monkeypatch.setattr(on_slurm, "POLL", 0.05)
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 0)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]))


@pytest.mark.usefixtures("as_local")
def test_jobs_come_back_and_one_that_is_always_lost_names_its_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_slurm, "RETRIES", 1)
    marks, out = tmp_path / "marks", tmp_path / "out"
    marks.mkdir()
    deaths = {"0": 0, "1": 2}
    jobs = {key: (int(key), str(marks), times) for key, times in deaths.items()}
    answers = list(launch(job, jobs, Launch("slurm", threads=1, folder=out)))
    assert sorted(key for key, _ in answers) == ["0", "1"]  # once each
    well, lost = dict(answers)["0"], dict(answers)["1"]
    assert isinstance(well, tuple)
    assert (well[0], well[2]) == (0, 1)
    assert well[1] != os.getpid()
    assert sorted(path.name for path in marks.iterdir()) == ["1-0", "1-1"]  # tried twice
    (folder,) = out.iterdir()
    assert isinstance(lost, Failure)
    assert lost.error.endswith(f"; the logs are in {folder}.")
    assert list(folder.glob("*.err"))


def sbatch(folder: Path, text: str) -> None:
    """Programs of Slurm's names in ``folder``."""
    for name in ("sbatch", "srun", "scancel"):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(stat.S_IRWXU)


def test_no_slurm_here_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"sbatch and srun are not found, .* use a login node"):
        list(launch(job, {"a": (1,)}, Launch("slurm", folder=tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_sbatch_is_asked_for_what_a_job_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for sbatch keeps the script that it is given, and then refuses it."""
    sbatch(tmp_path, f'cp "$1" {tmp_path}/script 2>/dev/null; echo "Invalid account" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    how = Launch(
        "slurm", threads=3, folder=tmp_path / "out", slurm=("partition=gpu", "time=02:00:00", "mem-per-cpu=4G")
    )
    with pytest.raises(UserError, match=r"^--launcher slurm: Slurm refuses the job \(.*Invalid account\)"):
        list(launch(job, {"a": (1,)}, how.on("cuda")))
    script = (tmp_path / "script").read_text().splitlines()
    for line in ("partition=gpu", "time=02:00:00", "mem-per-cpu=4G", "cpus-per-task=3", "gpus-per-node=1"):
        assert [part for part in script if part.startswith(f"#SBATCH --{line.split('=')[0]}=")] == [f"#SBATCH --{line}"]
    assert list((tmp_path / "out").iterdir()) == []
