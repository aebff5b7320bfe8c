"""Decoded images on disk: the same as in memory, built once, resumed, replaced when the pictures change."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iid_cl.cli.kept import cache as show_cache
from iid_cl.data import cache
from iid_cl.data.album import Album
from iid_cl.data.cache import belongs_on_disk, entries, on_disk
from iid_cl.data.folders import load_files
from iid_cl.data.mapped import Mapped
from iid_cl.data.pictures import Picture
from iid_cl.data.places import cache_folder, default_data_root
from iid_cl.errors import UserError


class Pictures:
    """Eight pictures of 3x2 pixels: grey, but for the sixth, which is transparent; decoded pictures are counted."""

    def __init__(self, seed: int = 0, stop_at: int | None = None) -> None:
        draws = np.random.default_rng(seed)
        self.arrays = [draws.integers(256, size=(2, 3, 3 if n == 5 else 1), dtype=np.uint8) for n in range(8)]
        self.seed, self.decoded, self.stop_at = seed, [], stop_at  # type: ignore[var-annotated]

    def __call__(self, first: int) -> Iterator[tuple[str, Picture]]:
        for number in range(first, 8):
            if number == self.stop_at:
                raise KeyboardInterrupt
            self.decoded.append(number)
            yield f"{number}.png", Picture(self.arrays[number], number == 5, False, False)

    def album(self) -> Album:
        return Album("folder", f"state{self.seed}", 8, self)


def expected(pictures: Pictures) -> torch.Tensor:
    """The pictures in colour, uint8 (8, 3, 2, 3)."""
    arrays = [np.broadcast_to(array, (2, 3, 3)).transpose(2, 0, 1) for array in pictures.arrays]
    return torch.from_numpy(np.stack(arrays))


def test_what_is_mapped_is_what_would_be_in_memory(tmp_path: Path) -> None:
    pictures = Pictures()
    images, flags = on_disk(pictures.album(), tmp_path)
    assert isinstance(images, Mapped)
    torch.testing.assert_close(images.read(), expected(pictures), rtol=0, atol=0)
    in_memory, same_flags = pictures.album().collect()
    torch.testing.assert_close(in_memory, expected(pictures), rtol=0, atol=0)
    assert torch.equal(flags, same_flags)
    assert flags.nonzero().tolist() == [[0, 5]]
    (file,) = tmp_path.rglob("*.u8")
    assert file.read_bytes() == expected(pictures).numpy().tobytes()


def test_a_build_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        on_disk(Pictures(stop_at=6).album(), tmp_path)
    again = Pictures()
    images, _ = on_disk(again.album(), tmp_path)
    assert again.decoded == [0, 6, 7]  # the first one tells the size
    torch.testing.assert_close(images.read(), expected(again), rtol=0, atol=0)
    third = Pictures()
    on_disk(third.album(), tmp_path)
    assert third.decoded == []


def test_what_was_written_after_the_last_save_is_written_again(tmp_path: Path) -> None:
    """As a process that is killed leaves it."""
    with pytest.raises(KeyboardInterrupt):
        on_disk(Pictures(stop_at=4).album(), tmp_path)
    (file,) = tmp_path.rglob("*.u8")
    with file.open("ab") as end:
        end.write(b"half an image")
    images, _ = on_disk(Pictures().album(), tmp_path)
    torch.testing.assert_close(images.read(), expected(Pictures()), rtol=0, atol=0)


@pytest.mark.parametrize("damage", ["shorter", "record", "numbers"])
def test_a_damaged_file_is_built_anew(tmp_path: Path, damage: str) -> None:
    on_disk(Pictures().album(), tmp_path)
    (file,), (record,) = tmp_path.rglob("*.u8"), tmp_path.rglob("*.json")
    if damage == "shorter":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "record":
        record.write_text("[]")
    else:
        record.write_text(record.read_text().replace("[5]", "[8]"))
    images, flags = on_disk(Pictures().album(), tmp_path)
    torch.testing.assert_close(images.read(), expected(Pictures()), rtol=0, atol=0)
    assert flags.nonzero().tolist() == [[0, 5]]


def test_changed_pictures_take_the_place_of_the_old_ones(tmp_path: Path) -> None:
    before, _ = on_disk(Pictures().album(), tmp_path)
    after, _ = on_disk(Pictures(seed=1).album(), tmp_path)
    torch.testing.assert_close(after.read(), expected(Pictures(seed=1)), rtol=0, atol=0)
    torch.testing.assert_close(before.read(), expected(Pictures()), rtol=0, atol=0)  # whoever has mapped them
    assert [path.stem for path in tmp_path.rglob("*.u8")] == ["state1"]


def test_two_at_once_decode_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun, go_on, pictures, read = threading.Event(), threading.Event(), Pictures(), []

    def slowly(first: int) -> Iterator[tuple[str, Picture]]:
        for item in pictures(first):
            begun.set()
            assert go_on.wait(30)
            yield item

    album = replace(pictures.album(), pictures=slowly)
    threads = [threading.Thread(target=lambda: read.append(on_disk(album, tmp_path)[0].read())) for _ in range(2)]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    while "waiting for it" not in capsys.readouterr().err:
        pass
    go_on.set()
    for thread in threads:
        thread.join()
    assert pictures.decoded == [0, *range(8)]
    assert torch.equal(read[0], read[1])


def test_a_full_disk_is_seen_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=8 * 6 - 1)  # a byte less than eight grey images
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"8 decoded images take .* IID_CL_CACHE, or set stream\.cache: never"):
        on_disk(Pictures().album(), tmp_path)
    assert not [*tmp_path.rglob("*.u8"), *tmp_path.rglob("*.json")]


def test_pictures_of_several_sizes_leave_nothing(tmp_path: Path) -> None:
    pictures = Pictures()
    pictures.arrays[3] = np.zeros((4, 4, 1), np.uint8)
    with pytest.raises(UserError, match=r"3\.png: is 4x4 pixels but 0\.png is 3x2; set stream\.image_size"):
        on_disk(pictures.album(), tmp_path)
    assert not [*tmp_path.rglob("*.u8"), *tmp_path.rglob("*.json")]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/.*: cannot be written .*IID_CL_CACHE"):
        on_disk(Pictures().album(), tmp_path / "file")


@pytest.mark.parametrize(("mode", "free", "wanted"), [
    ("auto", 4 * 144, False), ("auto", 4 * 144 - 4, True), ("always", 10**9, True), ("never", 0, False),
])  # fmt: skip
def test_when_images_stay_on_disk(monkeypatch: pytest.MonkeyPatch, mode: str, free: int, wanted: bool) -> None:
    """Eight pictures of 3x2 pixels take 144 bytes in colour, which may be a quarter of what is free."""
    monkeypatch.setattr(cache, "available_memory", lambda: free)
    assert belongs_on_disk(mode, Pictures().album().nbytes) is wanted  # type: ignore[arg-type]


def test_the_command_lists_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IID_CL_CACHE", str(tmp_path))
    Image.new("L", (4, 4), 7).save(tmp_path / "x.png")
    load_files([[tmp_path / "x.png"]], None, tmp_path)  # read as a whole
    with pytest.raises(KeyboardInterrupt):
        on_disk(Pictures(stop_at=3).album(), tmp_path)
    (mapped, _) = entries(tmp_path)
    assert (mapped.place, mapped.count, mapped.done, mapped.nbytes) == ("folder", 8, 3, 3 * 6)
    capsys.readouterr()
    show_cache()
    assert f"folder: 8 images (3 so far), 0.0 MiB: {mapped.path}\n" in capsys.readouterr().out
    with cache._alone(mapped.path):
        show_cache(remove=True)  # another process decodes
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.endswith("0.0 MiB: in use, not removed")
    assert second.startswith("a small data set: 1 images, ")
    show_cache(remove=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == default_data_root() / "decoded"
    monkeypatch.delenv("IID_CL_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    assert cache_folder() == tmp_path / "users" / "iid-cl" / "decoded"
    monkeypatch.setenv("IID_CL_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
