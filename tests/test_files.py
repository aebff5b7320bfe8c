"""Files written whole and read within bounds."""

import os

import pytest
import torch
from safetensors.torch import load_file

from iid_cl.errors import UserError
from iid_cl.files import read_text, save_tensors, write_bytes


def test_write_bytes_writes_them(tmp_path):
    write_bytes(tmp_path / "x", b"\x00\xff\n")
    assert (tmp_path / "x").read_bytes() == b"\x00\xff\n"


def test_save_tensors_detaches_and_keeps_types(tmp_path):
    tensors = {"w": torch.arange(6.0).view(2, 3).t().requires_grad_(), "n": torch.tensor([1, 2])}
    save_tensors(tmp_path / "t", tensors)
    back = load_file(tmp_path / "t")
    assert torch.equal(back["w"], tensors["w"].detach())
    assert back["n"].dtype == torch.int64


def test_a_file_in_the_way_of_a_folder_is_a_users_error(tmp_path):
    (tmp_path / "taken").write_text("")
    path = tmp_path / "taken" / "m.safetensors"
    with pytest.raises(UserError) as caught:
        write_bytes(path, b"data")
    assert str(caught.value).startswith(f"{path}: cannot be written")


def test_nothing_is_written_through_a_link(tmp_path):
    other = tmp_path / "other"
    other.write_text("kept")
    for name in ("m", f".m.{os.getpid()}.tmp"):
        (tmp_path / name).symlink_to(other)
    write_bytes(tmp_path / "m", b"new")
    assert other.read_text() == "kept"
    assert (tmp_path / "m").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "other"]


def test_a_text_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "x").write_text("é=1\n", encoding="utf-8")  # é has two bytes
    assert read_text(tmp_path / "x", 5) == "é=1\n"
    with pytest.raises(ValueError, match="it has more than 4 bytes"):
        read_text(tmp_path / "x", 4)


def test_what_is_no_text_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "x")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="not a regular file"):
            read_text(path)
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="not a regular file"):
        read_text(tmp_path / "link")
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "nothing")
