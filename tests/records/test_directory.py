"""The run directory: made only where there is nothing, written whole."""

import json
import os
from pathlib import Path

import pytest

from iid_cl.config.reading import load_config
from iid_cl.errors import UserError
from iid_cl.records.directory import RunDirectory, free_directory


@pytest.fixture
def directory(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = RunDirectory(tmp_path / "runs" / "mine")
    yield made
    made.log.close()


def test_a_missing_folder_is_made_with_its_parents(directory: RunDirectory, tmp_path: Path) -> None:
    assert directory.path == tmp_path / "runs" / "mine"
    assert directory.path.is_dir()


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    with RunDirectory(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"log.txt", ".lock"}


@pytest.mark.parametrize("kept", ["notes.txt", ".hidden", "folder"])
def test_a_folder_that_holds_something_is_refused(tmp_path: Path, kept: str) -> None:
    (tmp_path / kept).mkdir() if kept == "folder" else (tmp_path / kept).write_text("mine")
    with pytest.raises(UserError, match=r"holds files already; choose another --out"):
        RunDirectory(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [kept]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_way_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="--out"):
        RunDirectory(tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "mine"


def test_metrics_grow_by_a_line(directory: RunDirectory) -> None:
    records = [{"experience": i, "accuracy_each": [0.5, 1.0], "name": "é\n"} for i in range(3)]
    for record in records:
        directory.add_metrics(record)
    lines = (directory.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records


def test_configuration_and_summary_read_back(directory: RunDirectory) -> None:
    config = load_config(None, ["seed=5", "stream.classes=[[1], [0]]"])
    directory.write_config(config)
    directory.write_summary("run.json", {"results": [{"matrix": [[0.25]]}]})
    assert load_config(str(directory.path / "config.yaml")) == config
    assert json.loads((directory.path / "run.json").read_text()) == {"results": [{"matrix": [[0.25]]}]}


def test_free_directories_count_up(in_tmp_path: Path) -> None:
    found = []
    for _ in range(3):
        found.append(free_directory("mine"))
        found[-1].mkdir(parents=True)
    assert found == [Path("runs/mine"), Path("runs/mine-2"), Path("runs/mine-3")]
    assert free_directory("other") == Path("runs/other")


@pytest.mark.parametrize(
    "name", ["log.txt", "metrics.jsonl", ".lock", ".holder.json", "logs/random/distillation.csv", "wandb"]
)
def test_nothing_is_appended_to_what_a_link_leads_to(tmp_path: Path, name: str) -> None:
    place, outside = tmp_path / "run", tmp_path / "outside.txt"
    outside.write_text("mine")
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).symlink_to(outside)
    with pytest.raises(UserError, match=rf"{name}: is a link that leads out of the run directory; put a copy there"):
        RunDirectory(place, again=True)
    assert outside.read_text() == "mine"
    assert [path.name for path in place.iterdir()] == [Path(name).parts[0]]


def test_links_inside_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "loop").symlink_to("loop")
    (tmp_path / "run" / "latest").symlink_to("log.txt")
    (tmp_path / "way").symlink_to("run")  # to the run directory itself
    (tmp_path / "run" / "wandb" / "logs").mkdir(parents=True)
    (tmp_path / "run" / "wandb" / "logs" / "debug-core.log").symlink_to(tmp_path / "elsewhere.log")
    with RunDirectory(tmp_path / "way", again=True) as directory:
        directory.log.write("more\n")
    assert (tmp_path / "run" / "latest").read_text() == "more\n"


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with (
        RunDirectory(tmp_path / "run"),
        pytest.raises(UserError, match=rf"process {os.getpid()} on .* is writing there; wait for it"),
    ):
        RunDirectory(tmp_path / "run", again=True)
    with RunDirectory(tmp_path / "run", again=True):
        pass


def test_a_holder_that_is_not_told_of_is_another_process(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run"):
        for said in ("", "{", "[1]", '{"process": "x", "host": 1}'):
            (tmp_path / "run" / ".holder.json").write_text(said)
            with pytest.raises(UserError, match="another process is writing there"):
                RunDirectory(tmp_path / "run", again=True)


def test_files_that_grow_go_back_to_where_they_were(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run") as directory:
        directory.add_metrics({"a": 1})
        directory.log.write("one\n")
        sizes = directory.sizes()
        assert sizes == {"metrics.jsonl": len('{"a": 1}\n'), "log.txt": len("one\n")}
        directory.add_metrics({"b": 2})
        directory.log.write("two\n")
        directory.sizes()
        directory.rewind(sizes)
        directory.log.write("three\n")
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == '{"a": 1}\n'
    assert (tmp_path / "run" / "log.txt").read_text() == "one\nthree\n"
    with RunDirectory(tmp_path / "run", again=True) as directory:
        directory.rewind({})
        assert directory.sizes() == {"metrics.jsonl": 0, "log.txt": 0}
        with pytest.raises(UserError, match=r"metrics\.jsonl: has 0 bytes, but the last checkpoint says 5"):
            directory.rewind({"metrics.jsonl": 5})
