"""Decoded images in a file on disk, built once and mapped into memory by every process that needs them.

A file is built by one process at a time, in the order of the pictures, and a build that was stopped goes on where it
was. A file belongs to the state of its pictures: when they change, another one takes its place.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from iid_cl.config.base import CacheMode
from iid_cl.data.album import FLAGS, SHARE, Album, available_memory, flags_of
from iid_cl.data.mapped import Mapped
from iid_cl.errors import UserError
from iid_cl.files import DiskFull, is_full, write_bytes

FORMAT, VERSION = "iid-cl images", 1
SAVE_BYTES = 2**27  # images written between two saves of the position
LOCK = "lock"
WAY_OUT = "name another folder with IID_CL_CACHE, or set stream.cache: never"


@dataclass
class Record:
    """What a file of images holds, as the JSON file beside it says.

    Attributes:
        place: of the album.
        count: number of pictures in the album.
        shape: (C, H, W).
        done: number of images that are written.
        marked: numbers of the images that have each of the flags.
    """

    place: str
    count: int
    shape: list[int] = field(default_factory=lambda: [0, 0, 0])
    done: int = 0
    marked: dict[str, list[int]] = field(default_factory=lambda: {flag: [] for flag in FLAGS})

    @property
    def each(self) -> int:
        """Bytes of an image."""
        return math.prod(self.shape)

    def write(self, path: Path) -> None:
        """Writes the record, whole or not at all."""
        write_bytes(path, json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}).encode())

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """A record; None where there is none of this version, or its images are not all there."""
        try:
            about = json.loads(path.read_bytes())
            if (about.pop("format"), about.pop("version")) != (FORMAT, VERSION):
                return None
            record = cls(**about)
            there = path.with_suffix(".u8").stat().st_size
            numbers = [number for flag in FLAGS for number in record.marked[flag]]
            fits = len(record.shape) == 3 and 0 <= record.done <= record.count and there >= record.done * record.each
            return record if fits and all(0 <= number < record.count for number in numbers) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def belongs_on_disk(mode: CacheMode, nbytes: Callable[[], int]) -> bool:
    """Whether images of some bytes are better mapped than read: ``auto`` where they take much of the free memory."""
    return mode == "always" or (mode == "auto" and nbytes() > SHARE * available_memory())


def on_disk(album: Album, folder: Path) -> tuple[Mapped, Tensor]:
    """An album's images (N, C, H, W), mapped from a file below ``folder``, and their flags, bool (3, N).

    The file is made where it is not there yet.

    Raises:
        UserError: the folder cannot be written, the disk has no room, or see :meth:`Album.fitted`.
    """
    home = folder / hashlib.sha256(album.place.encode(errors="surrogateescape")).hexdigest()[:16]
    path = home / f"{album.state}.json"
    if (found := _opened(path, album)) is not None:
        return found
    with _alone(home):
        if (found := _opened(path, album)) is None:  # no other process has made it meanwhile
            _build(album, path)
            found = _opened(path, album)
    assert found is not None  # it has been built
    return found


def _opened(path: Path, album: Album) -> tuple[Mapped, Tensor] | None:
    record = Record.read(path)
    if record is None or not record.done == record.count == album.count:
        return None
    flags = torch.zeros(3, album.count, dtype=torch.bool)
    for row, flag in enumerate(FLAGS):
        flags[row, record.marked[flag]] = True
    return Mapped.of_file(path.with_suffix(".u8"), (record.count, *record.shape)), flags


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Waits until no other process builds there. The lock of a process that was killed is void."""
    lock = FileLock(home / LOCK)
    try:
        home.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"iid-cl: another process decodes these images into {home}; waiting for it", file=sys.stderr)
            lock.acquire()
    except OSError as error:
        raise UserError(f"{home}: cannot be written ({error.strerror}); {WAY_OUT}.") from None
    try:
        yield
    finally:
        lock.release()


