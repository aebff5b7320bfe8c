"""The transcripts are of the sessions that the script describes, and every command in them still exists."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from iid_cl.cli import app
from iid_cl.config.reading import load_config
from iid_cl.memory.files import VERSION

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "make_transcripts.py"
NAMES = ["readme", "avalanche", "paper"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/make_transcripts.py."""
    spec = importlib.util.spec_from_file_location("make_transcripts", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_transcripts"] = module  # for its dataclasses
    spec.loader.exec_module(module)
    return module


def blocks(script: ModuleType, name: str) -> list[tuple[str, str]]:
    """Each command of a page with what it printed."""
    text = (script.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(r"^```text\n\$ ([^\n]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_a_transcript_is_the_session_of_the_script(script: ModuleType, name: str) -> None:
    """Run python docs/make_transcripts.py where this fails."""
    session = script.SESSIONS[name]
    text = (script.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {session.title}\n\n{session.intro}\n")
    assert [typed for typed, _ in blocks(script, name)] == [step.typed for step in session.steps]
    root = typer.main.get_command(app)
    for typed, printed in blocks(script, name):
        program, *words = shlex.split(typed)
        if program == "iid-cl":
            root.commands[words[0]].make_context(words[0], list(words[1:]))  # type: ignore[attr-defined]
        if program == "cat":
            assert printed == (script.FOLDER / words[0]).read_text(encoding="utf-8")
        assert script.masked(printed) == printed.rstrip(), typed  # no time is left


@pytest.mark.parametrize("name", NAMES)
def test_a_transcript_names_a_commit_of_this_history(script: ModuleType, name: str) -> None:
    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=script.ROOT, capture_output=True, text=True, check=False)

    if shutil.which("git") is None or git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("no history here")
    text = (script.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    (commit,) = re.findall(r"^Made by .*, commit ([0-9a-f]{9})\. ", text, re.MULTILINE)
    assert git("merge-base", "--is-ancestor", commit, "HEAD").returncode == 0


def test_a_transcript_is_made_from_what_is_committed(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = {"machine": "AMD EPYC, 2 threads", "commit": "0123456789ab", "changes": None}
    monkeypatch.setattr("iid_cl.records.provenance.provenance", lambda _: origin)
    assert script.made_by().endswith(", commit 012345678. Times, dates and commits are masked (…).")
    origin["changes"] = "0a1b2c"
    with pytest.raises(SystemExit, match="uncommitted changes"):
        script.made_by()


def test_what_is_printed_is_what_this_version_prints(script: ModuleType) -> None:
    (shown,) = (printed for typed, printed in blocks(script, "readme") if typed.startswith("iid-cl show"))
    assert re.findall(r"^ format +(\d+)$", shown, re.MULTILINE) == [str(VERSION)]


def test_the_sessions_are_the_three_of_the_page(script: ModuleType) -> None:
    assert list(script.SESSIONS) == NAMES


def test_ctrl_c_loses_one_experience_and_changes_nothing(script: ModuleType) -> None:
    (first, again, whole) = (
        printed for typed, printed in blocks(script, "avalanche") if typed == "python experiment.py"
    )
    assert first.startswith("0 of 5 experiences are done")
    assert first.rstrip().endswith("KeyboardInterrupt")
    assert "^C\n" in first
    assert again.startswith("2 of 5 experiences are done")
    assert again.splitlines()[1:] == whole.splitlines()[-len(again.splitlines()[1:]) :]
    compile((script.FOLDER / "experiment.py").read_text(encoding="utf-8"), "experiment.py", "exec")


def test_the_papers_row_has_the_published_weights(script: ModuleType) -> None:
    config = load_config(str(script.FOLDER / "paper.yaml"))
    assert (config.distill.cc.weight, config.distill.cm.weight, config.distill.lr) == (0.05, 0.01, 1.0)
    assert config.distill.scale == "published"
    text = (script.FOLDER / "paper.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| accuracy, % \| ([\d.]+) ± [\d.]+ \| ([\d.]+) ± [\d.]+ \|$", text, re.MULTILINE)
    assert float(row[1]) > float(row[0])


def test_times_are_masked(script: ModuleType) -> None:
    printed = "took 12.3 s\n final %  memory s  train s\n    92.9       7.3     20.8\n\n    92.9       7.3     20.8\n"
    assert script.masked(printed) == (
        "took … s\n final %  memory s  train s\n    92.9         …        …\n\n    92.9       7.3     20.8"
    )
