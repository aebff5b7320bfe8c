"""Where a figure comes from."""

import json
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from iid_cl.runs import provenance as module
from iid_cl.runs.provenance import provenance

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
    for name in ("iid-cl", "torch", "torchvision", "avalanche-lib", "numpy"):
        assert versions[name].split("+")[0] == version(name).split("+")[0]


def test_it_is_plain_json() -> None:
    found = provenance(CPU)
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == "cpu"
    assert f"{torch.get_num_threads()} threads" in found["machine"]


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
