"""JPEG memories: images come back, the header is paid once, and what is damaged or of another kind is refused."""

import dataclasses
import io
import json
import math

import pytest
import torch
from PIL import Image

from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.files import save_tensors
from iid_cl.memory import files
from iid_cl.memory.files import _old_digest, load_memory, save_memory
from iid_cl.memory.jpeg import JpegSet, decode, encode, files_in, fitting_as_jpeg, header_length


def pictures(count, seed=0, channels=3, height=16, width=24):
    """Smooth images, which JPEG keeps well."""
    corners = torch.rand(count, channels, 2, 2, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(corners, size=(height, width), mode="bilinear", align_corners=True)
    return (smooth * 255).round().to(torch.uint8)


GROUPS = {7: pictures(3, 1), 2: pictures(2, 2)}


def stored(groups=None, quality=80):
    groups = GROUPS if groups is None else groups
    shape = tuple(next(iter(groups.values())).shape[1:])
    return JpegSet.from_classes({c: encode(images, quality) for c, images in groups.items()}, shape, {"made": "here"})


@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_back_nearly(channels):
    groups = {c: pictures(2, c, channels) for c in (5, 0)}
    decoded = stored(groups, 90).decoded()
    assert decoded.labels.tolist() == [0, 0, 5, 5]
    assert decoded.images.dtype == torch.uint8
    original = torch.cat([groups[0], groups[5]])
    assert decoded.images.shape == original.shape
    assert (decoded.images.int() - original.int()).abs().float().mean() < 4


def test_each_file_is_what_pillow_writes_and_reads():
    memory = stored()
    for file, image in zip(memory.files(), torch.cat([GROUPS[2], GROUPS[7]]), strict=True):
        written = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(written, "JPEG", quality=80)
        assert file == written.getvalue()
    assert memory.files(torch.tensor([3])) == memory.files()[3:4]
    assert memory.files_by_class() == {2: memory.files()[:2], 7: memory.files()[2:]}


def test_the_header_is_stored_once():
    memory = stored()
    files = memory.files()
    header = header_length(files[0])
    assert memory.nbytes == header + sum(len(file) - header for file in files) + 5 * (4 + 2)
    assert memory.nbytes < sum(len(file) for file in files)


@pytest.mark.parametrize("quality", [1, 5, 25, 50, 75, 95])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_header_does_not_depend_on_the_image(quality, channels):
    shape = (4, channels, 24, 24)
    noise = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noise[0] = 0
    files = encode(noise, quality)
    assert len({file[: header_length(file)] for file in files}) == 1


def test_it_is_an_exemplar_set_like_others():
    memory = stored()
    assert (len(memory), memory.classes, memory.partition) == (5, [2, 7], 1)
    assert memory.labels.dtype == torch.int16
    assert memory.targets(9).tolist() == [2, 2, 7, 7, 7]
    assert torch.equal(memory.by_class()[7], memory.decoded().images[2:])


def test_rows_are_taken_with_their_bytes():
    memory = stored()
    taken = memory.take(torch.tensor([1, 2, 4]))
    assert taken.files() == [memory.files()[i] for i in (1, 2, 4)]
    assert taken.labels.tolist() == [2, 7, 7]
    assert taken.metadata == {"made": "here"}


def test_merging_adds_classes_and_takes_those_in_both_from_the_newer():
    older, newer = stored(), stored({4: pictures(1, 4), 7: pictures(1, 5)})
    merged = older.merge(newer)
    assert merged.labels.tolist() == [2, 2, 4, 7]
    assert merged.files() == [*older.files()[:2], *newer.files()]
    assert torch.equal(merged.header, older.header)


def test_memories_of_another_quality_or_shape_are_not_merged():
    for other in (stored(quality=70), stored({1: pictures(1, height=24, width=16)})):
        with pytest.raises(ValueError, match="stored in the same way"):
            stored().merge(other)


def test_files_of_another_quality_are_not_joined():
    files = {0: encode(pictures(1), 80), 1: encode(pictures(1), 70)}
    with pytest.raises(ValueError, match="one shape and quality"):
        JpegSet.from_classes(files, (3, 16, 24))


def test_what_fits_by_hand():
    files = stored().files()
    header = header_length(files[0])
    share = -(-header // 2)  # of each of two classes
    sizes = [len(file) - header + 6 for file in files]
    assert stored().fitting(share + sizes[2] + sizes[3]).tolist()[-2:] == [2, 3]
    assert stored().fitting(share + sizes[2] + sizes[3] - 1).tolist()[-1] == 2
    assert stored().fitting(10**6).tolist() == [0, 1, 2, 3, 4]
    assert files_in(files[2:], share + sizes[2] + sizes[3], 2) == 2
    assert files_in(files[2:], share + sizes[2] + sizes[3] - 1, 2) == 1
    assert files_in(files[2:], sizes[2], 0) == 1
    assert files_in(files[2:], share, 2) == 0


# --- soft labels


ROWS = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.0, 1.0], [225 / 226, 1 / 226]])  # as levels hold them


