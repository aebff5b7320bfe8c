"""Image files: decoded exactly, cached, and every unusable one named."""

import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iid_cl.data import folders
from iid_cl.data.folders import list_class_folders, load_files, some_names, unread_files
from iid_cl.errors import UserError
from iid_cl.files import save_tensors

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # 3 rows, 4 columns
RED, GREEN, BLUE = GREY, GREY + 1, 255 - GREY
RGB = np.stack([RED, GREEN, BLUE], axis=2)
ALPHA = np.full((3, 4), 128, np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    """Writes an array as an image, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def decode(*files: Path, image_size: int | None = None) -> torch.Tensor:
    """The images as one class, without a cache."""
    return load_files([files], image_size, None).images


def channels_first(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


def palette_image(path: Path) -> Path:
    """Colours 0, 1, 2, 3 of a palette, in each row."""
    image = Image.fromarray(np.tile(np.arange(4, dtype=np.uint8), (3, 1)))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    assert image.mode == "P"
    image.save(path)
    return path


def refuse_to_decode(*args: object) -> None:
    raise AssertionError("the cache should have been read")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "decoded"


def cached_file(cache: Path) -> Path:
    """The only file of the cache."""
    (file,) = [path for path in cache.rglob("*") if path.is_file()]
    return file


def test_a_grey_image_has_one_channel_of_its_values(tmp_path: Path) -> None:
    images = decode(save(tmp_path / "x.png", GREY))
    assert images.dtype == torch.uint8
    torch.testing.assert_close(images, torch.from_numpy(GREY)[None, None])


def test_a_colour_image_has_three_channels_of_its_values(tmp_path: Path) -> None:
    images = decode(save(tmp_path / "x.png", RGB))
    torch.testing.assert_close(images, torch.from_numpy(np.stack([RED, GREEN, BLUE]))[None])


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    images = decode(save(tmp_path / "x.png", np.dstack([RGB, ALPHA])))
    expected = 255 - 128 / 255 * (255 - RGB.astype(float))
    assert (images[0].double() - channels_first(expected)).abs().max() <= 0.5 + 1e-9  # rounded once


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    images = decode(palette_image(tmp_path / "x.png"))
    assert images.shape == (1, 3, 3, 4)
    for row in range(3):
        assert images[0, :, row].T.tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120]]


def test_a_bilevel_image_is_black_and_white(tmp_path: Path) -> None:
    bilevel = Image.fromarray(GREY > 100)
    assert bilevel.mode == "1"
    bilevel.save(tmp_path / "x.png")
    images = decode(tmp_path / "x.png")
    torch.testing.assert_close(images[0, 0], torch.from_numpy(np.where(GREY > 100, 255, 0).astype(np.uint8)))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_their_brightness(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 5_000, 20_000], [30_000, 32_768, 50_000, 60_000], [65_000, 65_535, 1, 40_000]])
    images = decode(save(tmp_path / f"x{suffix}", values.astype(np.uint16)))
    expected = torch.from_numpy(values / 257)  # 65,535 is 255
    for channel in images[0]:
        assert (channel - expected).abs().max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16"])
def test_every_mode_has_one_or_three_channels(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new(mode, (4, 3)).save(tmp_path / f"x.{suffix}")
    images = decode(tmp_path / f"x.{suffix}")
    assert images.shape[1] in (1, 3)
    assert images.shape[2:] == (3, 4)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp"])
def test_lossless_formats_decode_alike(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    Image.fromarray(RGB).save(path, lossless=True)
    torch.testing.assert_close(decode(path)[0], channels_first(RGB))


def test_a_jpeg_decodes_as_pillow_does(tmp_path: Path) -> None:
    path = save(tmp_path / "x.jpg", RGB)
    with Image.open(path) as image:
        expected = np.asarray(image)
    torch.testing.assert_close(decode(path)[0], channels_first(expected))


def test_a_grey_image_among_colours_fills_all_channels(tmp_path: Path) -> None:
    files = [save(tmp_path / "a.png", RGB), save(tmp_path / "b.png", GREY), palette_image(tmp_path / "c.png")]
    images = decode(*files)
    torch.testing.assert_close(images[0], channels_first(RGB))
    torch.testing.assert_close(images[1], torch.from_numpy(np.stack([GREY] * 3)))
    assert images[2, :, 0, 0].tolist() == [10, 20, 30]


def test_labels_are_positions_and_images_keep_their_order(tmp_path: Path) -> None:
    files = [
        [save(tmp_path / f"{c}{i}.png", np.full((2, 2), 10 * c + i, np.uint8)) for i in range(n)]
        for c, n in enumerate((2, 1, 3))
    ]
    part = load_files(files, None, None)
    assert part.labels.dtype == torch.int64
    assert part.labels.tolist() == [0, 0, 1, 2, 2, 2]
    assert part.images[:, 0, 0, 0].tolist() == [0, 1, 10, 20, 21, 22]


def test_resizing_is_bilinear(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    images = decode(save(tmp_path / "x.png", array), image_size=5)
    expected = Image.fromarray(array).resize((5, 5), Image.Resampling.BILINEAR)
    torch.testing.assert_close(images[0], channels_first(np.asarray(expected)))


def test_resizing_brings_differing_images_to_one_size(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{n}.png", np.full((n, 2 * n), 50 + n, np.uint8)) for n in (2, 6, 11)]
    images = decode(*files, image_size=6)
    assert images.shape == (3, 1, 6, 6)
    for image, value in zip(images, (52, 56, 61), strict=True):
        assert image.unique().tolist() == [value]


def test_an_image_of_the_right_size_is_left_alone(tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 256, (7, 7), dtype=np.uint8)
    torch.testing.assert_close(decode(save(tmp_path / "x.png", array), image_size=7)[0, 0], torch.from_numpy(array))


def test_differing_sizes_are_refused_and_named(tmp_path: Path) -> None:
    first, odd = save(tmp_path / "a.png", GREY), save(tmp_path / "b.png", GREY.T)
    with pytest.raises(UserError, match=r"b\.png: is 3x4 pixels but .*a\.png is 4x3.*stream\.image_size") as caught:
        decode(first, odd)
    assert str(odd) in str(caught.value)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("content", ["empty", "text", "truncated", "header"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".webp", ".tif"])
def test_a_file_that_is_no_image_is_refused_and_not_cached(
    tmp_path: Path, cache: Path, suffix: str, content: str
) -> None:
    path = tmp_path / f"x{suffix}"
    noise = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = save(path, noise).read_bytes()
    path.write_bytes(
        {"empty": b"", "text": b"hello", "truncated": whole[: len(whole) // 2], "header": whole[:12]}[content]
    )
    with pytest.raises(UserError, match="cannot be decoded") as caught:
        load_files([[path]], None, cache)
    assert str(path) in str(caught.value)
    assert not cache.exists()


def test_an_image_that_vanished_is_refused(tmp_path: Path, cache: Path) -> None:
    for place in (None, cache):
        with pytest.raises(UserError, match=r"gone\.png"):
            load_files([[tmp_path / "gone.png"]], None, place)


def test_the_second_load_reads_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [[save(tmp_path / "a.png", RGB)], [save(tmp_path / "b.png", GREY)]]
    first = load_files(files, None, cache)
    monkeypatch.setattr(folders, "read_picture", refuse_to_decode)
    second = load_files(files, None, cache)
    torch.testing.assert_close(second.images, first.images)
    assert second.labels.tolist() == [0, 1]


def test_the_first_load_decodes_and_no_cache_means_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", RGB)
    decode(path)
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.setattr(folders, "read_picture", refuse_to_decode)
    with pytest.raises(AssertionError, match="cache"):
        decode(path)


def test_a_changed_file_is_decoded_again(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "a.bmp", GREY)  # of one length, whatever its pixels
    load_files([[path]], None, cache)
    before = path.stat()
    save(path, 255 - GREY)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    torch.testing.assert_close(load_files([[path]], None, cache).images[0, 0], torch.from_numpy(255 - GREY))


def test_a_file_of_another_length_is_decoded_again(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "a.bmp", GREY)
    load_files([[path]], None, cache)
    before = path.stat()
    save(path, RGB)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_files([[path]], None, cache).images.shape == (1, 3, 3, 4)


def test_the_cache_holds_one_size_only(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    for size, shape in ((None, (3, 4)), (8, (8, 8)), (5, (5, 5)), (None, (3, 4))):
        assert load_files([[path]], size, cache).images.shape[2:] == shape


def test_the_cache_holds_these_files_only(tmp_path: Path, cache: Path) -> None:
    a, b = save(tmp_path / "a.bmp", GREY), save(tmp_path / "b.bmp", 255 - GREY)
    for path in (a, b):  # alike but for their names
        os.utime(path, ns=(10**18, 10**18))
    for files in ([a, b], [b, a], [a], [b]):
        images = load_files([files], None, cache).images
        expected = [torch.from_numpy(GREY if file == a else 255 - GREY) for file in files]
        torch.testing.assert_close(images[:, 0], torch.stack(expected))


@pytest.mark.parametrize(
    "damage",
    [
        "junk",
        "empty",
        "truncated",
        "no images",
        "wrong type",
        "too few",
        "wrong rank",
        "no flags",
        "odd flags",
        "further",
    ],
)
def test_a_damaged_cache_is_replaced(tmp_path: Path, cache: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [[save(tmp_path / "a.png", GREY), save(tmp_path / "b.png", 255 - GREY)]]
    whole = load_files(files, None, cache)
    file = cached_file(cache)
    flags = {name: getattr(whole, name) for name in ("transparent", "several", "deep")}
    tensors = {
        "no images": {"other": whole.images, **flags},
        "wrong type": {"images": whole.images.float(), **flags},
        "too few": {"images": whole.images[:1], **flags},
        "wrong rank": {"images": whole.images[:, 0], **flags},
        "no flags": {"images": whole.images},
        "odd flags": {"images": whole.images, **flags, "deep": torch.zeros(2)},
        "further": {"images": whole.images, **flags, "labels": whole.labels},
    }
    if damage in tensors:
        save_tensors(file, tensors[damage])
    else:
        file.write_bytes({"junk": b"junk" * 9, "empty": b"", "truncated": file.read_bytes()[:-5]}[damage])
    torch.testing.assert_close(load_files(files, None, cache).images, whole.images)
    monkeypatch.setattr(folders, "read_picture", refuse_to_decode)
    torch.testing.assert_close(load_files(files, None, cache).images, whole.images)


def test_a_cache_that_cannot_be_made_does_not_matter(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    (tmp_path / "file").write_text("in the way")
    images = load_files([[path]], None, tmp_path / "file" / "decoded").images
    torch.testing.assert_close(images[0, 0], torch.from_numpy(GREY))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    cache.mkdir(parents=True)
    cache.chmod(0o500)
    try:
        images = load_files([[path]], None, cache).images
    finally:
        cache.chmod(0o700)
    torch.testing.assert_close(images[0, 0], torch.from_numpy(GREY))


def test_a_full_disk_does_not_matter_to_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = save(tmp_path / "a.png", GREY)
    torch.testing.assert_close(load_files([[path]], None, cache).images[0, 0], torch.from_numpy(GREY))


def make_tree(root: Path, names: Sequence[str]) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_classes_and_files_are_sorted(tmp_path: Path) -> None:
    make_tree(tmp_path, ["b/2.png", "b/10.png", "a/z.png", "a/y.png", "C/x.png"])
    names, files = list_class_folders(tmp_path)
    assert names == ["C", "a", "b"]
    assert [[f.name for f in members] for members in files] == [["x.png"], ["y.png", "z.png"], ["10.png", "2.png"]]


def test_images_are_found_in_folders_below_and_by_any_case_of_suffix(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/images/1.JPEG", "a/2.Png", "a/notes.txt", "a/thumbs.db", "README.md"])
    (tmp_path / "a" / "folder.png").mkdir()
    names, files = list_class_folders(tmp_path)
    assert names == ["a"]
    assert {str(f.relative_to(tmp_path)) for f in files[0]} == {"a/2.Png", "a/images/1.JPEG"}


def test_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    names = ["1.png", "a/1.png", "a/x.heic", "a/deep/Notes.TXT", "a/.hidden.png", "a/.cache/2.png", "a/no-suffix"]
    clutter = ["a/.DS_Store", "a/Thumbs.db", "a/._1.png", "desktop.ini", "a/deep/.gitkeep"]
    make_tree(tmp_path, [*names, *clutter, "b/1.png"])
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "link.txt").symlink_to("1.png")
    unread = {str(path.relative_to(tmp_path)) for path in unread_files(tmp_path, ["a"])}
    named = {"1.png", "a/x.heic", "a/deep/Notes.TXT", "a/.hidden.png", "a/.cache", "a/no-suffix", "a/pipe.png"}
    assert unread == {*named, "a/link.txt"}
    assert list(unread_files(tmp_path, ["b"])) == [tmp_path / "1.png"]


def test_some_names_are_counted_and_shortened(tmp_path: Path) -> None:
    assert some_names(tmp_path, []) == ""
    assert some_names(tmp_path, [tmp_path / "a" / "x\n.txt"]) == "1 (a/x\\n.txt)"
    many = some_names(tmp_path, [tmp_path / f"{number}.txt" for number in range(1200)])
    assert many == "1,200 (0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 5.txt, 6.txt, 7.txt, 8.txt, 9.txt, …)"


def test_a_class_of_unread_files_is_refused_with_their_names(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/1.png", "b/IMG_1.HEIC"])
    with pytest.raises(UserError, match=r"class 'b' has no images among its files: 1 \(b/IMG_1\.HEIC\)"):
        list_class_folders(tmp_path)


def test_how_images_were_read_survives_the_cache(tmp_path: Path, cache: Path) -> None:
    plain, icon = save(tmp_path / "a.png", RGB), save(tmp_path / "b.png", np.dstack([RGB, ALPHA]))
    deep, moving = save(tmp_path / "c.png", GREY.astype(np.uint16)), tmp_path / "d.gif"
    Image.fromarray(GREY).save(moving, save_all=True, append_images=[Image.fromarray(255 - GREY)])
    for _ in range(2):
        decoded = load_files([[plain, icon, deep, moving]], None, cache)
        flags = torch.stack([decoded.transparent, decoded.deep, decoded.several])
        assert flags.int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train: no such folder.*train/ and test/"):
        list_class_folders(tmp_path / "train")


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path, ["1.png", "2.png"])
    with pytest.raises(UserError, match="no class folders"):
        list_class_folders(tmp_path)


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/1.png", "b/notes.txt"])
    with pytest.raises(UserError, match=r"b: class 'b' has no images"):
        list_class_folders(tmp_path)


@pytest.mark.parametrize(("wanted", "odd"), [(["a"], "b"), (["a", "b", "c"], "c"), (["a", "x"], "b, x")])
def test_other_classes_than_wanted_are_refused(tmp_path: Path, wanted: list[str], odd: str) -> None:
    make_tree(tmp_path, ["a/1.png", "b/1.png"])
    assert list_class_folders(tmp_path, ["a", "b"])[0] == ["a", "b"]
    with pytest.raises(UserError, match=rf"differ.*\({odd}\)"):
        list_class_folders(tmp_path, wanted)


def test_hidden_folders_and_files_are_no_images(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/1.png", "a/._1.png", ".thumbnails/x.png"])
    names, files = list_class_folders(tmp_path)
    assert names == ["a"]
    assert [[f.name for f in members] for members in files] == [["1.png"]]


def test_a_photo_stands_as_its_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to show
    Image.fromarray(GREY).save(tmp_path / "x.png", exif=exif)
    torch.testing.assert_close(decode(tmp_path / "x.png")[0, 0], torch.from_numpy(np.rot90(GREY, -1).copy()))


# --- folders from anywhere


def test_a_link_to_an_image_within_the_folder_is_read(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/1.png"])
    (tmp_path / "a" / "2.png").symlink_to("1.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "3.png").symlink_to("../a/1.png")
    _, files = list_class_folders(tmp_path)
    assert [[f.name for f in members] for members in files] == [["1.png", "2.png"], ["3.png"]]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    make_tree(tmp_path, ["val/a/1.png"])
    (tmp_path / "test").symlink_to("val")
    assert list_class_folders(tmp_path / "test")[1] == [[tmp_path / "test" / "a" / "1.png"]]


@pytest.mark.parametrize("target", ["../../outside/x.png", "nowhere.png", "..", ".", "link.png", "/dev/zero"])
def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path, target: str) -> None:
    make_tree(tmp_path, ["outside/x.png", "train/a/1.png"])
    (tmp_path / "train" / "a" / "link.png").symlink_to(target)
    with pytest.raises(UserError, match=r"link\.png: is a link that leads out"):
        list_class_folders(tmp_path / "train")


def test_a_class_that_is_a_link_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path, ["outside/x.png", "train/a/1.png"])
    for target in (tmp_path / "outside", Path("a")):
        link = tmp_path / "train" / "b"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises(UserError, match="b: is a link"):
            list_class_folders(tmp_path / "train")


def test_links_beside_the_images_do_not_matter(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/1.png"])
    (tmp_path / "a" / "notes.txt").symlink_to("/dev/null")
    assert len(list_class_folders(tmp_path)[1][0]) == 1


def test_folders_too_deep_are_refused(tmp_path: Path) -> None:
    tree = "/".join(["d"] * (folders.DEEPEST - 1))
    make_tree(tmp_path, [f"a/{tree}/1.png"])
    assert len(list_class_folders(tmp_path)[1][0]) == 1
    make_tree(tmp_path, [f"a/{tree}/d/1.png"])
    with pytest.raises(UserError, match=r"a: its folders lie more than \d+ deep"):
        list_class_folders(tmp_path)


def test_a_tree_deeper_than_any_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path, ["a/1.png"])
    monkeypatch.chdir(tmp_path / "a")
    for _ in range(1500):  # beyond PATH_MAX and Python's recursion
        os.mkdir("deep")
        os.chdir("deep")
    try:
        with pytest.raises(UserError, match="deep"):
            list_class_folders(tmp_path)
    finally:
        for _ in range(1500):
            os.chdir("..")
            os.rmdir("deep")


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nb", "\u202e", "\udcff"])
def test_a_class_that_cannot_be_shown_is_refused(tmp_path: Path, name: str) -> None:
    make_tree(tmp_path, [f"{name}/1.png"])
    with pytest.raises(UserError, match="has a name that cannot be shown") as caught:
        list_class_folders(tmp_path)
    assert name not in str(caught.value).removeprefix(str(tmp_path))


@pytest.mark.parametrize("name", ["日本語", "[red]x[", "<script>", "$x_$", "%s", "-rf", "a b"])
def test_any_other_name_is_a_class(tmp_path: Path, name: str) -> None:
    make_tree(tmp_path, [f"{name}/1.png"])
    assert list_class_folders(tmp_path)[0] == [name]


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/1.png"])
    os.mkfifo(tmp_path / "a" / "2.png")
    assert len(list_class_folders(tmp_path)[1][0]) == 1
    with pytest.raises(UserError, match=r"2\.png: no such file"):
        decode(tmp_path / "a" / "2.png")


def test_an_unreadable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    make_tree(tmp_path, ["a/1.png"])
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied: "):
        list_class_folders(tmp_path)


def test_no_program_is_started_for_an_image(tmp_path: Path) -> None:
    """Pillow would hand PostScript to Ghostscript, whatever the file's name."""
    Image.fromarray(RGB).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.png")
    with pytest.raises(UserError, match="cannot be decoded"):
        decode(tmp_path / "x.png")


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (10_000, 9_000)).save(tmp_path / "x.png")  # 90 million in 11,000 bytes

    def load(image: Image.Image) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(UserError, match="90000000 pixels"):
        decode(tmp_path / "x.png", image_size=8)


