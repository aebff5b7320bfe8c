"""Memories as image folders."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.memory import export as exporting
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.export import export_memory, folder_names
from iid_cl.memory.files import save_memory
from iid_cl.memory.jpeg import JpegSet, encode
from iid_cl.methods.memory import Memory

HOSTILE = ["../../etc", "a/b", "a\\b", "", ".", "..", ".hidden", "CON", "com1.txt", "Cat", "cat", "x" * 300,
           "tab\there", "nul\0", "\ud800", "name. ", "é" * 60, "日本", "-rf", "a:b",
           "README.md", "memory.json"]  # fmt: skip


def images(*counts: int, channels: int = 3, size: int = 4) -> dict[int, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (channels, size, size)
    return {c: torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8) for c, n in enumerate(counts)}


def stored(path: Path, memory: ExemplarSet | JpegSet, **metadata: object) -> Path:
    save_memory(path, memory, metadata)
    return path


def as_jpeg(by_class: dict[int, torch.Tensor]) -> JpegSet:
    shape = tuple(by_class[0].shape[1:])
    return JpegSet.from_classes({c: encode(members, 50) for c, members in by_class.items()}, shape)


def test_the_folder_holds_the_images_bit_for_bit(tmp_path: Path) -> None:
    by_class = images(2, 1)
    file = stored(tmp_path / "m.safetensors", ExemplarSet.from_classes(by_class), class_names=["cat", "dog"], seed=3)
    assert export_memory(file, tmp_path / "out") == 3
    found = {str(p.relative_to(tmp_path / "out")): p for p in (tmp_path / "out").rglob("*.png")}
    assert set(found) == {"cat/000.png", "cat/001.png", "dog/000.png"}
    for name, image in (("cat/001.png", by_class[0][1]), ("dog/000.png", by_class[1][0])):
        assert np.array_equal(np.asarray(Image.open(found[name])), image.permute(1, 2, 0).numpy())
    about = json.loads((tmp_path / "out" / "memory.json").read_text())
    assert about["classes"] == [
        {"index": 0, "name": "cat", "folder": "cat", "images": 2},
        {"index": 1, "name": "dog", "folder": "dog", "images": 1},
    ]
    assert (about["memory"]["seed"], about["bytes_in_memory"]) == (3, 3 * (3 * 16 + 2))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_card_says_what_the_images_are(tmp_path: Path) -> None:
    about = {"class_names": ["cat", "a|b <i>"], "method": "distilled", "stream": {"dataset": "pets"}, "seed": 3}
    memory = ExemplarSet.from_classes(images(2, 1))
    export_memory(stored(tmp_path / "m.safetensors", memory, **about, mean=[0.5], std=[0.25]), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# A replay memory: pets\n")
    for line in (
        "| images | 3 of 4x4 pixels, colour |",
        "| bytes in the memory | 150 |",  # 3 * (3 * 16 + 2)
        "| method | distilled |",
        "| seed | 3 |",
        "| mean and deviation of pixels | 0.5; 0.25 |",
        "| `cat` | cat | 2 |",
        "| `a_b _i_` | a\\|b \\<i\\> | 1 |",
    ):
        assert line in text.splitlines()
    assert "objective" not in text  # the file does not say


def test_a_card_tells_of_grids(tmp_path: Path) -> None:
    grids = ExemplarSet.from_classes(images(1, 1), partition=2)
    file = stored(tmp_path / "m.safetensors", grids)
    for decoded in (False, True):
        folder = tmp_path / str(decoded)
        export_memory(file, folder, decoded=decoded)
        assert ("a grid of 2x2 smaller ones" in (folder / "README.md").read_text(encoding="utf-8")) is not decoded


def test_torchvision_reads_it_with_the_same_classes(tmp_path: Path) -> None:
    file = stored(tmp_path / "m.safetensors", ExemplarSet.from_classes(images(*[1] * 12, channels=1)))
    export_memory(file, tmp_path / "out")
    folder = ImageFolder(str(tmp_path / "out"))
    assert folder.classes == [f"{c:02}" for c in range(12)]  # nameless classes sort by index
    assert [label for _, label in folder.samples] == list(range(12))


def test_decoded_images_are_those_trained_on(tmp_path: Path) -> None:
    memory = ExemplarSet.from_classes(images(2, 1), partition=2)
    file = stored(tmp_path / "m.safetensors", memory, class_names=["a", "b"])
    assert export_memory(file, tmp_path / "out", decoded=True) == 12
    expected = memory.decoded().by_class()[1]
    paths = sorted((tmp_path / "out" / "b").iterdir())
    found = np.stack([np.asarray(Image.open(path)) for path in paths])
    assert np.array_equal(found, expected.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("decoded", [False, True])
def test_soft_labels_are_a_table(tmp_path: Path, decoded: bool) -> None:
    memory = ExemplarSet.from_classes(images(1, 1), partition=2)
    levels = torch.arange(8)
    probabilities = torch.stack([levels**2, torch.full((8,), 225)], dim=1) / (levels[:, None] ** 2 + 225)
    file = stored(tmp_path / "m.safetensors", memory.with_soft_labels(probabilities, [0, 1]), class_names=["a", "b"])
    export_memory(file, tmp_path / "out", decoded=decoded)
    with (tmp_path / "out" / "soft_labels.csv").open(newline="") as text:
        head, *rows = csv.reader(text)
    assert head == ["file", "part", "a", "b"]
    assert [float(row[2]) for row in rows] == pytest.approx([i * i / (i * i + 225) for i in range(8)], rel=1e-5)
    names = [f"{c}/{n:03}.png" for c in "ab" for n in range(4)] if decoded else ["a/000.png"] * 4 + ["b/000.png"] * 4
    assert [row[0] for row in rows] == names
    assert [row[1] for row in rows] == ["0"] * 8 if decoded else list("01230123")
    assert all((tmp_path / "out" / name).is_file() for name in names)


def test_soft_labels_of_jpeg_memories_are_a_table_too(tmp_path: Path) -> None:
    by_class = {c: torch.full((2, 3, 16, 16), 200, dtype=torch.uint8) for c in (0, 1)}
    memory = as_jpeg(by_class)
    rows = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    export_memory(stored(tmp_path / "m.safetensors", memory.with_soft_labels(rows, [0, 1])), tmp_path / "out")
    with (tmp_path / "out" / "soft_labels.csv").open(newline="") as text:
        assert [float(row[2]) for row in list(csv.reader(text))[1:]] == pytest.approx(rows[:, 0].tolist())


def test_jpeg_memories_are_decoded(tmp_path: Path) -> None:
    by_class = {0: torch.full((3, 3, 16, 16), 200, dtype=torch.uint8)}
    file = stored(tmp_path / "m.safetensors", as_jpeg(by_class))
    assert export_memory(file, tmp_path / "out") == 3
    with Image.open(tmp_path / "out" / "0" / "000.png") as image:
        assert abs(image.getpixel((3, 3))[0] - 200) <= 2


@pytest.mark.parametrize("kind", ["file", "full"])
def test_what_is_there_is_kept(tmp_path: Path, kind: str) -> None:
    file = stored(tmp_path / "m.safetensors", ExemplarSet.from_classes(images(1)))
    out = tmp_path / "out"
    if kind == "full":
        out.mkdir()
        out = tmp_path / "out"
        (out / "mine").write_text("mine")
    else:
        out.write_text("mine")
    with pytest.raises(UserError, match="out: holds files already; choose another"):
        export_memory(file, out)
    assert (out.read_text() if kind == "file" else (out / "mine").read_text()) == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    file = stored(tmp_path / "m.safetensors", ExemplarSet.from_classes(images(1)))
    assert export_memory(file, tmp_path / "out") == 1


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = stored(tmp_path / "m.safetensors", ExemplarSet.from_classes(images(1, 1)))

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("iid_cl.memory.export.replace", fail)
    with pytest.raises(UserError, match="out: cannot be written"):
        export_memory(file, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_channels_that_no_png_holds(tmp_path: Path) -> None:
    file = stored(tmp_path / "m.safetensors", ExemplarSet.from_classes(images(1, channels=2)))
    with pytest.raises(UserError, match="2 channels"):
        export_memory(file, tmp_path / "out")


def test_hostile_class_names_stay_inside(tmp_path: Path) -> None:
    names = folder_names(HOSTILE)
    assert len({name.casefold() for name in names}) == len(HOSTILE)
    for name in names:
        assert name == Path(name).name
        assert 0 < len(name.encode()) <= 90
        assert not name.startswith(".")
        assert not name.endswith((".", " "))
        assert not set(name) & set('/\\:*?"<>|\0\t')
        assert name.casefold() not in ("con", "com1.txt")
    file = stored(
        tmp_path / "m.safetensors", ExemplarSet.from_classes(images(*[1] * len(HOSTILE))), class_names=HOSTILE
    )
    export_memory(file, tmp_path / "inner" / "out")
    assert {path.name for path in (tmp_path / "inner").iterdir()} == {"out"}
    assert len(list((tmp_path / "inner" / "out").glob("*/000.png"))) == len(HOSTILE)


def test_harmless_names_stay_as_they_are() -> None:
    assert folder_names(["cat", "aquarium fish", "n01443537", "été"]) == ["cat", "aquarium fish", "n01443537", "été"]


def test_a_task_labelled_memory_names_class_and_task(tmp_path: Path) -> None:
    """Class 1 of task 1 is another class than class 1 of task 0, and has the first free number, 0."""
    keys = {"0": {"class": 1, "task": 1}, "1": {"class": 1, "task": 0}, "2": {"class": 2, "task": 1}}
    names = ["ant", "bee", "cat"]
    file = stored(tmp_path / "m.safetensors", ExemplarSet.from_classes(images(2, 1, 1)), class_names=names, keys=keys)
    export_memory(file, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {
        "bee task 1",
        "bee task 0",
        "cat task 1",
    }
    about = json.loads((tmp_path / "out" / "memory.json").read_text())
    first = {"index": 0, "class": 1, "task": 1, "name": "bee task 1", "folder": "bee task 1", "images": 2}
    assert about["classes"][0] == first


def test_without_names_class_and_task_are_numbers(tmp_path: Path) -> None:
    """As the buffers store what Avalanche's task-labelled benchmarks bring."""
    memory = Memory("random", 1)
    memory.update(images(4)[0], torch.tensor([3, 3, 12, 12]), tasks=torch.tensor([0, 0, 5, 5]))
    memory.update(LabelledImages(images(2)[0], torch.tensor([3, 3])), tasks=torch.tensor([5, 5]))
    assert memory.exemplars is not None
    file = stored(tmp_path / "m.safetensors", memory.exemplars, **memory.describe())
    export_memory(file, tmp_path / "out")
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert folders == {"03 task 0", "12 task 5", "03 task 5"}


