"""What a run writes first, and how far the run in a directory is."""

import json
from pathlib import Path
from typing import Any

import pytest

from iid_cl.config.reading import dump_config
from iid_cl.errors import UserError
from iid_cl.records.directory import RunDirectory
from iid_cl.runs.begun import BEGUN, Stage, config_of, read_begun, stage_of, write_begun
from tests.runs.helpers import miniature


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run that was killed as soon as it had begun."""
    path = tmp_path / "run"
    with RunDirectory(path) as directory:
        write_begun(directory, miniature(), {"commit": "abc"}, "f" * 64, tmp_path / "data")
    return path


def change(path: Path, **values: Any) -> None:
    record = json.loads((path / BEGUN).read_text()) | values
    (path / BEGUN).write_text(json.dumps({key: value for key, value in record.items() if value != "gone"}))


def test_what_was_written_is_read(begun: Path, tmp_path: Path) -> None:
    found = read_begun(begun)
    assert (found.provenance, found.data, found.data_root) == ({"commit": "abc"}, "f" * 64, tmp_path / "data")
    assert config_of(begun, found) == miniature()
    assert json.loads((begun / BEGUN).read_text())["data_root"] == "../data"
    assert stage_of(begun) is Stage.BEGUN


def test_a_configuration_that_was_not_written_any_more_is_written(begun: Path) -> None:
    before = (begun / "config.yaml").read_bytes()
    (begun / "config.yaml").unlink()
    assert config_of(begun, read_begun(begun)) == miniature()
    assert (begun / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  ipc: 1\n", "  ipc: 2\n", " (memory.ipc: 1 then, 2 now)"),
        ("name: mini\n", "# mine\nname: mini\n", ""),
        ("name: mini\n", "name: [\n", ""),
        ("name: mini\n", "nome: mini\n", ""),
    ],
)
def test_an_edited_configuration_is_refused(begun: Path, old: str, new: str, said: str) -> None:
    file = begun / "config.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(UserError) as caught:
        config_of(begun, read_begun(begun))
    assert str(caught.value) == (
        f"{file}: was changed after the run began{said}; undo that, or begin another run with iid-cl run {file} "
        "--out OTHER."
    )


def test_a_record_of_an_older_version_is_read(begun: Path) -> None:
    change(begun, config="gone", config_sha256="gone", data_root="/data/sets")
    found = read_begun(begun)
    assert found.data_root == Path("/data/sets")
    assert config_of(begun, found) == miniature()
    (begun / "config.yaml").unlink()
    with pytest.raises(UserError, match="holds files already, and no unfinished run"):
        config_of(begun, found)


@pytest.mark.parametrize(
    "values",
    [
        {"provenance": []},
        {"data": None},
        {"data": "gone"},
        {"data_root": 5},
        {"config": 5},
        {"config_sha256": 5},
        {"config": "\ud800"},
        {"data": "\udfff"},
    ],
    ids=str,
)
def test_a_damaged_record_is_refused(begun: Path, values: dict[str, Any]) -> None:
    change(begun, **values)
    with pytest.raises(UserError, match=r"begun\.json: is damaged; remove the run directory and run it again"):
        read_begun(begun)


def test_a_record_whose_configuration_was_edited_is_damaged(begun: Path) -> None:
    change(begun, config=dump_config(miniature(seed=5)))
    with pytest.raises(UserError, match=r"begun\.json: is damaged"):
        config_of(begun, read_begun(begun))


def test_how_far_a_run_is(tmp_path: Path, begun: Path) -> None:
    assert stage_of(tmp_path / "nowhere") is Stage.NEW
    (tmp_path / "empty").mkdir()
    assert stage_of(tmp_path / "empty") is Stage.NEW
    (begun / "run.json").write_text("{}")
    (begun / "state").mkdir()
    assert stage_of(begun) is Stage.MEASURED
    (begun / "state").rmdir()
    with pytest.raises(UserError, match=r"holds a finished run; choose another --out, or remove it"):
        stage_of(begun)


def test_a_comparison_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UserError, match="holds a comparison; its `iid-cl compare` command with this --out goes on"):
        stage_of(tmp_path)


def test_a_link_out_is_refused_before_anything_is_read(begun: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text((begun / BEGUN).read_text())
    (begun / BEGUN).unlink()
    (begun / BEGUN).symlink_to(tmp_path / "other.json")
    with pytest.raises(UserError, match=r"begun\.json: is a link that leads out of the run directory"):
        stage_of(begun)
