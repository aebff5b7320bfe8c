"""Pictures of every mode: as grey or colour by hand-made values, or refused by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iid_cl.data.pictures import SUFFIXES, eight_bits, is_transparent, read_picture
from iid_cl.errors import UserError

GREY = np.array([[0, 100], [200, 255]], np.uint8)
OPACITY = np.array([[0, 51], [102, 255]], np.uint8)  # none, a fifth, two fifths, all
# 255 - share * (255 - value): of value 0 nothing is seen, 100 at a fifth is 224, 200 at two fifths 233, 255 is itself
ON_WHITE = np.array([[255, 224], [233, 255]], np.uint8)
WORDS = np.array([[0, 257], [32_768, 65_535]], np.uint16)  # 0, 1, 127.5 and 255 of 255


def grey() -> Image.Image:
    return Image.fromarray(GREY)


def layered(mode: str) -> Image.Image:
    """The grey values in every band, and their opacity."""
    bands = [grey()] * (1 if mode == "LA" else 3)
    return Image.merge(mode, [*bands, Image.fromarray(OPACITY)])


def pixels(image: Image.Image) -> list[object]:
    return np.asarray(image).tolist()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr", "HSV", "P", "LAB", "RGBX"])
def test_grey_values_survive_every_colour_space(mode: str) -> None:
    image = grey().convert("RGB")
    image = grey() if mode == "L" else image.quantize(4) if mode == "P" else image.convert(mode)
    done = eight_bits(image)
    assert done.mode == ("L" if mode == "L" else "RGB")
    for channel in done.split():
        assert np.abs(np.asarray(channel).astype(int) - GREY).max() <= (1 if mode == "LAB" else 0)  # rounded twice
    assert not is_transparent(image)


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa", "PA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    image = layered("LA" if mode in ("LA", "La") else "RGBA").convert(mode)
    done = eight_bits(image)
    assert done.mode == ("L" if mode in ("LA", "La") else "RGB")
    for channel in done.split():  # premultiplied values of little opacity are rounded coarsely
        assert np.abs(np.asarray(channel).astype(int) - ON_WHITE).max() <= (3 if mode.endswith("a") else 1)
    assert is_transparent(image)


def test_black_drawings_on_nothing_stay_different() -> None:
    """The shape is in the opacity only: laid on white, it is black on white."""
    icon = np.zeros((2, 2, 4), np.uint8)
    icon[0, 1, 3] = 255
    assert pixels(eight_bits(Image.fromarray(icon)).convert("L")) == [[255, 0], [255, 255]]


def test_opaque_layers_change_nothing_and_are_not_transparent() -> None:
    image = grey().convert("RGBA")
    assert not is_transparent(image)
    assert pixels(eight_bits(image)) == pixels(grey().convert("RGB"))


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "I;16"])
def test_a_transparent_value_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(WORDS) if mode == "I;16" else grey().convert(mode)
    image.save(tmp_path / "x.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    picture = read_picture(tmp_path / "x.png")
    assert picture.transparent
    assert picture.pixels[0, 0].tolist() == [255] * picture.pixels.shape[2]
    assert picture.pixels[1, 0, 0] == {"1": 255, "I;16": 128}.get(mode, 200)


@pytest.mark.parametrize("transparency", [0, b"\0\xff\xff\xff"])
def test_a_palette_with_a_transparent_colour_is_laid_on_white(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    image.save(tmp_path / "x.png", transparency=transparency)
    picture = read_picture(tmp_path / "x.png")
    assert picture.transparent
    assert picture.pixels.tolist() == [[[255, 255, 255], [40, 50, 60]], [[70, 80, 90], [100, 110, 120]]]


def test_a_gif_on_nothing_is_laid_on_white(tmp_path: Path) -> None:
    grey().convert("P").save(tmp_path / "x.gif", transparency=0)
    assert read_picture(tmp_path / "x.gif").pixels[:, :, 0].tolist() == [[255, 100], [200, 255]]


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_sixteen_bits_are_rounded_to_eight(mode: str) -> None:
    order = ">u2" if mode == "I;16B" else "<u2"
    image = Image.frombytes(mode, (2, 2), WORDS.astype(order).tobytes())
    assert pixels(eight_bits(image)) == [[0, 1], [128, 255]]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
def test_files_of_sixteen_bits_are_read_alike(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(WORDS).save(path)
    picture = read_picture(path)
    assert picture.pixels[:, :, 0].tolist() == [[0, 1], [128, 255]]
    assert picture.deep


def test_where_white_is_zero_it_is_read_as_white(tmp_path: Path) -> None:
    Image.fromarray(WORDS).save(tmp_path / "x.tif", tiffinfo={262: 0})
    assert read_picture(tmp_path / "x.tif").pixels[:, :, 0].tolist() == [[255, 254], [127, 0]]


@pytest.mark.parametrize("suffix", ["tif", "pfm"])
def test_floats_from_black_to_white_are_read(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(np.array([[0, 0.2], [0.5, 1]], np.float32)).save(tmp_path / f"x.{suffix}")
    assert read_picture(tmp_path / f"x.{suffix}").pixels[:, :, 0].tolist() == [[0, 51], [128, 255]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([[0, 255]], np.float32), "floats between 0 and 255"),
        (np.array([[-0.5, 1]], np.float32), "floats between -0.5 and 1"),
        (np.array([[0, np.nan]], np.float32), "not finite"),
        (np.array([[0, 255]], np.int32), "have a sign"),
    ],
)
def test_unknown_black_and_white_are_refused_by_name(tmp_path: Path, values: np.ndarray, said: str) -> None:
    Image.fromarray(values).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match=rf"x\.tif: .*{said}"):
        read_picture(tmp_path / "x.tif")


def test_whole_numbers_of_a_program_are_refused_by_their_mode() -> None:
    with pytest.raises(UserError, match="mode I has whole numbers of 32 bits"):
        eight_bits(Image.fromarray(np.array([[0, 70_000]], np.int32)))


def test_signed_bytes_are_refused(tmp_path: Path) -> None:
    grey().save(tmp_path / "x.tif", tiffinfo={339: 2})
    with pytest.raises(UserError, match=r"x\.tif: its numbers have a sign"):
        read_picture(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("jfif", "JPEG"), ("jpe", "JPEG"), ("JPG", "JPEG"), ("avif", "AVIF"), ("jp2", "JPEG2000"), ("tga", "TGA"),
     ("TIFF", "TIFF"), ("dib", "DIB"), ("pbm", "PPM")],
)  # fmt: skip
def test_other_suffixes_are_read(tmp_path: Path, suffix: str, kind: str) -> None:
    assert f".{suffix.lower()}" in SUFFIXES
    image = Image.new("RGB", (16, 8), (10, 200, 90))
    (image.convert("1") if suffix == "pbm" else image).save(tmp_path / f"x.{suffix}", kind)
    picture = read_picture(tmp_path / f"x.{suffix}")
    assert picture.pixels.shape[:2] == (8, 16)
    assert suffix == "pbm" or np.abs(picture.pixels.astype(int) - (10, 200, 90)).max() < 12


def test_a_file_without_a_mark_is_not_taken_for_targa(tmp_path: Path) -> None:
    grey().save(tmp_path / "x.tga")
    (tmp_path / "x.tga").rename(tmp_path / "x.png")
    with pytest.raises(UserError, match="cannot be decoded"):
        read_picture(tmp_path / "x.png")


@pytest.mark.parametrize(("suffix", "kind"), [("gif", "GIF"), ("tif", "TIFF"), ("webp", "WEBP"), ("jpg", "MPO")])
def test_further_pictures_are_noticed(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"x.{suffix}"
    image = Image.new("L", (8, 8), 40)
    image.save(path, kind, save_all=True, append_images=[Image.new("L", (8, 8), 200)])
    picture = read_picture(path)
    assert picture.several
    assert abs(int(picture.pixels[0, 0, 0]) - 40) <= 2
    image.save(path, "JPEG" if kind == "MPO" else kind)
    assert not read_picture(path).several


def test_a_turned_photograph_of_sixteen_bits_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    Image.fromarray(np.array([[0, 65_535]], np.uint16)).save(tmp_path / "x.png", exif=exif)
    assert read_picture(tmp_path / "x.png").pixels[:, :, 0].tolist() == [[0], [255]]