def soft():
    return stored().with_soft_labels(ROWS, [2, 7])


def test_soft_labels_are_targets_and_weigh_half_a_byte_an_entry():
    memory = soft()
    torch.testing.assert_close(memory.targets(8)[:, [2, 7]], ROWS)
    torch.testing.assert_close(memory.targets(8).sum(1), torch.ones(5))
    assert memory.nbytes == stored().nbytes + 5 + 2 * 2 * 2  # five images, two classes, two columns


def test_soft_labels_stay_with_their_images():
    taken = soft().take(torch.tensor([3, 4]))
    torch.testing.assert_close(taken.targets(8)[:, [2, 7]], ROWS[3:])
    assert taken.soft_labels.columns.tolist() == [[2, 7]]
    newer = stored({4: pictures(1, 4)}).with_soft_labels(torch.tensor([[0.5, 0.5, 0.0]]), [3, 4, 5])
    merged = soft().merge(newer)
    assert merged.targets(8)[2].tolist() == [0, 0, 0, 0.5, 0.5, 0, 0, 0]
    torch.testing.assert_close(merged.targets(8)[[0, 1, 3, 4, 5]][:, [2, 7]], ROWS)
    assert merged.soft_labels.columns.tolist() == [[2, 7, -1], [3, 4, 5], [2, 7, -1]]


def test_a_memory_with_soft_labels_is_not_merged_with_one_that_has_none():
    for one, other in ((soft(), stored()), (stored(), soft())):
        with pytest.raises(ValueError, match="stored in the same way"):
            one.merge(other)


def test_what_fits_with_soft_labels_by_hand():
    files = stored().files()
    header = header_length(files[0])
    # the header's half; two bytes for each of two columns of the class; a byte for two levels of each image
    sizes = [len(file) - header + 6 + 1 for file in files]
    room = -(-header // 2) + 4 + sizes[2] + sizes[3]
    assert soft().fitting(room).tolist()[-2:] == [2, 3]
    assert soft().fitting(room - 1).tolist()[-1] == 2
    assert files_in(files[2:], room, 2, 2) == 2
    assert files_in(files[2:], room - 1, 2, 2) == 1
    images = {7: GROUPS[7]}
    mean = (sizes[2] + sizes[3] + sizes[4]) / 3
    assert fitting_as_jpeg(images, header + 4 + math.ceil(2 * mean), 80, 1, 2) == 2
    assert fitting_as_jpeg(images, header + 4 + math.ceil(2 * mean) - 1, 80, 1, 2) == 1


@pytest.mark.parametrize("rows", [ROWS[:4], -ROWS, torch.zeros(5, 2)], ids=["too few", "negative", "of no class"])
def test_soft_labels_that_contradict_the_images_are_refused(rows):
    with pytest.raises(ValueError, match="soft labels"):
        stored().with_soft_labels(rows, [2, 7])


def test_soft_labels_are_written_and_read(tmp_path):
    save_memory(tmp_path / "m", soft())
    loaded = load_memory(tmp_path / "m")
    assert loaded.files() == stored().files()
    assert torch.equal(loaded.targets(8), soft().targets(8))
    assert loaded.nbytes == soft().nbytes
    again = files.memory_of_state(files.memory_state(soft()))
    assert torch.equal(again.targets(8), soft().targets(8))
    data = bytearray((tmp_path / "m").read_bytes())
    place = bytes(data).index(soft().soft_labels.tensors()["soft_labels"].numpy().tobytes())
    data[place] ^= 1
    (tmp_path / "m").write_bytes(bytes(data))
    with pytest.raises(UserError, match="don't match their checksum"):
        load_memory(tmp_path / "m")


# --- refusals


def grey(**changes):
    return dataclasses.replace(stored({0: pictures(2, channels=1, height=8, width=8)}), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": torch.zeros(3, dtype=torch.int16)},
        {"labels": torch.zeros(2)},
        {"ends": torch.tensor([5, 5], dtype=torch.int32)},
        {"ends": torch.tensor([5, 10**6], dtype=torch.int32)},
        {"ends": torch.tensor([[5, 6]], dtype=torch.int32)},
        {"ends": torch.tensor(5, dtype=torch.int32)},
        {"ends": torch.tensor([5, 6])},
        {"scans": torch.zeros(2, 3, dtype=torch.uint8)},
        {"header": torch.zeros(2, 3, dtype=torch.uint8)},
        {"header": torch.zeros(3)},
    ],
    ids=str,
)
def test_parts_that_contradict_each_other_are_refused(changes):
    with pytest.raises(ValueError, match=r"JPEG|labels|ends"):
        grey(**changes)


