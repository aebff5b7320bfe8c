"""Forged memory files: small ones that claim to be large are refused before they cost anything."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from iid_cl.errors import UserError
from iid_cl.memory import bounds, jpeg
from iid_cl.memory.bounds import check_images, check_metadata
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import FORMAT, VERSION, _digest, load_memory, save_memory
from iid_cl.memory.jpeg import JpegSet, encode, header_length


def forge(path: Path, tensors: Mapping[str, Tensor], **header: Any) -> Path:
    """A file with a right checksum, whatever it holds."""
    about = json.loads(json.dumps({"format": FORMAT, "version": VERSION, "partition": 1, **header}))
    about["sha256"] = _digest(tensors, about)
    path.write_bytes(save({name: t.contiguous() for name, t in tensors.items()}, {"iid_cl": json.dumps(about)}))
    return path


def plain(count: int = 1, size: int = 8) -> dict[str, Tensor]:
    images = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    return {"images": images, "labels": torch.arange(count).to(torch.int16)}


def as_jpeg(file: bytes, count: int) -> dict[str, Tensor]:
    """The same JPEG file several times."""
    cut = header_length(file)
    ends = (torch.arange(1, count + 1) * (len(file) - cut)).to(torch.int32)
    header, scans = (torch.tensor(list(data), dtype=torch.uint8) for data in (file[:cut], file[cut:] * count))
    return {"header": header, "scans": scans, "ends": ends, "labels": torch.zeros(count, dtype=torch.int16)}


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def counted_decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each image that is decoded."""
    calls: list[int] = []
    for name in ("opened", "opened_alike"):
        genuine = getattr(jpeg, name)
        monkeypatch.setattr(jpeg, name, lambda *given, genuine=genuine: calls.append(1) or genuine(*given))
    return calls


@pytest.mark.parametrize("levels", [40, 600])
def test_nested_metadata_are_refused(tmp_path: Path, levels: int) -> None:
    with pytest.raises(UserError, match="nested more than 32 deep"):
        load_memory(forge(tmp_path / "m.safetensors", plain(), choice=nested(levels)))


def test_metadata_may_be_as_deep_as_any_of_ours() -> None:
    check_metadata({"choice": nested(31)})
    with pytest.raises(ValueError, match="nested"):
        check_metadata({"choice": nested(32)})


@pytest.mark.parametrize("names", [["k" * 20_000], ["a", "k" * 1001]])
def test_endless_names_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(UserError, match=r"a class has a name of [\d,]+ characters"):
        load_memory(forge(tmp_path / "m.safetensors", plain(2), class_names=names))


@pytest.mark.parametrize("metadata", [{"class_names": ["k" * 2000]}, {"x": nested(600)}, {"x": nested(5000)}])
def test_what_could_not_be_read_is_not_written(tmp_path: Path, metadata: dict[str, Any]) -> None:
    memory = ExemplarSet.from_classes({0: torch.zeros(1, 1, 2, 2, dtype=torch.uint8)})
    with pytest.raises(UserError, match=r"m\.safetensors: cannot be written, as .*; use less"):
        save_memory(tmp_path / "m.safetensors", memory, metadata)
    assert list(tmp_path.iterdir()) == []


def test_a_partition_that_unfolds_to_terabytes_is_refused(tmp_path: Path) -> None:
    file = forge(tmp_path / "m.safetensors", plain(1, 1024), partition=1024)
    with pytest.raises(UserError, match="1,048,576 images of 1,048,576 bytes are too much"):
        load_memory(file)


