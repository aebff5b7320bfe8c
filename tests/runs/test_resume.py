"""A run that is interrupted anywhere, once or more often, stores what an uninterrupted one does."""

import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from iid_cl.config.experiment import Config
from iid_cl.errors import UserError
from iid_cl.files import State, write_bytes
from iid_cl.records.checkpoint import Checkpoints
from iid_cl.report.page import report
from iid_cl.runs.run import resume, run
from tests.runs.helpers import image_folder, miniature

STORED = (
    "metrics.jsonl",
    "config.yaml",
    "memory.safetensors",
    "memory.png",
    "memory-herding.safetensors",
    "sources.json",
    "losses.jsonl",
    "history.safetensors",
    "model.safetensors",
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is executed, except what closes files."""


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def always(**changes: Any) -> Config:
    """Saved at every opportunity, among them the middle of an epoch, which has two mini-batches."""
    few = {"train_limit": 20, "test_limit": 10, **changes.pop("stream", {})}  # images of a class
    train = {"batch_size": 32, **changes.pop("train", {})}
    return miniature(checkpoint={"every": 0.0}, stream=few, train=train, **changes)


class Killer:
    """Kills a run at its n-th save, right after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.saves, self.kill_at = 0, 0
        write = Checkpoints.write

        def counted(checkpoints: Checkpoints, state: State) -> None:
            write(checkpoints, state)
            self.saves += 1
            if self.saves == self.kill_at:
                raise Killed

        monkeypatch.setattr(Checkpoints, "write", counted)
        monkeypatch.setattr("iid_cl.runs.saver.SHARE", 1e9)

    def __call__(self, config: Config, out: Path, kill_at: int = 0) -> bool:
        """Whether the run was killed."""
        self.saves, self.kill_at = 0, kill_at
        try:
            run(config, None, out, Console(file=io.StringIO()))
        except Killed:
            return True
        return False


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    return Killer(monkeypatch)


def timeless(path: Path) -> dict[str, Any]:
    """What a run stored, but for times and for what it took to get there."""
    summary = json.loads((path / "run.json").read_text())
    results = [{k: v for k, v in result.items() if not k.endswith("seconds")} for result in summary["results"]]
    files = {name: (path / name).read_bytes() for name in STORED if (path / name).exists()}
    return {"results": results, "checks": summary["checks"], **files}


CASES: dict[str, dict[str, Any]] = {
    "replay with a baseline, classes that come back": {
        "baselines": ["herding"],
        "train": {"epochs": 2, "lr_drop": True},
        "stream": {"classes": [[3, 1], [1, 0]]},
    },
    "networks on one memory": {"train": {"mode": "memory_only", "networks": 2, "memory_updates": 5}},
    "epochs on one memory": {"train": {"mode": "memory_only"}, "memory": {"method": "herding"}},
    "idm, soft labels": {
        "distill": {
            "objective": "idm",
            "cc": {
                "weight": 0.1,
                "network": {"width": 8, "depth": 2},
                "trainings": 1,
                "epochs": 1,
                "snapshots": 1,
            },
            "queue": {"steps": 1, "batch_size": 8},
        },
        "memory": {"soft_labels": True},
        "model": {"norm": "batch"},
    },
    "auto, domains": {
        "memory": {"method": "auto"},
        "stream": {"classes": None, "first_classes": 2, "domains": ["digits", {"dataset": "digits", "invert": True}]},
    },
    "shrinking": {"memory": {"ipc": None, "mem_size": 6}},
    "reservoir": {"memory": {"method": "reservoir", "ipc": 3}},
    "jpeg": {"memory": {"method": "random", "ipc": 30, "jpeg": 50}},
    "distilled as jpeg": {"memory": {"ipc": 30, "jpeg": 50}},
    "cumulative": {"memory": {"method": "cumulative"}},
    "joint": {"memory": {"method": "joint"}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_killed_at_any_save_ends_as_if_it_had_not_been(case: str, killer: Killer, tmp_path: Path) -> None:
    config = always(**CASES[case])
    assert not killer(config, tmp_path / "whole")
    whole, saves = timeless(tmp_path / "whole"), killer.saves
    assert saves >= 5
    between = (1 + list(CASES).index(case) % 3) / 4  # another place in the next case
    for kill_at in sorted({1, 1 + round(between * (saves - 1)), saves}):
        path = tmp_path / str(kill_at)
        assert killer(config, path, kill_at)
        while killer(config, path, kill_at=max(2, saves // 3)):  # and again
            pass
        assert timeless(path) == whole


def test_a_run_killed_before_its_first_save_begins_again(killer: Killer, tmp_path: Path) -> None:
    config = miniature(checkpoint={"every": 1000.0})
    assert not killer(config, tmp_path / "whole")
    path = tmp_path / "killed"
    assert killer(config, path, kill_at=1)
    for file in (path / "state").iterdir():
        file.unlink()
    with (path / "metrics.jsonl").open("a") as file:
        file.write("half a line")
    assert not killer(config, path)
    assert timeless(path) == timeless(tmp_path / "whole")


def test_checkpoints_go_when_the_run_is_done_and_a_finished_run_is_left_alone(killer: Killer, tmp_path: Path) -> None:
    config = always()
    assert not killer(config, tmp_path / "run")
    assert not (tmp_path / "run" / "state").exists()
    before = {file: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(UserError, match=r"holds a finished run; choose another --out"):
        run(config, None, tmp_path / "run", Console())
    printed = io.StringIO()
    assert resume(tmp_path / "run", Console(file=printed, width=200)) == tmp_path / "run"
    said = f"{tmp_path / 'run'}: is finished; iid-cl list {tmp_path / 'run'} shows its results.\n"
    assert printed.getvalue() == said
    assert {file: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_another_configuration_is_refused_by_its_first_difference(killer: Killer, tmp_path: Path) -> None:
    assert killer(always(), tmp_path / "run", 3)
    with pytest.raises(UserError, match=r"another configuration \(train\.lr: 0\.01 there, 0\.5 here\).* iid-cl resume"):
        run(always(train={"lr": 0.5}), None, tmp_path / "run", Console())
    printed = io.StringIO()
    assert resume(tmp_path / "run", Console(file=printed)) == tmp_path / "run"
    assert "resumed (0 of 1 methods done, experience 1)" in printed.getvalue()


def test_other_data_are_refused(killer: Killer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert killer(always(), tmp_path / "run", 3)
    monkeypatch.setattr("iid_cl.runs.run.fingerprint", lambda _: "another")
    with pytest.raises(UserError, match=r"the files of 'digits' have changed since the run in .* was started"):
        resume(tmp_path / "run", Console())


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(killer: Killer, tmp_path: Path) -> None:
    config = always()
    assert not killer(config, tmp_path / "whole")
    path = tmp_path / "run"
    assert killer(config, path, 9)
    newest = max((path / "state").glob("*.safetensors"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    printed = io.StringIO()
    resume(path, Console(file=printed, width=500))
    assert f"{newest}: is damaged (its contents don't match their checksum)" in printed.getvalue()
    assert timeless(path) == timeless(tmp_path / "whole")


def test_a_directory_without_a_run_has_nothing_to_resume(killer: Killer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run directory"):
        resume(tmp_path / "none", Console())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no run has begun there; give its `iid-cl run` command again"):
        resume(tmp_path / "empty", Console())
    assert killer(always(), tmp_path / "run", 3)
    (tmp_path / "run" / "begun.json").unlink()
    with pytest.raises(UserError, match="holds files already, and no unfinished run"):
        resume(tmp_path / "run", Console())


QUICK = {"memory": {"method": "random"}, "train": {"epochs": 1}}
BEFORE_ITS_END = {
    "as it locks its directory": "iid_cl.runs.run.write_begun",
    "before its first file": "iid_cl.records.directory.RunDirectory.write_summary",
    "before its second file": "iid_cl.records.directory.RunDirectory.write_config",
    "before its results": "iid_cl.runs.run._Run._write_results",
    "before its table": "iid_cl.runs.run.results_table",
    "before its report": "iid_cl.runs.run.report",
    "before its figures": "iid_cl.report.page.save_figures",
    "before it removes its checkpoints": "shutil.rmtree",
}


@pytest.mark.parametrize(("number", "moment"), list(enumerate(BEFORE_ITS_END)), ids=BEFORE_ITS_END)
def test_a_run_killed_in_its_first_or_last_moment_goes_on(
    number: int, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `resume`, where something has begun, and by the same command in every second case."""
    config, path = always(**QUICK), tmp_path / "run"
    monkeypatch.setattr("iid_cl.runs.run.report", report)  # a real one, but for the time that figures take
    monkeypatch.setattr("iid_cl.report.page.save_figures", lambda folder, *_: write_bytes(folder / "a.png", b"drawn"))

    with monkeypatch.context() as patch:
        patch.setattr(BEFORE_ITS_END[moment], killed)
        with pytest.raises(Killed):
            run(config, None, path, Console(quiet=True))
    if number % 2 and (path / "begun.json").exists():
        resume(path, Console(quiet=True))
    else:
        run(config, None, path, Console(quiet=True))
    assert json.loads((path / "run.json").read_text())["results"][0]["method"] == "random"
    assert (path / "report.html").read_text().endswith("</html>")
    assert (path / "figures" / "a.png").read_bytes() == b"drawn"
    assert not (path / "state").exists()
    before = (path / "run.json").stat().st_mtime_ns
    resume(path, Console(quiet=True))
    assert (path / "run.json").stat().st_mtime_ns == before


def test_a_run_whose_disk_is_full_at_its_end_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("iid_cl.runs.run.report", full)
        with pytest.raises(UserError, match=r"run: the disk is full; free some space, then iid-cl resume .*run\.$"):
            run(always(**QUICK), None, path, Console(quiet=True))
    resume(path, Console(quiet=True))
    assert not (path / "state").exists()


def test_a_changed_memory_is_noticed(killer: Killer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("iid_cl.runs.run.report", killed)
        with pytest.raises(Killed):
            run(always(**QUICK), None, path, Console(quiet=True))
    with (path / "memory.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"memory\.safetensors: is not the file that was written there"):
        resume(path, Console(quiet=True))
    assert killer(always(**QUICK, baselines=["herding"]), tmp_path / "two", 8)  # in the second method
    assert (tmp_path / "two" / "memory.safetensors").is_file()
    with (tmp_path / "two" / "memory.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"memory\.safetensors: is not the file that was written there"):
        resume(tmp_path / "two", Console(quiet=True))


def test_data_that_have_moved_are_named_to_resume(killer: Killer, in_tmp_path: Path) -> None:
    made = image_folder(Path("images"))
    config = always(**{**QUICK, "stream": {"dataset": "image_folder", "classes": None, "experiences": 1}})
    Path("runs").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "write", killed)
        with pytest.raises(Killed):
            run(config, made, Path("runs/a"), Console(quiet=True))
    assert json.loads(Path("runs/a/begun.json").read_text())["data_root"] == "../../images"
    Path("images").rename("moved")
    with pytest.raises(UserError, match="images"):
        resume(Path("runs/a"), Console(quiet=True))
    resume(Path("runs/a"), Console(quiet=True), Path("moved"))
    assert Path("runs/a/run.json").is_file()


def killed(*_: object, **__: object) -> None:
    raise Killed


def test_a_loss_that_is_no_number_stops_the_run_at_the_last_good_state(killer: Killer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.lr: 1e\+20 makes the loss .*\(experience 1, epoch 1, mini-batch \d\)"):
        run(always(train={"lr": 1e20, "augment": False}), None, tmp_path / "run", Console(file=io.StringIO()))
    state = Checkpoints(tmp_path / "run" / "state").newest(pytest.fail)
    assert state is None or all(
        bool(tensor.isfinite().all()) for tensor in state["method"]["strategies"][0]["model"].values()
    )
    assert not (tmp_path / "run" / "run.json").exists()


PROGRAM = """
from pathlib import Path
Path({mark!r}).touch()
def load():
    from sklearn.datasets import load_digits
    digits = load_digits()
    images = digits.images[:200, None] / 16
    return (images, digits.target[:200]), (images, digits.target[:200])
"""


def test_a_program_of_a_foreign_run_is_not_run_unasked(
    killer: Killer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "has-run"
    (tmp_path / "foreign_made_up.py").write_text(PROGRAM.format(mark=str(mark)))
    config = always(stream={"dataset": "python:foreign_made_up:load"}, train={"mode": "memory_only"})
    assert killer(config, tmp_path / "run", 2)
    mark.unlink()
    monkeypatch.delitem(sys.modules, "foreign_made_up")
    killer.kill_at = 0
    with pytest.raises(
        UserError, match=r"names the program 'python:foreign_made_up:load' .* resume with --run-program"
    ):
        resume(tmp_path / "run", Console(file=io.StringIO()))
    assert not mark.exists()
    resume(tmp_path / "run", Console(file=io.StringIO()), run_program=True)
    assert mark.exists()
    assert (tmp_path / "run" / "run.json").is_file()