@pytest.mark.parametrize("damage", [lambda f: f[:20], lambda f: f[: len(f) // 2], lambda f: b"nothing", lambda f: b""])
def test_bytes_that_are_no_jpeg_are_refused(damage):
    file = encode(pictures(1), 80)[0]
    with pytest.raises(ValueError, match="is no JPEG"):
        decode(damage(file), (3, 16, 24))


@pytest.mark.parametrize("shape", [(1, 16, 24), (3, 24, 16), (3, 16, 16)])
def test_a_jpeg_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="24x16 is not of shape"):
        decode(encode(pictures(1), 80)[0], shape)


def test_a_picture_of_monstrous_size_is_refused():
    file = bytearray(encode(pictures(1), 80)[0])
    start = file.index(b"\xff\xc0")  # start of frame: length, precision, height, width
    file[start + 5 : start + 9] = b"\xff\xf0\xff\xf0"
    with pytest.raises(ValueError, match="is no JPEG"):
        decode(bytes(file), (3, 65520, 65520))


# --- files


@pytest.fixture
def path(tmp_path):
    save_memory(tmp_path / "m.safetensors", stored(), {"seed": 3})
    return tmp_path / "m.safetensors"


def test_what_is_written_comes_back(path):
    loaded = load_memory(path)
    assert isinstance(loaded, JpegSet)
    assert loaded.files() == stored().files()
    assert loaded.labels.tolist() == [2, 2, 7, 7, 7]
    assert loaded.shape == (3, 16, 24)
    assert (loaded.metadata["made"], loaded.metadata["seed"]) == ("here", 3)
    assert isinstance(loaded.decoded(), LabelledImages)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.9, 0.999])
def test_a_flipped_bit_is_found(path, place):
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"m\.safetensors: is "):
        load_memory(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_found(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"m\.safetensors: is "):
        load_memory(path)


def rewritten(path, memory, **header):
    """A file whose checksum is right, whatever it holds."""
    digest = _old_digest(memory.tensors(), 1)
    whole = {"format": files.FORMAT, "version": 3, "sha256": digest, "shape": [3, 16, 24], **header}
    save_tensors(path, memory.tensors(), {"iid_cl": json.dumps(whole)})


def test_sound_bytes_that_are_no_images_are_found(path):
    memory = stored()
    broken = dataclasses.replace(memory, header=memory.header.flip(0))
    rewritten(path, broken)
    with pytest.raises(UserError, match="is not a usable memory: an image is no JPEG"):
        load_memory(path)


@pytest.mark.parametrize("shape", [[3, 16], [3, 16, 16], ["a", 1, 2], None, 5], ids=str)
def test_a_shape_that_is_none_or_another_is_found(path, shape):
    rewritten(path, stored(), shape=shape)
    with pytest.raises(UserError, match=r"m\.safetensors: is "):
        load_memory(path)


def test_ends_of_another_form_are_found(path):
    memory = stored()
    tensors = {**memory.tensors(), "ends": memory.ends[None]}
    header = {"format": files.FORMAT, "version": 3, "sha256": _old_digest(tensors, 1), "shape": [3, 16, 24]}
    save_tensors(path, tensors, {"iid_cl": json.dumps(header)})
    with pytest.raises(UserError, match="is not a usable memory"):
        load_memory(path)


def test_a_long_header_is_found(path):
    memory = stored()
    with pytest.raises(ValueError, match="too long"):
        dataclasses.replace(memory, header=torch.zeros(5000, dtype=torch.uint8))


def test_ends_that_overflow_are_found():
    """As 32-bit numbers, their differences would all be positive."""
    memory = stored()
    ends = torch.tensor([2**31 - 1, -(2**31), -1, 10, len(memory.scans)], dtype=torch.int32)
    with pytest.raises(ValueError, match="contradict"):
        dataclasses.replace(memory, ends=ends)


@pytest.mark.parametrize("shape", [[3, 10**6, 10**6], [3, -16, 24], [3, 16, 1e400], [True, 16, 24], [0, 0, 0]], ids=str)
def test_a_shape_that_no_machine_holds_is_found(path, shape):
    rewritten(path, stored(), shape=shape)
    with pytest.raises(UserError, match=r"m\.safetensors: is "):
        load_memory(path)


def test_a_progressive_jpeg_is_none():
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16)).save(buffer, "JPEG", progressive=True)
    with pytest.raises(ValueError, match="progressive"):
        decode(buffer.getvalue(), (3, 16, 24))
