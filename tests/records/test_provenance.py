"""Where a figure comes from."""

import copy
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from iid_cl.records import provenance as module
from iid_cl.records.provenance import differences, provenance

CPU = torch.device("cpu")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that holds the module's file."""
    file = tmp_path / "repo" / "iid_cl" / "runs" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.write_text("# code\n")
    git(tmp_path, "init", "-q", "repo")
    git(tmp_path / "repo", "add", ".")
    git(tmp_path / "repo", "commit", "-q", "-m", "first")
    monkeypatch.setattr(module, "__file__", str(file))
    return tmp_path / "repo"


def test_versions_are_those_installed() -> None:
    versions = provenance(CPU)["versions"]
    assert versions["python"] == platform.python_version()
    for name in ("iid-cl", "torch", "torchvision", "avalanche-lib", "numpy", "scikit-learn", "pillow", "safetensors"):
        assert versions[name].split("+")[0] == version(name).split("+")[0]


def test_it_is_plain_json() -> None:
    found = provenance(CPU)
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == "cpu"
    assert f"{torch.get_num_threads()} threads" in found["machine"]
    assert found["threads"] == torch.get_num_threads()
    assert found["system"]["cores"] == os.cpu_count()


def test_it_names_neither_host_nor_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/somebody/bin/iid-cl", "run"])
    monkeypatch.setattr(platform, "node", lambda: "workstation-7")
    text = json.dumps(provenance(CPU))
    assert "somebody" not in text
    assert "workstation-7" not in text
    assert socket.gethostname() not in text


def test_the_command_is_the_programs_name_and_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/iid-cl", "run", "split_digits.yaml", "--seed", "3"])
    assert provenance(CPU)["command"] == "iid-cl run split_digits.yaml --seed 3"


def test_the_command_can_be_given_to_a_shell_again(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["iid-cl", "run", "my file.yaml", "--set", "stream.classes=[[0, 1], [2]]"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert shlex.split(provenance(CPU)["command"]) == arguments


def test_the_commit_is_the_checkouts(checkout: Path) -> None:
    assert provenance(CPU)["commit"] == git(checkout, "rev-parse", "HEAD")[:12]


def test_a_plus_marks_changes_to_tracked_files_only(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("new\n")
    assert provenance(CPU)["commit"] == git(checkout, "rev-parse", "HEAD")[:12]
    (checkout / "iid_cl" / "runs" / "provenance.py").write_text("# changed\n")
    assert provenance(CPU)["commit"] == git(checkout, "rev-parse", "HEAD")[:12] + "+"


def test_there_is_no_commit_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "site-packages" / "iid_cl" / "runs" / "provenance.py"))
    (tmp_path / "site-packages" / "iid_cl" / "runs").mkdir(parents=True)
    assert provenance(CPU)["commit"] is None


def test_another_projects_commit_is_not_taken_for_this_ones(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = checkout / ".venv" / "lib" / "site-packages" / "iid_cl" / "runs" / "provenance.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("# installed into a project's own environment\n")
    monkeypatch.setattr(module, "__file__", str(installed))
    assert provenance(CPU)["commit"] is None


def test_there_is_no_commit_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance(CPU)["commit"] is None


def test_changes_have_a_digest(checkout: Path) -> None:
    file = checkout / "iid_cl" / "runs" / "provenance.py"
    assert provenance(CPU)["changes"] is None
    digests = []
    for text in ("# changed\n", "# otherwise\n", "# changed\n"):
        file.write_text(text)
        digests.append(provenance(CPU)["changes"])
    assert digests[0] == digests[2] != digests[1]


# --- what has changed

RECORD: dict[str, Any] = {
    "command": "iid-cl run",
    "commit": "aaa",
    "changes": None,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "safetensors": "0.5.0"},
    "machine": "a processor, 2 threads",
    "device": "cpu",
    "threads": 2,
    "system": {"os": "Linux 6", "processor": "a processor", "instructions": "AVX2", "cores": 4},
}


def changed(*path: str, to: Any) -> dict[str, Any]:
    record = copy.deepcopy(RECORD)
    *sections, key = path
    inner = record
    for section in sections:
        inner = inner[section]
    inner[key] = to
    return record


def test_nothing_differs_from_itself() -> None:
    assert differences(RECORD, copy.deepcopy(RECORD)) == []
    assert differences(provenance(CPU), provenance(CPU)) == []


@pytest.mark.parametrize(
    ("path", "to", "sentence"),
    [
        (["versions", "torch"], "2.14.1", "torch was 2.13.0 and is 2.14.1."),
        (["versions", "python"], "3.12.1", "python was 3.11.7 and is 3.12.1."),
        (["device"], "NVIDIA H100", "the device was cpu and is NVIDIA H100."),
        (["threads"], 8, "the number of threads was 2 and is 8."),
        (["commit"], "bbb+", "the commit was aaa and is bbb+."),
        (["commit"], None, "the commit was aaa and is none."),
        (["changes"], "0f0f", "the digest of uncommitted changes was none and is 0f0f."),
        (["system", "processor"], "another", "the processor was a processor and is another."),
        (["system", "instructions"], "AVX512", "its instruction set was AVX2 and is AVX512."),
    ],
)
def test_what_could_change_a_figure_is_named(path: list[str], to: Any, sentence: str) -> None:
    assert differences(RECORD, changed(*path, to=to)) == [sentence]


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (["command"], "iid-cl resume"),
        (["versions", "safetensors"], "0.8.0"),
        (["system", "os"], "Linux 7"),
        (["system", "cores"], 64),
    ],
)
def test_what_changes_no_figure_is_passed_over(path: list[str], to: Any) -> None:
    assert differences(RECORD, changed(*path, to=to)) == []


def test_several_are_named_in_order() -> None:
    now = {**RECORD, "versions": {"python": "3.12.1", "torch": "2.14.1"}, "threads": 1}
    assert [sentence.split(" was ")[0] for sentence in differences(RECORD, now)] == [
        "python",
        "torch",
        "the number of threads",
    ]


def test_an_older_record_tells_less() -> None:
    older = {key: RECORD[key] for key in ("command", "commit", "versions", "machine", "device")}
    assert differences(older, RECORD) == differences(RECORD, older) == []
    assert differences({}, RECORD) == []


def test_what_is_no_section_tells_nothing() -> None:
    assert differences({"versions": 1.5, "system": [1]}, {"versions": {"torch": "2"}, "system": None}) == []
