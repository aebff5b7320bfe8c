"""One Ray cluster of this machine: jobs that lose their workers, cells that lose all of them, classes shared out.

What a worker runs is imported there by name, so heavy imports stand inside the functions that need them.
"""

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iid_cl.config.experiment import Config
from iid_cl.launch.jobs import Failure, Launch
from iid_cl.launch.launch import launch
from iid_cl.launch.on_ray import LOCAL, settings
from tests.launch.test_launch import job
from tests.runs.helpers import miniature

# Ray's own: sockets and a log file left to the garbage collector, and settings that will change
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
RAY = Launch("ray", workers=2, threads=1)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Started once, as `launch` would: jobs run on the cluster that there is."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), settings(RAY):
        warnings.simplefilter("ignore")
        ray = pytest.importorskip("ray")  # which reads the settings
        patch.setenv("RAY_worker_niceness", "0")  # at Ray's 15 the tests beside this one leave it no time
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


def test_the_cluster_of_this_machine_is_nobody_elses() -> None:
    """It listens on the loopback address, and takes a token that is in nobody's home."""
    import ray
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
    assert ray.get_runtime_context().gcs_address.startswith("127.0.0.1:")
    assert is_token_auth_enabled()
    assert os.environ["RAY_AUTH_TOKEN"] == LOCAL["RAY_AUTH_TOKEN"]


def test_settings_are_set_for_a_while_and_only_for_an_own_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LOCAL, "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # as its user wishes
    before = dict(os.environ)
    with settings(RAY):
        assert {**before, **LOCAL, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"} == dict(os.environ)
    assert dict(os.environ) == before
    with settings(Launch("ray", address="first:6379")):
        assert {**before, "RAY_USAGE_STATS_ENABLED": "0"} == dict(os.environ)
    assert dict(os.environ) == before


def test_a_job_that_loses_all_its_workers_fails_alone(tmp_path: Path) -> None:
    deaths = {"0": 0, "1": 2, "2": 3}
    answers = list(launch(job, {key: (int(key), str(tmp_path), times) for key, times in deaths.items()}, RAY))
    assert sorted(key for key, _ in answers) == ["0", "1", "2"]  # once each
    found = dict(answers)
    lost = found.pop("2")
    assert isinstance(lost, Failure)
    assert "lost 3 times" in lost.error
    assert not lost.user
    assert len(list(tmp_path.glob("2-*"))) == 3
    for key, answer in found.items():
        assert isinstance(answer, tuple)
        assert (answer[0], answer[2]) == (int(key), 1)
        assert answer[1] != os.getpid()


def run_cell_unless_distilled(config: str, folder: Path, record: bool) -> Any:
    """A distilled cell kills whatever worker it is given."""
    if Config.model_validate_json(config).memory.method == "distilled":
        os.kill(os.getpid(), signal.SIGKILL)
    from iid_cl.compare.cell import run_cell

    return run_cell(config, folder, record)


def test_a_cell_that_loses_all_its_workers_is_reported_and_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from iid_cl.compare import compare as module

    config = miniature(compare={"methods": ["distilled", "random"], "modes": ["replay"], "seeds": 1})
    monkeypatch.setattr(module, "run_cell", run_cell_unless_distilled)
    printed = io.StringIO()
    path, failed = module.compare(config, None, tmp_path / "out", Console(file=printed, width=120), RAY)
    (name,) = failed
    assert name.startswith("distilled-replay")
    cells = sorted(file.name for file in (path / "cells").iterdir() if not file.name.startswith(("random", ".")))
    assert [file for file in cells if file.endswith(".error.txt")] == [f"{name}.error.txt"]
    assert not (path / "cells" / f"{name}.json").exists()
    assert "lost 3 times" in (path / "cells" / f"{name}.error.txt").read_text()
    assert len(list((path / "cells").glob("random-replay*.json"))) == 1
    assert "lost 3 times" in printed.getvalue()


def distilled_by(options: list[str], out: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The memory that ``iid-cl distill`` writes of digits."""
    from iid_cl.cli import main
    from iid_cl.memory.files import load_memory

    settings = {"memory.ipc": "2", "distill.iterations": "3", "distill.real_batch": "8", "distill.cm.weight": "0.1"}
    sets = [f"{key}={value}" for key, value in settings.items()]
    sets += ["distill.embedder={width: 8, depth: 2}", "distill.cc.weight=0", "device=cpu"]
    arguments = ["distill", "digits", "-o", out, *options, *(part for text in sets for part in ("--set", text))]
    monkeypatch.setattr(sys, "argv", ["iid-cl", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    return load_memory(Path(out))


@pytest.mark.usefixtures("forked_workers")
def test_classes_shared_out_on_ray_are_those_of_local_processes(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, as parts and threads are the same."""
    there = distilled_by(["--launcher", "ray", "--workers", "2"], "there.safetensors", monkeypatch)
    here = distilled_by(["--launcher", "local", "--workers", "2"], "here.safetensors", monkeypatch)
    assert there.classes == list(range(10))
    assert there.nbytes == 10 * 2 * (64 + 2)
    assert (there.images == here.images).all()
    assert (there.labels == here.labels).all()
