"""A memory as a picture: a row per class, true colours, at most twenty images a row."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.report import pictures
from iid_cl.report.pictures import save_memory_picture


def solid(*colours: tuple[int, ...], size: int = 8) -> torch.Tensor:
    """One image of each colour, (n, C, size, size)."""
    values = torch.tensor(colours, dtype=torch.uint8)
    return values[:, :, None, None].expand(-1, -1, size, size).contiguous()


def draw(path: Path, by_class: dict[int, torch.Tensor], names: tuple[str, ...]) -> np.ndarray:
    """The picture's pixels, (height, width, 3)."""
    save_memory_picture(path / "m.png", ExemplarSet.from_classes(by_class), names)
    with Image.open(path / "m.png") as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def where(pixels: np.ndarray, *colour: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of exactly this colour."""
    return np.nonzero((pixels == np.array(colour)).all(axis=2))


def test_each_class_has_a_row_in_ascending_order(tmp_path: Path) -> None:
    colours = {7: (200, 0, 0), 2: (0, 180, 0), 4: (0, 0, 160)}
    pixels = draw(tmp_path, {c: solid(colour) for c, colour in colours.items()}, tuple("abcdefgh"))
    rows = {c: where(pixels, *colour)[0] for c, colour in colours.items()}
    assert all(len(found) for found in rows.values())
    assert rows[2].max() < rows[4].min() <= rows[4].max() < rows[7].min()
    heights = [np.ptp(found) for found in rows.values()]
    assert max(heights) - min(heights) <= 2


def test_a_classs_images_stand_side_by_side_in_their_order(tmp_path: Path) -> None:
    colours = [(200, 10, 0), (0, 180, 10), (10, 0, 160)]
    pixels = draw(tmp_path, {0: solid(*colours)}, ("a",))
    places = [where(pixels, *colour) for colour in colours]
    assert len({rows.min() for rows, _ in places}) == 1
    columns = [found for _, found in places]
    assert columns[0].max() < columns[1].min() <= columns[1].max() < columns[2].min()


def test_cells_are_separate_and_square(tmp_path: Path) -> None:
    pixels = draw(tmp_path, {0: solid((9, 9, 9), (9, 9, 9)), 1: solid((9, 9, 9))}, ("a", "b"))
    dark = (pixels == 9).all(axis=2)
    row = dark[where(pixels, 9, 9, 9)[0].min() + 5]
    starts = np.flatnonzero(np.diff(row.astype(int)) == 1)
    assert len(starts) == 2  # two cells with a gap between
    rows, columns = where(pixels[: len(pixels) // 2], 9, 9, 9)
    width = np.flatnonzero(~row[columns.min() :])[0]
    assert abs(width - (np.ptp(rows) + 1)) <= 3


def test_an_images_pixels_keep_their_places_and_colours(tmp_path: Path) -> None:
    image = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    quarters = {(0, 0): (250, 1, 2), (0, 1): (3, 240, 4), (1, 0): (5, 6, 230), (1, 1): (120, 130, 140)}
    for (y, x), colour in quarters.items():
        image[0, :, y, x] = torch.tensor(colour)
    pixels = draw(tmp_path, {0: image}, ("a",))
    centres = {}
    for place, colour in quarters.items():
        rows, columns = where(pixels, *colour)
        assert len(rows) > 25
        centres[place] = rows.mean(), columns.mean()
    assert centres[0, 0][0] == pytest.approx(centres[0, 1][0])
    assert centres[0, 0][1] == pytest.approx(centres[1, 0][1])
    assert centres[0, 0][0] < centres[1, 0][0]
    assert centres[0, 0][1] < centres[0, 1][1]


def test_grey_images_are_drawn_grey_and_at_their_own_brightness(tmp_path: Path) -> None:
    pixels = draw(tmp_path, {0: solid((40,), (60,), (200,))}, ("a",))
    for value in (40, 60, 200):  # not stretched to black and white
        assert len(where(pixels, value, value, value)[0]) > 1000


def test_at_most_twenty_images_of_a_class_are_drawn(tmp_path: Path) -> None:
    colours = [(10 * i, 255 - 10 * i, 77) for i in range(25)]
    pixels = draw(tmp_path, {0: solid(*colours), 1: solid((1, 2, 3))}, ("a", "b"))
    drawn = [len(where(pixels, *colour)[0]) > 0 for colour in colours]
    assert drawn == [True] * 20 + [False] * 5
    assert len(where(pixels, 1, 2, 3)[0])


def test_longer_rows_make_a_wider_picture(tmp_path: Path) -> None:
    one, three = (draw(tmp_path, {0: solid(*[(5, 5, 5)] * n)}, ("a",)).shape for n in (1, 3))
    assert one[0] == three[0]
    assert one[1] < three[1]


def test_the_classs_name_stands_left_of_its_images(tmp_path: Path) -> None:
    for names, ink in ((("W" * 12,), True), ((" " * 12,), False)):
        pixels = draw(tmp_path, {0: solid((0, 0, 250))}, names)
        left = pixels[:, : where(pixels, 0, 0, 250)[1].min() - 3]
        assert bool((left < 128).any()) is ink


def test_names_stand_beside_their_own_row(tmp_path: Path) -> None:
    pixels = draw(tmp_path, {0: solid((250, 0, 0)), 1: solid((0, 0, 250))}, ("MMM", " "))
    edge = where(pixels, 250, 0, 0)[1].min() - 3
    ink = np.nonzero((pixels[:, :edge] < 128).any(axis=(1, 2)))[0]
    rows = where(pixels, 250, 0, 0)[0]
    assert rows.min() < ink.min() <= ink.max() < rows.max()


def test_a_class_without_a_name_is_drawn(tmp_path: Path) -> None:
    pixels = draw(tmp_path, {0: solid((250, 0, 0)), 5: solid((0, 0, 250))}, ("a",))
    assert len(where(pixels, 0, 0, 250)[0])


def test_a_name_is_never_taken_for_mathematics(tmp_path: Path) -> None:
    spans = []
    for name in ("x", "$x$"):
        pixels = draw(tmp_path, {0: solid((0, 0, 250))}, (name,))
        left = pixels[:, : where(pixels, 0, 0, 250)[1].min() - 3]
        spans.append(np.ptp(np.nonzero((left < 128).any(axis=2))[1]))
    assert spans[1] > 2 * spans[0]  # the dollar signs are drawn


@pytest.mark.parametrize(
    "name", ["", "$", r"\alpha", "a_b^c", "naïve 猫", "$\\frac{$", "\ud800", "a\nb\0\x1b[31m", "k" * 900]
)
@pytest.mark.filterwarnings("ignore:Glyph .* missing from font:UserWarning")
def test_any_name_is_drawn(tmp_path: Path, name: str) -> None:
    pixels = draw(tmp_path, {0: solid((250, 0, 0))}, (name,))
    assert len(where(pixels, 250, 0, 0)[0])


def test_the_same_memory_makes_the_same_file(tmp_path: Path) -> None:
    memory = ExemplarSet.from_classes({0: solid((1, 2, 3))})
    for name in ("a.png", "b.png"):
        save_memory_picture(tmp_path / name, memory, ("a",))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        save_memory_picture(tmp_path / "file" / "m.png", ExemplarSet.from_classes({0: solid((1,))}), ("a",))


def test_of_a_long_name_the_beginning_is_drawn(tmp_path: Path) -> None:
    widths = [draw(tmp_path, {0: solid((9, 9, 9))}, ("W" * count,)).shape[1] for count in (39, 40, 41, 900)]
    assert widths[0] < widths[1] == widths[2] == widths[3]


def test_of_thousands_of_classes_the_first_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_DRAWN", 2)
    pixels = draw(tmp_path, {c: solid((10 * c, 0, 200)) for c in (1, 2, 3)}, ())
    assert [len(where(pixels, 10 * c, 0, 200)[0]) > 0 for c in (1, 2, 3)] == [True, True, False]


def test_of_large_images_every_second_pixel_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_class = {c: solid((9, 9, 9 + c), (9, 9, 90 + c), size=64) for c in range(2)}
    shapes = []
    for most in (2**25, 4 * 32 * 32):
        monkeypatch.setattr(pictures, "MOST_PIXELS", most)
        pixels = draw(tmp_path, by_class, ("a", "b"))
        shapes.append(pixels.shape)
        assert len(where(pixels, 9, 9, 91)[0]) > 2000
    assert shapes[0] == shapes[1]


def test_of_many_images_each_is_drawn_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iid_cl.report.pictures.MOST_IN_PNG", 20_000)
    images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
    path = tmp_path / "many.png"
    save_memory_picture(path, ExemplarSet.from_classes(dict.fromkeys(range(8), images)), [str(c) for c in range(8)])
    with Image.open(path) as picture:
        assert 10_000 < (picture.width - 33) * (picture.height - 5) < 25_000  # beside the names
