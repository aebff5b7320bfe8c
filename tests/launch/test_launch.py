"""Jobs in local processes: each comes back once, whatever happens to its worker."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
import torch

from iid_cl.errors import UserError
from iid_cl.launch import local
from iid_cl.launch.jobs import Failure, Launch
from iid_cl.launch.launch import launch

TWO = Launch(workers=2, threads=1)


def job(number: int, marks: str = "", deaths: int = 0) -> tuple[int, int, int]:
    """Kills its own process in the first ``deaths`` attempts."""
    if deaths:
        attempt = len(list(Path(marks).glob(f"{number}-*")))
        Path(marks, f"{number}-{attempt}").touch()
        if attempt < deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    return number, os.getpid(), torch.get_num_threads()


def fail(kind: str) -> None:
    raise UserError("memory.ipc: too\nmany.") if kind == "user" else KeyError(kind)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def test_one_worker_is_this_process_and_its_threads_come_back() -> None:
    before = torch.get_num_threads()
    found = dict(launch(job, {"a": (1,), "b": (2,)}, Launch(threads=before + 1)))
    assert found == {"a": (1, os.getpid(), before + 1), "b": (2, os.getpid(), before + 1)}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_a_value(workers: int) -> None:
    found = dict(launch(fail, {"a": ("user",), "b": ("x",)}, Launch(workers=workers)))
    mistake, fault = found["a"], found["b"]
    assert isinstance(mistake, Failure)
    assert isinstance(fault, Failure)
    assert (mistake.error, mistake.user) == ("memory.ipc: too many.", True)
    assert (fault.error, fault.user) == ("KeyError: 'x'", False)
    assert "in fail" in fault.traceback


@pytest.mark.usefixtures("forked_workers")
def test_jobs_of_lost_workers_are_given_to_others(tmp_path: Path) -> None:
    deaths = {"0": 0, "1": 1, "2": 2, "3": 3, "4": 0}
    jobs = {key: (int(key), str(tmp_path), times) for key, times in deaths.items()}
    answers = list(launch(job, jobs, TWO))
    assert sorted(key for key, _ in answers) == ["0", "1", "2", "3", "4"]  # once each
    found = dict(answers)
    lost = found.pop("3")
    assert isinstance(lost, Failure)
    assert "lost 3 times" in lost.error
    for key, answer in found.items():
        assert isinstance(answer, tuple)
        assert (answer[0], answer[2]) == (int(key), 1)
        assert answer[1] != os.getpid()
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("forked_workers")
def test_leaving_early_stops_the_workers() -> None:
    answers = launch(sleep, {"short": (0.0,), "long": (600.0,)}, TWO)
    assert next(answers) == ("short", None)
    assert len(multiprocessing.active_children()) == 2
    answers.close()
    assert not multiprocessing.active_children()


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert [Launch(workers=n).threads_each for n in (None, 1, 3, 20)] == [8, 8, 2, 1]
    assert [Launch("ray", workers=n).threads_each for n in (None, 3)] == [1, 2]
    assert Launch("ray", threads=5).threads_each == 5
    assert Launch("slurm", workers=3).threads_each == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"address": "a:1"}, r"^--address: a:1 means nothing to local processes; add --launcher ray\."),
        ({"gpus": 0.5}, "^--gpus-per-cell: 0.5 means nothing to local processes"),
        ({"slurm": ("partition=gpu",)}, r"^--slurm: partition=gpu means nothing .* add --launcher slurm\."),
        ({"launcher": "ray", "slurm": ("a=b",)}, "^--slurm: a=b means nothing to Ray; add --launcher slurm"),
        ({"launcher": "slurm", "address": "a:1"}, "^--address: a:1 means nothing to Slurm; add --launcher ray"),
        ({"launcher": "slurm", "slurm": ("partition",)}, "^--slurm 'partition': must read KEY=VALUE"),
        ({"launcher": "slurm", "slurm": ("-p=gpu",)}, "^--slurm '-p=gpu': must read KEY=VALUE"),
        ({"launcher": "slurm", "gpus": 0.5}, "^--gpus-per-cell: 0.5 is no whole number"),
    ],
    ids=str,
)
def test_options_of_another_launcher_are_refused(option: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Launch(**option)  # type: ignore[arg-type]


@pytest.mark.parametrize(("package", "launcher"), [("ray", "ray"), ("submitit", "slurm")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str, launcher: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("iid_cl.errors.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=rf"^--launcher {launcher}.* not installed; run pip install 'iid-cl\[{launcher}\]'"
    ):
        list(launch(job, {"a": (1,)}, Launch(launcher)))  # type: ignore[arg-type]


def see_gpus(marks: str, number: int) -> str | None:
    """What the worker sees. Job 0 kills its first worker; job 1 keeps its own until job 0 has another one."""
    killed, again = Path(marks, "killed"), Path(marks, "again")
    if number == 0 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 0:
        again.touch()
    while not again.exists():
        time.sleep(0.01)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.usefixtures("forked_workers")
def test_local_workers_see_one_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that are not there. The worker in a lost one's place is told the lost one's GPU."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-a")
    jobs = {str(number): (str(tmp_path), number) for number in range(2)}
    assert dict(launch(see_gpus, jobs, TWO.on("cuda"))) == {"0": "5", "1": "GPU-a"}


@pytest.mark.parametrize(
    ("device", "count", "visible", "gpus"),
    [
        ("auto", 2, None, ["0", "1", "0"]),
        ("cuda", 3, "3,4,7", ["3", "4", "7"]),
        ("cuda", 1, "3", [None, None, None]),  # all share it
        ("cuda:1", 2, "3,4", [None, None, None]),
        ("cpu", 2, None, [None, None, None]),
    ],
)
def test_gpus_are_shared_out_in_turn(
    monkeypatch: pytest.MonkeyPatch, device: str, count: int, visible: str | None, gpus: list[str | None]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    assert local._gpus(Launch(workers=3).on(device)) == gpus


def test_an_address_where_nobody_answers_is_said_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"^--address {address}: no Ray cluster answers there"):
            list(launch(job, {"a": (1,)}, Launch("ray", address=address)))
