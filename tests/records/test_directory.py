"""The run directory: made only where there is nothing, written whole."""

import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from iid_cl.config.reading import load_config
from iid_cl.errors import UserError
from iid_cl.records import directory as directory_module
from iid_cl.records.directory import RunDirectory, check_directory, is_used, new_directory


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


def test_new_directories_count_up(in_tmp_path: Path) -> None:
    assert [new_directory("mine") for _ in range(3)] == [Path("runs/mine"), Path("runs/mine-2"), Path("runs/mine-3")]
    assert new_directory("other") == Path("runs/other")
    Path("runs/taken").write_text("a file")
    assert new_directory("taken") == Path("runs/taken-2")
    assert {path.name for path in Path("runs").iterdir() if path.is_dir()} == {
        "mine", "mine-2", "mine-3", "other", "taken-2",
    }  # fmt: skip


def test_threads_that_start_at_once_get_directories_of_their_own(in_tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def make(_: int) -> Path:
        start.wait()
        return new_directory("mine")

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    assert set(made) == {Path("runs/mine"), *(Path(f"runs/mine-{number}") for number in range(2, 9))}


@pytest.mark.parametrize("runs", ["file", "loop"])
def test_a_new_directory_that_cannot_be_made_is_a_users_error(in_tmp_path: Path, runs: str) -> None:
    Path("runs").write_text("") if runs == "file" else Path("runs").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"^runs/mine: cannot be made .*; choose another --out\.$"):
        new_directory("mine")


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


@pytest.mark.parametrize("place", ["log.txt", "figures/deep/pipe", "wandb", ".lock"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "link to a device", "link to a pipe inside"])
def test_what_is_neither_file_nor_folder_is_refused(in_tmp_path: Path, place: str, kind: str) -> None:
    entry = Path("run", place)  # a relative path, as addresses of sockets are short
    entry.parent.mkdir(parents=True, exist_ok=True)
    said = rf"{place}: is a pipe, a device or a socket, which no run leaves behind; remove it\.$"
    if kind == "pipe":
        os.mkfifo(entry)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(entry))
    elif kind == "link to a device":
        entry.symlink_to("/dev/zero")
        said = rf"{place}: is a link that leads out of the run directory"
    else:
        os.mkfifo("run/really")
        entry.symlink_to(Path("run/really").resolve())
        said = "is a pipe, a device or a socket"
    with pytest.raises(UserError, match=said):
        RunDirectory(Path("run"), again=True)


def test_only_the_named_entries_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").symlink_to("/etc/hostname")
    (tmp_path / "other").symlink_to("/etc")
    check_directory(tmp_path, ("report.html",))  # which is missing
    with pytest.raises(UserError, match=r"figures/a\.png: is a link that leads out"):
        check_directory(tmp_path, ("report.html", "figures"))
    check_directory(tmp_path / "missing")


@pytest.mark.parametrize(
    "left", [[], ["log.txt"], [".begun.json.41.tmp"], ["cells/"], ["log.txt", ".holder.json", "cells/"]], ids=str
)
def test_what_a_process_leaves_that_is_killed_before_it_begins_is_nothing(tmp_path: Path, left: list[str]) -> None:
    for name in (".lock", *left):
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    assert not is_used(tmp_path)
    with RunDirectory(tmp_path):
        pass
    assert not (tmp_path / ".begun.json.41.tmp").exists()


@pytest.mark.parametrize(
    ("names", "text"),
    [(["log.txt"], ""), ([".lock", "log.txt"], "a line"), ([".lock", "config.yaml"], ""), ([".lock", "cells"], "x")],
    ids=str,
)
def test_anything_else_is_in_use(tmp_path: Path, names: list[str], text: str) -> None:
    for name in names:
        (tmp_path / name).write_text(text)
    assert is_used(tmp_path)


def test_a_process_that_was_quicker_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It locked the folder, wrote and unlocked it after the folder had looked free."""
    locked = directory_module._locked

    def later(path: Path) -> object:
        (path / "run.json").write_text("{}")
        return locked(path)

    monkeypatch.setattr(directory_module, "_locked", later)
    with pytest.raises(UserError, match="holds files already"):
        RunDirectory(tmp_path / "run")
    monkeypatch.undo()
    with RunDirectory(tmp_path / "run", again=True):  # it is unlocked
        pass


def test_the_log_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    with RunDirectory(tmp_path / "run") as directory:
        directory.log.write("images in /home/somebody/data and /scratch/somebody/x.png\n")
    assert (tmp_path / "run" / "log.txt").read_text() == "images in ~/data and …/x.png\n"


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
