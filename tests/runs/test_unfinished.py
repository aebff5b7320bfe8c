"""`distill` and `evaluate` go on where they were killed, and end as if nothing had happened."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from iid_cl.config.experiment import Config
from iid_cl.errors import UserError
from iid_cl.files import State
from iid_cl.launch.jobs import Launch
from iid_cl.memory.files import load_memory
from iid_cl.records.checkpoint import Checkpoints
from iid_cl.runs import judge, shards
from iid_cl.runs.condense import condense_dataset
from iid_cl.runs.run import resume, run
from tests.runs.memories import condense, evaluate_all, miniature


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr("iid_cl.runs.saver.SHARE", 1e9)


def distilled(**distill: Any) -> Config:
    """Nine iterations, saved after each."""
    small = {"width": 8, "depth": 2}
    sections = {"iterations": 9, "real_batch": 8, "embedder": small, "cc": {"weight": 0.0}, "cm": {"weight": 0.0}}
    return miniature("distilled", checkpoint={"every": 0.0}, distill={**sections, **distill})


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException | None = None) -> None:
    """Kills the process right after its n-th save, or ends it with an error."""
    write, saves = Checkpoints.write, []

    def counted(checkpoints: Checkpoints, state: State) -> None:
        write(checkpoints, state)
        saves.append(state)
        if len(saves) == number:
            raise error or Killed

    monkeypatch.setattr(Checkpoints, "write", counted)


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output of a distillation that was killed after five of nine iterations."""
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            condense(tmp_path / "m.safetensors", distilled())
    return tmp_path / "m.safetensors"


def test_a_killed_distillation_goes_on(killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors.unfinished"]
    with monkeypatch.context() as patch:
        kill_at(patch, 2)
        with pytest.raises(Killed):  # again
            condense(killed, distilled())
    assert "resumed after" in condense(killed, distilled())
    condense(tmp_path / "whole.safetensors", distilled())
    assert torch.equal(load_memory(killed).images, load_memory(tmp_path / "whole.safetensors").images)
    assert killed.with_suffix(".png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    names = ["m.png", "m.safetensors", "whole.png", "whole.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_another_configuration_does_not_go_on_with_it(killed: Path) -> None:
    with pytest.raises(
        UserError, match=r"unfinished: holds the unfinished work .*\(distill\.lr: .* there, 0\.5 here\)"
    ):
        condense(killed, distilled(lr=0.5))


def test_it_is_no_run(killed: Path) -> None:
    folder = killed.with_name("m.safetensors.unfinished")
    with pytest.raises(UserError, match=r"unfinished: holds what .* has done so far; that command goes on with it"):
        resume(folder, Console(file=io.StringIO()))
    with pytest.raises(UserError, match="that command goes on with it"):
        run(distilled(), None, folder, Console(file=io.StringIO()))


def test_other_data_do_not_go_on_with_it(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iid_cl.runs.condense.fingerprint", lambda _: "f" * 64)
    with pytest.raises(UserError, match="holds the unfinished work on other data"):
        condense(killed, distilled())


def test_a_distillation_that_ends_in_a_mistake_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other settings what it has done is of no use."""
    kill_at(monkeypatch, 3, UserError("distill.lr: is too large."))
    with pytest.raises(UserError, match=r"distill\.lr: is too large"):
        condense(tmp_path / "m.safetensors", distilled())
    assert list(tmp_path.iterdir()) == []


def test_a_distillation_killed_before_its_first_save_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr("iid_cl.runs.condense.whole_memory", kill)
    with pytest.raises(Killed):
        condense(tmp_path / "m.safetensors", distilled())
    assert list(tmp_path.iterdir()) == []


def test_parts_that_workers_have_finished_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, how = tmp_path / "m.safetensors", Launch(workers=2, threads=1)
    jobs: list[list[str]] = []

    def one_is_lost(function: Any, todo: dict[str, Any], how: Launch) -> Any:
        jobs.append(sorted(todo))
        for number, (key, job) in enumerate(todo.items()):
            if number and len(jobs) == 1:
                raise Killed
            yield key, function(*job)  # here, as workers take seconds to start

    def run(path: Path) -> None:
        condense_dataset(distilled(), None, path, Console(file=io.StringIO()), how)

    monkeypatch.setattr(shards, "launch", one_is_lost)
    with pytest.raises(Killed):
        run(out)
    run(out)
    run(tmp_path / "whole.safetensors")
    assert jobs[0] == jobs[2] == ["0", "1"]
    assert jobs[1] == ["1"]  # the one that was lost
    assert torch.equal(load_memory(out).images, load_memory(tmp_path / "whole.safetensors").images)
    assert not out.with_name("m.safetensors.unfinished").exists()


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """A memory to judge."""
    condense(tmp_path / "m.safetensors", miniature())
    return tmp_path / "m.safetensors"


def judged_until(monkeypatch: pytest.MonkeyPatch, memory: Path, number: int, config: Config) -> None:
    """Kills an evaluation right after its n-th network."""
    keep, kept = judge._Judged.keep, []

    def counted(judged: Any, *values: Any) -> bool:
        before = keep(judged, *values)
        kept.append(values)
        if len(kept) == number:
            raise Killed
        return before

    with monkeypatch.context() as patch:
        patch.setattr(judge._Judged, "keep", counted)
        with pytest.raises(Killed):
            evaluate_all(memory, config)


def test_a_killed_evaluation_goes_on(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"width": 8, "depth": 2}
    config = miniature(evaluate={"network": small, "transfer": [{"name": "mlp"}], "epochs": 2, "networks": 2})
    expected, _ = evaluate_all(memory, config)
    judged_until(monkeypatch, memory, 3, config)
    folder = memory.with_name("m.safetensors.judged")
    assert len(list(folder.iterdir())) == 3
    trained: list[Any] = []
    train = judge.judge.__globals__["_Exam"].train_and_test

    def counted(exam: Any, *place: Any) -> float:
        trained.append(place)
        return float(train(exam, *place))

    monkeypatch.setattr(judge.judge.__globals__["_Exam"], "train_and_test", counted)
    judgements, printed = evaluate_all(memory, config)
    assert judgements == expected
    assert [number for _, number in trained] == [1]  # the second of the further architecture
    assert printed.count("(judged before)") == 3
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["memory", "seed", "text", "number"])
def test_what_was_judged_otherwise_is_judged_again(memory: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    config = miniature()
    judged_until(monkeypatch, memory, 1, config)
    (file,) = memory.with_name("m.safetensors.judged").iterdir()
    if damage == "memory":
        memory.unlink()
        memory.with_suffix(".png").unlink()
        condense(memory, miniature(seed=1))
    elif damage == "seed":
        config = miniature(seed=1)
    else:
        file.write_text("[" if damage == "text" else json.dumps({**json.loads(file.read_text()), "accuracy": 7.5}))
    _, printed = evaluate_all(memory, config)
    assert "judged before" not in printed


def test_a_folder_that_cannot_be_written_does_not_stop_an_evaluation(memory: Path) -> None:
    memory.with_name("m.safetensors.judged").write_text("mine")
    (judgement,), _ = evaluate_all(memory, miniature())
    assert len(judgement.accuracies) == 2
    assert memory.with_name("m.safetensors.judged").read_text() == "mine"
