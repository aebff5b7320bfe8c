"""What is said about image files that were not simply read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.datasets import load_dataset

FULL = np.array([[0, 255]], np.uint8)
REMARK_16 = "the images use only the range from 0 to 16 of 0 to 255"


def remarks(root: Path, *odd: tuple[str, Image.Image], plain: np.ndarray = FULL, **options: object) -> tuple[str, ...]:
    """Of a folder of two classes with a plain image everywhere, and odd ones beside them."""
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (root / name).mkdir(parents=True)
        Image.fromarray(plain).save(root / name / "0.png")
    for name, image in odd:
        image.save(root / name, **options)
    return load_dataset(StreamConfig(dataset="image_folder", experiences=2), root).remarks


def test_plain_images_leave_nothing_to_say(tmp_path: Path) -> None:
    assert remarks(tmp_path) == ()


def test_transparent_images_are_counted_and_named(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 9))
    said = remarks(tmp_path, ("train/b/1.png", clear), ("test/a/2.png", clear))
    assert said == ("transparent images, laid on white: 2 (train/b/1.png, test/a/2.png)",)


def test_files_of_several_pictures_are_named(tmp_path: Path) -> None:
    image = Image.fromarray(FULL)
    said = remarks(tmp_path, ("train/b/1.tif", image), save_all=True, append_images=[image])
    assert said == ("files of several pictures, of which the first is read: 1 (train/b/1.tif)",)


def test_unread_files_are_named(tmp_path: Path) -> None:
    remarks(tmp_path)
    (tmp_path / "train" / "a" / "photo.heic").touch()
    (tmp_path / "test" / "labels.csv").touch()
    (said,) = load_dataset(StreamConfig(dataset="image_folder", experiences=2), tmp_path).remarks
    assert said.startswith("files not read: 2 (train/a/photo.heic, test/labels.csv)")


def test_twelve_bits_in_sixteen_are_noticed(tmp_path: Path) -> None:
    """4,095 of 65,535 is a sixteenth: 15.93 of 255."""
    (said,) = remarks(tmp_path, plain=np.array([[0, 4095]], np.uint16))
    assert said.startswith(REMARK_16)


def test_twelve_bits_among_plain_images_are_noticed(tmp_path: Path) -> None:
    (said,) = remarks(tmp_path, ("train/b/1.png", Image.fromarray(np.array([[0, 4095]], np.uint16))))
    assert said.startswith("the images of more than 8 bits use only the range from 0 to 16")


@pytest.mark.parametrize(("high", "count"), [(163, 1), (164, 0)])
def test_a_quarter_of_the_range_is_enough(tmp_path: Path, high: int, count: int) -> None:
    assert len(remarks(tmp_path, plain=np.array([[100, high]], np.uint8))) == count
