"""No names of users and machines in what a run writes."""

import getpass
import os
import platform
import shlex
import sys
from pathlib import Path

import pytest
import torch

from iid_cl.records import nameless
from iid_cl.records.nameless import argument_without_names, machine_id, path_of, stored_path, without_names
from iid_cl.records.provenance import provenance


@pytest.fixture(autouse=True)
def alice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Her home, in which she works in ``work``, on the machine ``box``."""
    home = tmp_path / "home" / "alice"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")
    monkeypatch.setattr(platform, "node", lambda: "box.example.org")
    monkeypatch.chdir(home / "work")
    return home


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("{home}/work/runs/a", "runs/a"),
        ("{home}/data/x.png is bad", "~/data/x.png is bad"),
        ("(/mnt/alice/deep/x.png)", "(…/x.png)"),
        ("'/mnt/box/deep/', line 3", "'…/', line 3"),
        ("/home/alice", "…/$USER"),
        ("../alice/data and ../../box.example.org/x", "../$USER/data and ../../$HOST/x"),
        ("alice/data", "$USER/data"),
        ("-o/srv/deep/x", "-o…/x"),
        ("--out=/srv/deep/x", "--out=…/x"),
        ("https://host.org/some/page and 3/4/5 and 1.5 it/s", "https://host.org/some/page and 3/4/5 and 1.5 it/s"),
        ("alice, aliced/x, /x, ./y/z, ~/q/w", "alice, aliced/x, /x, ./y/z, ~/q/w"),
        ("C:\\Users\\alice\\x.png", "…/x.png"),
    ],
)
def test_paths_are_shortened_in_text(alice: Path, text: str, short: str) -> None:
    assert without_names(text.format(home=alice)) == short


@pytest.mark.parametrize(
    ("argument", "short"),
    [
        ("{home}/my data/x", "~/my data/x"),
        ("{home}/work/my runs/x", "my runs/x"),
        ("/mnt/Alice Smith/my data", "…/my data"),
        ("--data-root=/mnt/Alice Smith/data", "--data-root=…/data"),
        ("split_digits.yaml", "split_digits.yaml"),
        ("model.width=8", "model.width=8"),
    ],
)
def test_paths_with_spaces_are_shortened_in_arguments(alice: Path, argument: str, short: str) -> None:
    assert argument_without_names(argument.format(home=alice)) == short


def test_the_command_names_nobody(alice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "/mnt/alice/my.yaml", "--data-root", str(alice / "data"), "--out", str(alice / "work" / "r")]
    monkeypatch.setattr(sys, "argv", ["/home/alice/bin/iid-cl", *words])
    command = provenance(torch.device("cpu"))["command"]
    assert shlex.split(command) == ["iid-cl", "run", "…/my.yaml", "--data-root", "~/data", "--out", "r"]


@pytest.mark.parametrize(
    ("where", "stored"),
    [
        ("home/alice/data", "../../data"),
        ("home/alice/work/run/own", "own"),
        ("home/alice/work/run", "."),
        ("scratch/alice/box/data", "../../../../scratch/$USER/$HOST/data"),
    ],
)
def test_a_stored_path_names_nobody_and_is_found_again(
    tmp_path: Path, alice: Path, monkeypatch: pytest.MonkeyPatch, where: str, stored: str
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "box")
    run = alice / "work" / "run"
    run.mkdir()
    assert stored_path(tmp_path / where, run) == stored
    assert path_of(stored, run) == (tmp_path / where).resolve()
    os.chdir("/")
    assert path_of(stored, run) == (tmp_path / where).resolve()


def test_an_absolute_path_of_an_older_version_is_read(tmp_path: Path) -> None:
    assert path_of("/data/sets", tmp_path) == Path("/data/sets")


def test_machines_are_told_apart_without_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = []
    for text in ("one", "two"):
        (tmp_path / text).write_text(text)
        monkeypatch.setattr(nameless, "BOOT", tmp_path / text)
        numbers.append(machine_id())
    monkeypatch.setattr(nameless, "BOOT", tmp_path / "missing")
    numbers.append(machine_id())
    assert len(set(numbers)) == 3
    assert all(len(number) == 8 and int(number, 16) >= 0 for number in numbers)
