"""What a memory file shows of itself."""

import io
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from iid_cl.errors import UserError
from iid_cl.memory import jpeg
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import save_memory
from iid_cl.report.show import _row, show_memory
from iid_cl.terminal.screen import Mode, Screen
from tests.memory.test_bounds import counted_decodings


def memory_file(path: Path, classes: int = 3, count: int = 2, partition: int = 1, **metadata: object) -> Path:
    images = {c: torch.full((count, 1, 8, 8), (20 * c + 10) % 256, dtype=torch.uint8) for c in range(classes)}
    told = {
        "class_names": [f"class {c}" for c in range(classes)],
        "method": "random",
        "seed": 7,
        "ipc": count,
        **metadata,
    }
    save_memory(path, ExemplarSet.from_classes(images, partition=partition), told)
    return path


def shown(file: Path, width: int = 80, terminal: bool = True, classes: list[str] | None = None) -> str:
    out = io.StringIO()
    colours = "truecolor" if terminal else None
    console = Console(file=out, force_terminal=terminal, width=width, color_system=colours)
    show_memory(file, None, classes, console)
    return out.getvalue()


def test_the_table_says_what_it_is(tmp_path: Path) -> None:
    text = shown(memory_file(tmp_path / "m.safetensors", partition=2), terminal=False)
    rows = dict(re.findall(r"^ (\S.*?)  +(\S.*?) *$", text, re.MULTILINE))
    assert rows["method"] == "random"
    assert (rows["images"], rows["trained on"], rows["classes held"]) == ("6", "24", "3")
    assert rows["memory bytes"] == "396"  # six images of 64 bytes and labels of 2
    assert (rows["image size"], rows["budget"], rows["seed"]) == ("8x8x1", "ipc: 2", "7")
    assert "--out FILE.png" in text
    assert "\x1b" not in text


def test_a_terminal_shows_the_pixels(tmp_path: Path) -> None:
    text = shown(memory_file(tmp_path / "m.safetensors"))
    assert "class 2" in text
    for c in range(3):
        assert f"38;2;{20 * c + 10};{20 * c + 10};{20 * c + 10}" in text


@pytest.mark.parametrize("width", [20, 40, 80])
def test_pictures_fit_the_terminal(tmp_path: Path, width: int) -> None:
    file = memory_file(tmp_path / "m.safetensors", count=12)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown(file, width))
    blocks = [line for line in text.splitlines() if "▀" in line]
    assert len(blocks) == 3 * 4  # eight rows of pixels, two in a line
    assert max(map(cell_len, blocks)) <= width
    fit = (width - 1) // 9
    assert ("and" in text) == (fit < 12)


def test_many_classes_are_not_all_drawn(tmp_path: Path) -> None:
    text = shown(memory_file(tmp_path / "m.safetensors", classes=25, count=1))
    assert "class 19" in text
    assert "and 5 more classes" in text
    assert "class 20" not in text
    assert "class 24" in shown(tmp_path / "m.safetensors", classes=["class 24"])
    assert "class 24" in shown(tmp_path / "m.safetensors", classes=["24"])


def test_an_unknown_class_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--class: 'dog' is no class of .*; it holds class 0, class 1, class 2"):
        shown(memory_file(tmp_path / "m.safetensors"), classes=["dog"])


def test_the_picture_is_written(tmp_path: Path) -> None:
    file = memory_file(tmp_path / "m.safetensors")
    show_memory(file, tmp_path / "all.png", None, Console(file=io.StringIO()))
    show_memory(file, tmp_path / "one.png", ["class 1"], Console(file=io.StringIO()))
    with Image.open(tmp_path / "all.png") as everything, Image.open(tmp_path / "one.png") as one:
        assert one.height < everything.height


def test_another_suffix_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--out: .* must end in \.png"):
        show_memory(memory_file(tmp_path / "m.safetensors"), tmp_path / "m.jpg", None, Console())


def test_json_holds_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_memory(memory_file(tmp_path / "m.safetensors"), None, None, Screen(Mode.json))
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["event"], found["images"], found["memory_bytes"]) == ("memory", 6, 396)
    assert found["classes"][2] == {"index": 2, "name": "class 2"}


def test_metadata_of_a_stranger_cannot_drive_the_terminal(tmp_path: Path) -> None:
    hostile = "\x1b]0;title\x07[bold]\r\n"
    file = memory_file(
        tmp_path / "m.safetensors", method=hostile, class_names=[hostile] * 3, provenance={"command": hostile},
        stream=[hostile], distill=hostile,
    )  # fmt: skip
    text = shown(file)
    assert "\x1b]" not in text
    assert "\x07" not in text
    assert r"\x1b]0;title\x07[bold]" in text


def test_small_images_keep_their_pixels_and_large_ones_are_averaged() -> None:
    small = torch.tensor([[[[0, 50], [100, 150]]]], dtype=torch.uint8)
    assert [_row(small, 2, 1).getpixel((x, y))[0] for y in (0, 1) for x in (0, 1)] == [0, 50, 100, 150]
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    large[0, 0, 0, 0] = 40  # one of four pixels
    assert [_row(large, 2, 1).getpixel((x, y))[0] for y in (0, 1) for x in (0, 1)] == [10, 50, 100, 150]


def test_an_image_is_decoded_once_to_be_checked_and_once_to_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each class: of 6 images, 12 decodings."""
    calls = counted_decodings(monkeypatch)
    by_class = {c: jpeg.encode(torch.full((2, 1, 8, 8), 20 * c, dtype=torch.uint8), 90) for c in range(3)}
    save_memory(tmp_path / "m.safetensors", jpeg.JpegSet.from_classes(by_class, (1, 8, 8)))
    assert len(calls) == 0
    text = shown(tmp_path / "m.safetensors")
    assert len(calls) == 12
    assert "40;40;40" in text


def test_one_class_alone_is_decoded_to_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_class = {c: jpeg.encode(torch.full((2, 1, 8, 8), 20 * c, dtype=torch.uint8), 90) for c in range(3)}
    save_memory(tmp_path / "m.safetensors", jpeg.JpegSet.from_classes(by_class, (1, 8, 8)))
    calls = counted_decodings(monkeypatch)
    shown(tmp_path / "m.safetensors", classes=["1"])
    assert len(calls) == 6 + 2


def test_facts_without_end_are_shortened(tmp_path: Path) -> None:
    text = shown(memory_file(tmp_path / "m.safetensors", choice="k" * 100_000), terminal=False)
    assert 2000 <= text.count("k") < 2100


@pytest.mark.parametrize("shape", [(1, 3000, 1), (1, 1, 3000)])
def test_long_images_are_drawn_in_a_few_lines(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    memory = ExemplarSet.from_classes({0: torch.zeros(2, *shape, dtype=torch.uint8)})
    save_memory(tmp_path / "m.safetensors", memory)
    assert len(shown(tmp_path / "m.safetensors").splitlines()) < 40
