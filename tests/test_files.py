"""Files written whole and read within bounds."""

import errno
import os
import tempfile

import pytest
import torch
from safetensors.torch import load_file

from iid_cl.errors import UserError
from iid_cl.files import DiskFull, check_output, on_full_disk, read_text, save_tensors, write_bytes


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


def test_an_output_that_exists_is_replaced_only_by_force(tmp_path):
    check_output(tmp_path / "new" / "deep" / "m")
    assert not list(tmp_path.iterdir())
    (tmp_path / "m").write_text("mine")
    with pytest.raises(UserError, match=r"m: exists already; choose another name, or replace it with --force\.$"):
        check_output(tmp_path / "m")
    check_output(tmp_path / "m", force=True)
    assert (tmp_path / "m").read_text() == "mine"


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing", "link to a device"])
def test_an_output_is_no_odd_thing(tmp_path, kind):
    path = tmp_path / "m"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null" if kind == "link to a device" else "nothing")
    with pytest.raises(UserError, match="m: is no regular file; choose another place"):
        check_output(path, force=True)


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"taken/m: cannot be written \(Not a directory\)"):
        check_output(tmp_path / "taken" / "m")


class Full:
    """A file on a disk with room for some bytes."""

    def __init__(self, room):
        self.room = room

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def write(self, data):
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self):
        pass

    def fileno(self):
        return os.open(os.devnull, os.O_WRONLY)


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full(100))
    monkeypatch.setattr(os, "fsync", os.close)
    check_output(tmp_path / "m", size=100)
    with pytest.raises(DiskFull, match=r"m: cannot be written \(No space left on device\); free some space and give"):
        check_output(tmp_path / "m", size=101)


def test_a_full_disk_says_how_to_go_on():
    for error in (OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota"), DiskFull("m: cannot be written.")):
        with pytest.raises(DiskFull, match=r"^then resume\.$"), on_full_disk("then resume."):
            raise error
    for error in (OSError(errno.EACCES, "no"), UserError("other."), KeyError("x")):
        with pytest.raises(type(error)) as caught, on_full_disk("then resume."):
            raise error
        assert caught.value is error


def test_bytes_are_not_written_in_place_of_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: is a pipe, a device or a socket; choose another place"):
        write_bytes(tmp_path / "pipe", b"data")
    assert (tmp_path / "pipe").is_fifo()