def _build(album: Album, path: Path) -> None:
    """Writes the images that are missing; a file for an earlier state of the pictures goes first."""
    for other in path.parent.iterdir():
        if other.name != LOCK and other.stem != path.stem:
            other.unlink()
    record = Record.read(path) or Record(album.place, album.count)
    images = path.with_suffix(".u8")
    try:
        with images.open("r+b" if record.done else "w+b") as file:
            _write_rest(album, record, file, path)
    except UserError as error:
        if not isinstance(error, DiskFull):  # the pictures cannot be used as they are
            for leftover in (path, images):
                leftover.unlink(missing_ok=True)
        raise
    except OSError as error:
        if is_full(error):
            raise DiskFull(f"{path.parent}: the disk is full; free some space, or {WAY_OUT}.") from None
        raise UserError(f"{path.parent}: cannot be written ({error.strerror}); {WAY_OUT}.") from None


def _write_rest(album: Album, record: Record, file: BinaryIO, path: Path) -> None:
    file.truncate(record.done * record.each)
    file.seek(0, os.SEEK_END)
    about = f"decoding {album.count:,} images into {path.parent}"
    bar = tqdm(total=album.count, initial=record.done, desc=about, unit=" images", disable=None)
    if bar.disable:  # no terminal
        print(f"iid-cl: {about}", file=sys.stderr)
    since = 0  # bytes since the position was saved
    try:
        for array, picture in album.fitted(record.done):
            if not record.done:
                record.shape = list(array.shape)
                _check_space(record, path.parent)
            if len(array) > record.shape[0]:  # the first colour picture: the grey ones before it get its channels
                _widen(record, file, len(array), path)
                file.seek(0, os.SEEK_END)
            file.write(np.ascontiguousarray(np.broadcast_to(array, record.shape)).data)
            for flag in (flag for flag, is_set in zip(FLAGS, flags_of(picture), strict=True) if is_set):
                record.marked[flag].append(record.done)
            record.done += 1
            since += record.each
            bar.update()
            if since >= SAVE_BYTES:
                _save(record, file, path)
                since = 0
    finally:
        bar.close()
        _save(record, file, path)


def _widen(record: Record, file: BinaryIO, channels: int, path: Path) -> None:
    """Gives grey images more channels, from the last to the first, as each takes the place of several."""
    grey, done = record.each, record.done
    Record(record.place, record.count).write(path)  # a build that is stopped in the middle begins again
    for number in reversed(range(done)):
        file.seek(number * grey)
        image = file.read(grey)
        file.seek(number * grey * channels)
        file.write(image * channels)
    record.shape[0] = channels
    _check_space(record, path.parent)


def _check_space(record: Record, folder: Path) -> None:
    needed, free = (record.count - record.done) * record.each, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {record.count:,} decoded images take {needed / 2**30:,.1f} GiB more, and {free / 2**30:,.1f} "
            f"GiB are free; free some space, {WAY_OUT}, or a lower stream.image_size."
        )


def _save(record: Record, file: BinaryIO, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    record.write(path)


@dataclass(frozen=True)
class Entry:
    """Decoded images on disk.

    Attributes:
        place: of what.
        path: their folder, or the file of a data set that is read as a whole.
        nbytes: bytes on disk.
        count: number of pictures.
        done: number of those that are decoded.
    """

    place: str
    path: Path
    nbytes: int
    count: int
    done: int

    def remove(self) -> bool:
        """Whether they could be removed: nobody is decoding them. Who has mapped them keeps them until it ends."""
        if self.path.is_file():
            self.path.unlink()
            return True
        try:
            with FileLock(self.path / LOCK).acquire(timeout=0):
                shutil.rmtree(self.path)
        except Timeout:
            return False
        return True


def entries(folder: Path) -> list[Entry]:
    """All decoded images in a folder: those of :func:`on_disk`, and the files of data sets that are read as a whole."""
    found = []
    for path in sorted(folder.glob("*/*.json")):
        record = Record.read(path)
        if record is not None:
            nbytes = path.with_suffix(".u8").stat().st_size
            found.append(Entry(record.place, path.parent, nbytes, record.count, record.done))
    for path in sorted(folder.glob("*.safetensors")):
        with contextlib.suppress(SafetensorError, KeyError), safe_open(path, framework="pt") as file:
            count = file.get_slice("images").get_shape()[0]
            found.append(Entry("a small data set", path, path.stat().st_size, count, count))
    return found
