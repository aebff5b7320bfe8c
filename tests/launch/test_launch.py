"""Jobs in local processes: each comes back once, whatever happens to its worker."""

import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest
import torch

from iid_cl.errors import UserError
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


@pytest.mark.parametrize(
    ("option", "said"), [({"address": "a:1"}, "--address: a:1"), ({"gpus": 0.5}, "--gpus-per-cell")]
)
def test_options_of_ray_mean_nothing_locally(option: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Launch(**option)  # type: ignore[arg-type]


def test_a_missing_ray_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'iid-cl\[ray\]'"):
        list(launch(job, {"a": (1,)}, Launch("ray")))


def test_an_address_where_nobody_answers_is_said_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"^--address {address}: no Ray cluster answers there"):
            list(launch(job, {"a": (1,)}, Launch("ray", address=address)))
