"""Images on disk behave as tensors: every case is compared with the same operation in memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from iid_cl.data.images import ImageDataset, LabelledImages, Normalization, by_label, limit_images, validation_split
from iid_cl.data.mapped import Mapped, chunks, in_memory

IMAGES = torch.randint(256, (12, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
OTHERS = IMAGES.flip(0)


@pytest.fixture
def mapped(tmp_path: Path) -> Mapped:
    path = tmp_path / "images.u8"
    path.write_bytes(IMAGES.numpy().tobytes())
    return Mapped.of_file(path, (12, 3, 4, 5))


MASK = torch.arange(12) % 3 == 0
CHOICES: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda images: images[torch.tensor([[3, 1], [0, 3]])],
    "list": lambda images: images[[5, 2]],
    "mask": lambda images: images[MASK],
    "slice": lambda images: images[2:9:3],
    "one": lambda images: images[-1],
    "selected": lambda images: images.index_select(0, torch.tensor([4, 4])),
    "split": lambda images: images.split(5)[2],
    "split by sizes": lambda images: images.split([1, 4, 7])[1],
    "unbound": lambda images: list(images)[7],
    "joined": lambda images: torch.cat([images[3:5], images[:2]]),
    "joined with others": lambda images: torch.cat([OTHERS, torch.cat([images, OTHERS])[10:14], images[:1]]),
    "detached": lambda images: images.detach()[1:].cpu(),
}
VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "floats": lambda images: images[MASK].to(torch.float32).div_(255),
    "normalised": lambda images: Normalization((0.5,) * 3, (0.2,) * 3).apply(images[2:]),
    "rows of rows": lambda images: images[torch.tensor([[3, 1], [0, 3]])].flatten(0, 1).clone(),
    "written into": lambda images: torch.index_select(
        images[MASK], 0, torch.tensor([2, 0]), out=images.new_empty(2, 3, 4, 5)
    ),
    "written into from several files": lambda images: torch.index_select(
        torch.cat([images, OTHERS]), 0, torch.tensor([20, 2, 13]), out=OTHERS.new_empty(3, 3, 4, 5)
    ),
    "columns": lambda images: images[:, 1, :, 2:],
    "mean": lambda images: images.double().mean((0, 2, 3)),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choosing_rows_reads_nothing(mapped: Mapped, name: str) -> None:
    chosen, expected = CHOICES[name](mapped), CHOICES[name](IMAGES)
    assert isinstance(chosen, Mapped)
    assert (chosen.shape, chosen.dtype) == (expected.shape, expected.dtype)
    torch.testing.assert_close(in_memory(chosen), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", VALUES)
def test_values_are_those_in_memory(mapped: Mapped, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And of rows that are chosen no others are read."""
    read, rows = Mapped.read, []
    monkeypatch.setattr(Mapped, "read", lambda images: rows.append(images._rows.numel()) or read(images))
    values = VALUES[name](mapped)
    assert all(count <= 4 for count in rows) or name in ("normalised", "columns", "mean")
    assert not isinstance(values, Mapped)
    torch.testing.assert_close(values, VALUES[name](IMAGES), rtol=0, atol=0)


def resident(path: Path) -> int:
    """KiB of a file that count as this process's memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    found = 0
    for line in lines:
        if line.endswith(str(path)):
            found += next(int(other.split()[1]) for other in lines if other.startswith("Rss:"))
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="only Linux says what is resident")
def test_pages_that_were_read_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "images.u8"
    content = torch.randint(256, (64, 1, 64, 64), dtype=torch.uint8)
    path.write_bytes(content.numpy().tobytes())
    images = Mapped.of_file(path, (64, 1, 64, 64))
    torch.testing.assert_close(images.read(), content)
    assert resident(path) == 256  # KiB
    monkeypatch.setattr("iid_cl.data.mapped.RESIDENT", 2**18)  # the next image is beyond it
    torch.testing.assert_close(images[5].clone(), content[5])
    assert resident(path) == 0
    torch.testing.assert_close(images.read(), content)


def test_what_was_written_into_a_private_array_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("iid_cl.data.mapped.RESIDENT", 0)
    (tmp_path / "images.u8").write_bytes(bytes(4))
    array = np.memmap(tmp_path / "images.u8", np.uint8, "c", shape=(1, 1, 2, 2))
    array[:] = 7
    images = Mapped.of_array(array)
    for _ in range(2):
        assert images.read().flatten().tolist() == [7, 7, 7, 7]


def test_nothing_writes_to_the_file(mapped: Mapped) -> None:
    for write in (lambda: mapped.zero_(), lambda: mapped[:2].add_(1), lambda: mapped.__setitem__(0, 7)):
        with pytest.raises(RuntimeError):
            write()
    mapped[torch.arange(3)].clone().zero_()
    torch.testing.assert_close(mapped.read(), IMAGES)


def test_chunks_are_all_images_in_order(mapped: Mapped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iid_cl.data.mapped.CHUNK", 5 * 60)  # five images of 60 bytes
    assert [len(chunk) for chunk in chunks(mapped)] == [5, 5, 2]
    torch.testing.assert_close(torch.cat(list(chunks(mapped))), IMAGES)


def test_data_sets_are_cut_without_reading(mapped: Mapped) -> None:
    labels = torch.arange(12) % 2
    whole = [
        ImageDataset("x", part, part, ("0", "1"), Normalization((0.5,) * 3, (0.2,) * 3), ())
        for part in (LabelledImages(images, labels) for images in (mapped, IMAGES))
    ]
    for cut in (
        lambda data: limit_images(data, 2, 1).train,
        lambda data: validation_split(data, 0.5, torch.Generator().manual_seed(1)).test,
        lambda data: data.train.of_classes([1]),
    ):
        on_disk, expected = map(cut, whole)
        assert isinstance(on_disk.images, Mapped)
        assert all(isinstance(images, Mapped) for images in by_label(on_disk.images, on_disk.labels).values())
        torch.testing.assert_close(on_disk.images.read(), expected.images)