def test_a_jpeg_of_enormous_size_is_refused_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that claims 13,000 x 13,000 pixels on a scan of 16 x 16."""
    file = bytearray(encode(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 90)[0])
    start = file.index(b"\xff\xc0")
    file[start + 5 : start + 9] = 2 * (13_000).to_bytes(2, "big")
    monkeypatch.setattr(jpeg, "opened", None)
    bomb = forge(tmp_path / "m.safetensors", as_jpeg(bytes(file), 2), shape=[3, 13_000, 13_000])
    with pytest.raises(UserError, match="2 images of 507,000,000 bytes are too much"):
        load_memory(bomb)


def test_the_flattest_images_in_our_own_format_are_within_the_ratio() -> None:
    """Whatever is written can be read: no image takes fewer bytes than one of a single colour at the worst quality."""
    for channels in (1, 3):
        for value in (0, 128, 255):
            (file,) = encode(torch.full((1, channels, 512, 512), value, dtype=torch.uint8), 1)
            assert channels * 512 * 512 < bounds.MOST_RATIO * (len(file) - header_length(file))


@pytest.mark.parametrize(
    ("images", "each", "stored", "said"),
    [
        (0, 9, 9, "no pixels"),
        (9, 0, 9, "no pixels"),
        (2**20 + 1, 1, 2**22, "too much for a memory"),
        (1, 2**26 + 1, 2**26 + 1, "too much for a memory"),
        (2**10, 2**22 + 1, 2**32, "too much for a memory"),
        (2**10, 2**18, 2**20, "262,144 bytes are too much for 1,048,576 stored bytes"),
    ],
)
def test_more_than_the_bounds_is_refused(images: int, each: int, stored: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_images(images, each, stored)


@pytest.mark.parametrize(("images", "each", "stored"), [(2**20, 1, 1), (2**10, 2**22, 2**32), (2**10, 2**17, 1)])
def test_what_is_within_the_bounds_passes(images: int, each: int, stored: int) -> None:
    check_images(images, each, stored)


def test_more_files_than_can_be_opened_in_seconds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = encode(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), 50)
    monkeypatch.setattr(jpeg, "FEW_FILES", 3)
    assert len(load_memory(forge(tmp_path / "3.safetensors", as_jpeg(file, 3), shape=[1, 8, 8]))) == 3
    with pytest.raises(UserError, match="4 images of shape"):
        load_memory(forge(tmp_path / "4.safetensors", as_jpeg(file, 4), shape=[1, 8, 8]))


def test_a_jpeg_of_several_scans_is_refused(tmp_path: Path) -> None:
    """Each scan may decode the whole image again: 10 bytes of scan for a pass over all pixels."""
    (file,) = encode(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 90)
    start = file.index(b"\xff\xda")
    one = bytes([0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0])  # a start of scan of the first component alone
    changed = file[:start] + one + file[header_length(file) :]
    with pytest.raises(UserError, match="several scans"):
        load_memory(forge(tmp_path / "m.safetensors", as_jpeg(changed, 1), shape=[3, 16, 16]))


def test_a_huge_safetensors_header_is_refused_unparsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iid_cl.memory.files.safe_open", None)
    path = tmp_path / "m.safetensors"
    path.write_bytes((2**25 + 1).to_bytes(8, "little") + b"{" * 100)
    with pytest.raises(UserError, match="header of 33,554,433 bytes"):
        load_memory(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.bool, torch.uint16, torch.float8_e5m2])
@pytest.mark.parametrize("name", ["images", "labels"])
def test_tensors_of_odd_types_are_refused(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    tensors = plain(2)
    good = ExemplarSet(**tensors)
    path = forge(tmp_path / "m.safetensors", good.tensors())
    header = json.dumps({"format": FORMAT, "version": VERSION, "partition": 1, "sha256": ""})
    path.write_bytes(save({**tensors, name: tensors[name].to(dtype)}, {"iid_cl": header}))
    with pytest.raises(UserError, match=r"is not a usable memory|not a memory"):
        load_memory(path)


def test_one_pass_serves_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of a JPEG memory are decoded once, whatever the number of classes."""
    calls = counted_decodings(monkeypatch)
    (file,) = encode(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), 50)
    memory = JpegSet.from_classes({c: [file] * 2 for c in range(50)}, (1, 8, 8))
    assert {c: len(images) for c, images in memory.by_class().items()} == dict.fromkeys(range(50), 2)
    assert len(calls) == 100


def test_images_of_one_header_are_decoded_as_each_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    for channels in (1, 3):
        images = torch.randint(256, (5, channels, 16, 24), dtype=torch.uint8, generator=generator)
        files = encode(images, 80)
        decoded = JpegSet.from_classes({0: files}, (channels, 16, 24)).decoded().images
        assert torch.equal(decoded, torch.stack([jpeg.decode(file, (channels, 16, 24)) for file in files]))


@pytest.mark.parametrize("scan", [b"", b"\0" * 40], ids=["nothing", "zeros"])
def test_a_later_image_that_is_cut_off_is_found(scan: bytes) -> None:
    files = encode(torch.randint(256, (2, 1, 64, 64), dtype=torch.uint8), 80)
    cut = header_length(files[0])
    memory = JpegSet.from_classes({0: [files[0], files[1][:cut] + scan + b"\0"]}, (1, 64, 64))
    with pytest.raises(ValueError, match="an image is no JPEG"):
        memory.check()


def test_many_classes_are_told_apart_quickly() -> None:
    """32,768 classes of 3 images: a mask for each class would look at 3.2 billion labels."""
    labels = torch.arange(2**15).repeat_interleave(3).to(torch.int16)
    memory = ExemplarSet(torch.arange(len(labels)).to(torch.uint8).view(-1, 1, 1, 1), labels)
    by_class = memory.by_class()
    assert len(by_class) == 2**15
    assert by_class[1000].flatten().tolist() == [(3000 + i) % 256 for i in range(3)]
    assert memory.fitting(6)[-2:].tolist() == [3 * 2**15 - 3, 3 * 2**15 - 2]  # two of a byte with a label of two


def test_a_progressive_header_is_still_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(buffer, "JPEG", progressive=True)
    with pytest.raises(UserError, match=r"progressive|several scans|no JPEG"):
        load_memory(forge(tmp_path / "m.safetensors", as_jpeg(buffer.getvalue(), 1), shape=[3, 16, 16]))
