"""Checkpoints: what goes in comes out, and what is damaged is told from what is whole."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from iid_cl.errors import UserError
from iid_cl.records import checkpoint
from iid_cl.records.checkpoint import Checkpoints

STATE: dict[str, Any] = {
    "numbers": {3: 0.1, 7: -1, 8: 2**70},
    "nothing": None,
    "flags": [True, False, {"deep": "ä\n"}],
    "tensors": [torch.arange(6, dtype=torch.int16).view(2, 3), torch.tensor(0.5, dtype=torch.bfloat16)],
    "empty": {"dict": {}, "list": [], "tensor": torch.zeros(0, 2)},
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def newest(folder: Path) -> Any:
    return Checkpoints(folder).newest(pytest.fail)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    assert newest(tmp_path / "state") is None
    Checkpoints(tmp_path / "state").write(STATE)
    assert same(newest(tmp_path / "state"), STATE)


def test_tensors_that_share_their_storage_come_out_apart(tmp_path: Path) -> None:
    whole = torch.arange(8)
    Checkpoints(tmp_path).write({"whole": whole, "part": whole[::2], "turned": whole.view(2, 4).T})
    found = newest(tmp_path)
    assert found["part"].tolist() == [0, 2, 4, 6]
    assert found["turned"].tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        Checkpoints(tmp_path).write({"number": number})  # of a new process each time
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["000004.json", "000004.safetensors", "000005.json", "000005.safetensors"]
    assert newest(tmp_path) == {"number": 4}


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".safetensors", flip),
        (".safetensors", lambda data: data[:-5]),
        (".safetensors", lambda data: b""),
        (".json", lambda data: b"{"),
        (".json", lambda data: b"[" * 100_000),
        (".json", lambda data: data + b" " * 5000),
        (".json", lambda data: b"[]"),
        (".json", lambda data: b"{}"),
        (".json", lambda data: data.replace(b"sha256", b"sha257")),
        (".json", lambda data: b"\xff"),
    ],
)
def test_a_damaged_one_gives_way_to_the_one_before(suffix: str, damage: Any, tmp_path: Path) -> None:
    for number in (1, 2):
        Checkpoints(tmp_path).write({"number": number})
    file = tmp_path / f"000002{suffix}"
    file.write_bytes(damage(file.read_bytes()))
    said: list[str] = []
    assert Checkpoints(tmp_path).newest(said.append) == {"number": 1}
    (line,) = said
    assert line.startswith(f"{tmp_path / '000002.safetensors'}: is damaged (")
    (tmp_path / "000001.safetensors").unlink()
    with pytest.raises(UserError, match="all checkpoints are damaged; remove the run directory"):
        Checkpoints(tmp_path).newest(said.append)


def test_one_without_a_manifest_was_never_finished(tmp_path: Path) -> None:
    for number in (1, 2):
        Checkpoints(tmp_path).write({"number": number})
    (tmp_path / "000002.json").unlink()
    assert newest(tmp_path) == {"number": 1}


def test_a_newer_format_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    Checkpoints(tmp_path).write({"number": 1})
    monkeypatch.setattr(checkpoint, "VERSION", 1)
    with pytest.raises(UserError, match="has format 2, but this iid-cl reads up to format 1; update iid-cl"):
        newest(tmp_path)


def test_another_program_s_file_is_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", "another")
    Checkpoints(tmp_path).write({"number": 1})
    monkeypatch.undo()
    with pytest.raises(UserError, match="all checkpoints are damaged"):
        Checkpoints(tmp_path).newest(lambda _: None)


def test_what_is_no_plain_value_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold a value of type set"):
        Checkpoints(tmp_path).write({"set": {1}})
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_ones_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoints(tmp_path).write({"number": 1})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left on device"):
        Checkpoints(tmp_path).write({"number": 2})
    monkeypatch.undo()
    assert newest(tmp_path) == {"number": 1}
    assert json.loads((tmp_path / "000001.json").read_text())["file"] == "000001.safetensors"