def test_an_enormous_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "x.webp").open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWEBPVP8 ")
        file.truncate(2**40)
    with pytest.raises(UserError, match="bytes"):
        decode(tmp_path / "x.webp")


def test_more_images_than_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [save(tmp_path / f"{i}.png", GREY) for i in range(4)]
    sizes = {"SC_PAGE_SIZE": 12, "SC_PHYS_PAGES": 12}  # 144 bytes, as much as 4 images of 3x4 pixels and 3 channels
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert len(decode(*files)) == 4
    sizes["SC_PAGE_SIZE"] = 11
    with pytest.raises(UserError, match=r"4 images of 4x3 pixels take .* GiB.*stream\.image_size"):
        decode(*files)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_of_an_animation_the_first_picture_counts(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    first, second = Image.new("RGB", (4, 3), (255, 0, 0)), Image.new("RGB", (4, 3), (0, 255, 0))
    first.save(path, suffix.upper(), save_all=True, append_images=[second])
    assert decode(path)[0, :, 0, 0].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_colours_after_grey_images_keep_all_of_them(tmp_path: Path) -> None:
    images = decode(save(tmp_path / "a.png", GREY), save(tmp_path / "b.png", RGB), save(tmp_path / "c.png", GREY))
    torch.testing.assert_close(images[0], torch.from_numpy(np.stack([GREY] * 3)))
    torch.testing.assert_close(images[1], channels_first(RGB))
    torch.testing.assert_close(images[2], torch.from_numpy(np.stack([GREY] * 3)))


def test_what_is_wrong_with_an_image_is_said_once(tmp_path: Path) -> None:
    """Pillow would log it, too, and Python prints what no one handles."""
    path = tmp_path / "x.tif"
    Image.fromarray(RGB).save(path)
    data = path.read_bytes()
    samples = struct.pack("<HHIHH", 277, 3, 1, 3, 0)  # a tag: samples per pixel, a 16-bit number, one of them, 3
    assert data.count(samples) == 1
    path.write_bytes(data.replace(samples, struct.pack("<HHIHH", 277, 3, 1, 259, 0)))
    load = f"load_files([[pathlib.Path({str(path)!r})]], 8, None)"
    code = f"import pathlib; from iid_cl.data.folders import load_files; {load}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "cannot be decoded as an image" in done.stderr.splitlines()[-1]
    assert "More samples per pixel" not in done.stderr.splitlines()[0]