@pytest.mark.parametrize(
    "keys",
    [[], {"0": 3}, {"0": {"class": "a", "task": 1}}, {"0": {"class": True, "task": 1}}, {"0": {"class": 10**300,
     "task": 0}}, {"0": {"class": 1, "task": 10**300}}, {"0": {"class": -1, "task": 0}}],
)  # fmt: skip
def test_forged_keys_are_left_out(tmp_path: Path, keys: object) -> None:
    file = stored(tmp_path / "m.safetensors", ExemplarSet.from_classes(images(1)), keys=keys)
    assert export_memory(file, tmp_path / "out") == 1
    assert (tmp_path / "out" / "0").is_dir()


def test_large_memories_are_written_a_few_images_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = ExemplarSet.from_classes(images(3, 2), partition=2)
    soft = memory.with_soft_labels(torch.rand(20, 2, generator=torch.Generator().manual_seed(0)), [0, 1])
    file = stored(tmp_path / "m.safetensors", soft)
    contents = []
    for name, most in (("whole", 2**26), ("bits", 1)):
        monkeypatch.setattr(exporting, "AT_ONCE", most)
        export_memory(file, tmp_path / name, decoded=True)
        paths = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / name): path.read_bytes() for path in paths})
    assert contents[0] == contents[1]


def test_a_table_far_larger_than_its_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "FEW_NUMBERS", 3)
    monkeypatch.setattr(exporting, "MOST_RATIO", 1)
    memory = ExemplarSet.from_classes(images(1, 1)).with_soft_labels(torch.ones(2, 1), [0])
    with pytest.raises(UserError, match="its 2 soft labels would be a table of 4 numbers"):
        export_memory(stored(tmp_path / "m.safetensors", memory), tmp_path / "out")
    assert not (tmp_path / "out").exists()
