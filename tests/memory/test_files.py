"""Memories on disk: what is written comes back, a failed write leaves no trace, damaged files are named."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import pickle
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet, SoftLabels
from iid_cl.memory.files import FORMAT, VERSION, load_memory, save_memory


def example(value=7):
    generator = torch.Generator().manual_seed(value)
    groups = {c: torch.randint(256, (2, 1, 3, 4), dtype=torch.uint8, generator=generator) for c in (1, 4)}
    return ExemplarSet.from_classes(groups, {"method": "distilled", "seed": value, "settings": {"lr": 0.5}})


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "memory.safetensors"
    save_memory(path, example())
    return path


def foreign(path, tensors=None, header=None, key="iid_cl"):
    """A safetensors file with any tensors and metadata."""
    good = {"images": example().images, "labels": example().labels}
    metadata = {key: header if isinstance(header, str) else json.dumps(header)} if header is not None else None
    save_file(tensors or good, path, metadata)
    return path


GOOD_HEADER = {
    "format": FORMAT,
    "version": 3,  # whose checksum is of the tensors alone
    "sha256": hashlib.sha256(example().images.numpy().tobytes() + example().labels.numpy().tobytes()).hexdigest(),
}


def assert_refused(path, *words):
    with pytest.raises(UserError) as caught:
        load_memory(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


# --- there and back


def test_round_trip(stored):
    memory, loaded = example(), load_memory(stored)
    assert torch.equal(loaded.images, memory.images)
    assert torch.equal(loaded.labels, memory.labels)
    assert (loaded.images.dtype, loaded.labels.dtype) == (torch.uint8, torch.int16)
    assert loaded.nbytes == memory.nbytes
    for key, value in memory.metadata.items():
        assert loaded.metadata[key] == value


def test_metadata_given_when_saving_joins_the_memorys_own(tmp_path):
    path = tmp_path / "m.safetensors"
    save_memory(path, example(), {"classes": ["één", "β"], "seed": 9})
    metadata = load_memory(path).metadata
    assert metadata["classes"] == ["één", "β"]
    assert metadata["seed"] == 9
    assert metadata["method"] == "distilled"


def test_a_loaded_memory_can_be_saved_again(stored, tmp_path):
    again = tmp_path / "again.safetensors"
    save_memory(again, load_memory(stored))
    assert again.read_bytes() == stored.read_bytes()


def test_equal_memories_make_equal_bytes(stored, tmp_path):
    other = tmp_path / "other.safetensors"
    save_memory(other, example())
    assert other.read_bytes() == stored.read_bytes()


def test_images_that_are_views_are_stored_as_they_look(tmp_path):
    images = torch.arange(48, dtype=torch.uint8).view(2, 4, 6, 1).permute(0, 3, 1, 2)[:, :, ::2]
    path = tmp_path / "m.safetensors"
    save_memory(path, ExemplarSet(images, torch.tensor([0, 1], dtype=torch.int16)))
    assert torch.equal(load_memory(path).images, images)


def test_folders_are_made_on_the_way(tmp_path):
    path = tmp_path / "a" / "b" / "m.safetensors"
    save_memory(path, example())
    assert len(load_memory(path)) == 4


def test_file_holds_raw_pixels_behind_a_json_header(stored):
    data = stored.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    start, end = header["images"]["data_offsets"]
    assert data[8 + length :][start:end] == example().images.numpy().tobytes()
    assert json.loads(header["__metadata__"]["iid_cl"])["format"] == FORMAT


# --- whole or not at all


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(stored, monkeypatch, call):
    before = stored.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        save_memory(stored, example(8))
    assert stored.read_bytes() == before
    assert [p.name for p in stored.parent.iterdir()] == [stored.name]


def test_a_successful_write_leaves_no_temporary_file(stored):
    save_memory(stored, example(8))
    assert [p.name for p in stored.parent.iterdir()] == [stored.name]
    assert load_memory(stored).metadata["seed"] == 8


def test_the_new_file_replaces_the_old_in_one_step(stored, monkeypatch):
    """Until the rename the old file is whole, and what is renamed is whole already."""
    before, moves = stored.read_bytes(), []
    genuine = os.replace

    def watched(source, target):
        moves.append((stored.read_bytes(), load_memory(source).metadata["seed"], target))
        genuine(source, target)

    monkeypatch.setattr(os, "replace", watched)
    save_memory(stored, example(8))
    assert moves == [(before, 8, stored)]


def test_a_folder_of_the_files_name_is_a_users_error(tmp_path):
    path = tmp_path / "m.safetensors"
    path.mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        save_memory(path, example())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


# --- what is read is checked


def test_a_missing_file_is_named(tmp_path):
    assert_refused(tmp_path / "absent.safetensors", "no such file")


def test_a_folder_is_no_memory(tmp_path):
    assert_refused(tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"")
    assert_refused(path, "damaged")


def test_every_truncation_is_refused(stored):
    data = stored.read_bytes()
    for length in range(0, len(data), 3):
        stored.write_bytes(data[:length])
        assert_refused(stored)
    stored.write_bytes(data[:-1])
    assert_refused(stored)


def test_bytes_too_many_are_refused(stored):
    stored.write_bytes(stored.read_bytes() + b"\x00")
    assert_refused(stored, "damaged")


def test_a_flipped_bit_of_the_length_is_refused(stored):
    data = stored.read_bytes()
    for bit in range(64):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        stored.write_bytes(damaged)
        assert_refused(stored)


def outcome(path):
    """The memory, or the sentence that refuses it."""
    try:
        return load_memory(path)
    except UserError as error:
        return str(error)


def test_a_flipped_bit_of_the_header_never_escapes_as_another_error(stored):
    """Whatever still loads is the same memory; all others are a sentence that names the file."""
    data = stored.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    outcomes, whole = [], load_memory(stored)
    for position in range(8, 8 + length):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (3 * position) % 8
        stored.write_bytes(damaged)
        outcomes.append(outcome(stored))
    sentences = [x for x in outcomes if isinstance(x, str)]
    assert len(sentences) > length / 2
    assert all(x.startswith(f"{stored}: ") for x in sentences)
    for loaded in outcomes:
        if not isinstance(loaded, str):
            assert torch.equal(loaded.images, example().images)
            assert torch.equal(loaded.labels, example().labels)
            assert {**loaded.metadata, "sha256": ""} == {**whole.metadata, "sha256": ""}


def test_a_file_of_another_program_is_refused(tmp_path):
    assert_refused(foreign(tmp_path / "m"), "not a memory written by iid-cl")


@pytest.mark.parametrize(
    "header",
    [
        "no json",
        "[]",
        "3",
        "null",
        '"text"',
        {},
        {"format": "something else", "version": VERSION},
        {"format": FORMAT},
        {"format": FORMAT, "version": "1"},
        {"format": FORMAT, "version": None},
        {"format": FORMAT, "version": 1.5},
    ],
    ids=str,
)
def test_metadata_that_is_not_ours_is_refused(tmp_path, header):
    assert_refused(foreign(tmp_path / "m", header=header), "not a memory written by iid-cl")


def test_metadata_under_another_key_is_refused(tmp_path):
    assert_refused(foreign(tmp_path / "m", header=GOOD_HEADER, key="other"), "not a memory written by iid-cl")


def test_a_flipped_bit_of_a_pixel_or_label_is_noticed(stored):
    whole = stored.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for position in range(start, len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 4
        stored.write_bytes(bytes(flipped))
        assert_refused(stored)


def test_metadata_cannot_pass_for_another_format(tmp_path):
    save_memory(tmp_path / "m", example(), {"version": 99, "format": "other"})
    assert load_memory(tmp_path / "m").metadata["version"] == VERSION


def test_a_memory_is_as_readable_as_any_new_file(tmp_path):
    save_memory(tmp_path / "m", example())
    (tmp_path / "other").touch()
    assert (tmp_path / "m").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_newer_version_asks_for_an_update(tmp_path):
    path = foreign(tmp_path / "m", header={"format": FORMAT, "version": VERSION + 1})
    assert_refused(path, str(VERSION + 1), "newer", "update iid-cl")


def test_our_header_on_good_tensors_is_accepted(tmp_path):
    assert len(load_memory(foreign(tmp_path / "m", header=GOOD_HEADER))) == 4


LABELS = torch.tensor([0, 1], dtype=torch.int16)
PIXELS = torch.zeros(2, 1, 3, 3, dtype=torch.uint8)


@pytest.mark.parametrize(
    "tensors",
    [
        {"images": PIXELS.float(), "labels": LABELS},
        {"images": PIXELS.to(torch.int8), "labels": LABELS},
        {"images": PIXELS.half(), "labels": LABELS},
        {"images": PIXELS[:, 0], "labels": LABELS},
        {"images": PIXELS, "labels": LABELS.long()},
        {"images": PIXELS, "labels": LABELS[:1]},
        {"images": PIXELS, "labels": LABELS[:, None]},
        {"images": PIXELS, "labels": -LABELS},
        {"images": PIXELS[:0], "labels": LABELS[:0]},
        {"images": PIXELS},
        {"labels": LABELS},
    ],
    ids=[
        "float32", "int8", "float16", "no channels", "int64 labels", "too few labels", "labels of two dimensions",
        "negative labels", "empty", "no labels", "no images",
    ],
)  # fmt: skip
def test_contents_that_are_no_memory_are_refused(tmp_path, tensors):
    assert_refused(foreign(tmp_path / "m", tensors=tensors, header=GOOD_HEADER))


# --- partition and soft labels


def soft_example():
    """Two classes of one 4x4 image each, four parts per image, over three columns of which the last is empty for 4."""
    generator = torch.Generator().manual_seed(3)
    groups = {c: torch.randint(256, (1, 1, 4, 4), dtype=torch.uint8, generator=generator) for c in (1, 4)}
    rows = torch.randint(1, 16, (8, 3), generator=generator, dtype=torch.uint8)
    rows[4:, 2] = 0
    columns = torch.tensor([[1, 2, 3], [4, 5, -1]], dtype=torch.int16)
    plain = ExemplarSet.from_classes(groups, {"method": "distilled"}, partition=2)
    return dataclasses.replace(plain, soft_labels=SoftLabels(rows, columns))


def tensors_of(memory):
    found = {"images": memory.images, "labels": memory.labels}
    if memory.soft_labels is not None:
        found |= memory.soft_labels.tensors()
    return found


def header_of(tensors, **changes):
    """A header whose checksum fits the tensors, in the order images, labels, soft labels, their classes, and the
    partition where there is one."""
    data = b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors.values())
    partition = changes.get("partition", 1)
    digest = hashlib.sha256(data if partition == 1 else data + f"partition {partition}".encode())
    return {"format": FORMAT, "version": 3, "sha256": digest.hexdigest(), **changes}


def test_round_trip_of_partition_and_soft_labels(tmp_path):
    memory, path = soft_example(), tmp_path / "m.safetensors"
    save_memory(path, memory)
    loaded = load_memory(path)
    assert loaded.partition == 2
    for name, tensor in tensors_of(memory).items():
        assert torch.equal(tensors_of(loaded)[name], tensor), name
        assert tensors_of(loaded)[name].dtype == tensor.dtype
    assert loaded.nbytes == memory.nbytes
    assert torch.equal(loaded.targets(6), memory.targets(6))
    assert torch.equal(loaded.decoded().images, memory.decoded().images)
    again = tmp_path / "again.safetensors"
    save_memory(again, loaded)
    assert again.read_bytes() == path.read_bytes()


def test_round_trip_of_a_partition_alone(tmp_path):
    memory = dataclasses.replace(soft_example(), soft_labels=None)
    save_memory(tmp_path / "m", memory)
    loaded = load_memory(tmp_path / "m")
    assert loaded.partition == 2
    assert loaded.soft_labels is None
    assert load_file(tmp_path / "m").keys() == {"images", "labels"}


def test_a_memory_without_either_comes_back_without_either(stored):
    assert load_memory(stored).partition == 1
    assert load_memory(stored).soft_labels is None


def test_the_memorys_own_partition_stands_before_metadata_of_that_name(tmp_path):
    save_memory(tmp_path / "m", example(), {"partition": 3})
    assert load_memory(tmp_path / "m").partition == 1


def test_a_hand_made_file_with_soft_labels_is_read(tmp_path):
    tensors = tensors_of(soft_example())
    path = foreign(tmp_path / "m", tensors, header_of(tensors, partition=2))
    assert torch.equal(load_memory(path).targets(6), soft_example().targets(6))


def test_probabilities_before_format_7_are_read(tmp_path):
    rows = torch.tensor([[0.9, 0.1, 0.0]] * 4 + [[0.5, 0.5, 0.0]] * 4).half()
    tensors = tensors_of(soft_example()) | {"soft_labels": rows}
    loaded = load_memory(foreign(tmp_path / "m", tensors, header_of(tensors, partition=2)))
    assert loaded.soft_labels.levels.tolist() == [[15, 5, 0]] * 4 + [[15, 15, 0]] * 4  # 5 * 5 * 9 = 15 * 15
    torch.testing.assert_close(loaded.targets(6)[0], torch.tensor([0, 0.9, 0.1, 0, 0, 0]))


def test_files_of_the_first_format_have_no_partition(tmp_path):
    header = {"format": "iid-cl memory", "version": 1, "sha256": GOOD_HEADER["sha256"], "method": "herding"}
    loaded = load_memory(foreign(tmp_path / "m", header=header))
    assert loaded.partition == 1
    assert loaded.soft_labels is None
    assert torch.equal(loaded.images, example().images)
    assert loaded.metadata["method"] == "herding"


@pytest.mark.parametrize("partition", [3, 8, 0, -2], ids=str)
def test_a_partition_that_does_not_divide_the_images_is_refused(tmp_path, partition):
    tensors = tensors_of(dataclasses.replace(soft_example(), soft_labels=None))
    assert load_memory(foreign(tmp_path / "good", tensors, header_of(tensors, partition=4))).partition == 4
    path = foreign(tmp_path / "m", tensors, header_of(tensors, partition=partition))
    assert_refused(path, "not a usable memory", f"partition of {partition} does not divide")


@pytest.mark.parametrize("partition", ["2", 2.0, None, [2], True, False], ids=str)
def test_a_partition_that_is_no_whole_number_is_refused(tmp_path, partition):
    tensors = tensors_of(dataclasses.replace(soft_example(), soft_labels=None))
    path = foreign(tmp_path / "m", tensors, header_of(tensors, partition=partition))
    assert_refused(path, "not a memory written by iid-cl")


@pytest.mark.parametrize("partition", [1, 4, None])
def test_a_partition_that_is_another_than_when_written_is_noticed(tmp_path, partition):
    memory, path = dataclasses.replace(soft_example(), soft_labels=None), tmp_path / "m"
    save_memory(path, memory)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["iid_cl"])
    assert load_memory(foreign(tmp_path / "same", tensors_of(memory), header)).partition == 2
    header = {key: value for key, value in {**header, "partition": partition}.items() if value is not None}
    assert_refused(foreign(tmp_path / "other", tensors_of(memory), header), "checksum")


def test_the_checksum_is_of_names_types_shapes_bytes_and_metadata(stored):
    with safe_open(stored, framework="pt") as file:
        header = json.loads(file.metadata()["iid_cl"])
    claimed, memory = header.pop("sha256"), example()
    data = json.dumps(header, sort_keys=True).encode()
    data += b"\nimages torch.uint8 [4, 1, 3, 4]\n" + memory.images.numpy().tobytes()
    data += b"\nlabels torch.int16 [4]\n" + memory.labels.numpy().tobytes()
    assert claimed == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("partition", [1, 4])
def test_a_partition_that_contradicts_the_soft_labels_is_refused(tmp_path, partition):
    tensors = tensors_of(soft_example())
    assert_refused(foreign(tmp_path / "m", tensors, header_of(tensors, partition=partition)), "soft labels of (8, 3)")


def soft_changes():
    rows, columns = soft_example().soft_labels.tensors().values()
    older = soft_example().soft_labels.probabilities.half()
    return {
        "float32": {"soft_labels": rows.float()},
        "int64 classes": {"soft_classes": columns.long()},
        "too few rows": {"soft_labels": rows[:7]},
        "too few class rows": {"soft_classes": columns[:1]},
        "too narrow": {"soft_labels": rows[:, :1].contiguous()},
        "one dimension": {"soft_labels": rows.flatten()},
        "negative": {"soft_labels": -older},
        "above one": {"soft_labels": 2 + older},
        "no numbers": {"soft_labels": older * torch.nan},
        "too narrow before format 7": {"soft_labels": older[:, :2].contiguous()},
        "negative classes": {"soft_classes": columns - 5},
        "no classes given": {"soft_classes": None},
        "no columns": {"soft_labels": rows[:, :0].contiguous(), "soft_classes": columns[:, :0].contiguous()},
        "no probability": {"soft_labels": rows * 0},
        "probability of no class": {"soft_classes": torch.tensor([[1, 2, 3], [-1, -1, 4]], dtype=torch.int16)},
    }


@pytest.mark.parametrize("change", soft_changes())
def test_soft_labels_that_contradict_the_memory_are_refused(tmp_path, change):
    tensors = tensors_of(soft_example()) | soft_changes()[change]
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    assert_refused(foreign(tmp_path / "m", tensors, header_of(tensors, partition=2)), "not a")


def test_a_flipped_bit_of_a_soft_label_or_its_class_is_noticed(tmp_path):
    path = tmp_path / "m"
    save_memory(path, soft_example())
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    entries = json.loads(whole[8 : 8 + length])
    for name, count in (("soft_labels", 8 * 2), ("soft_classes", 2 * 3 * 2)):
        first, last = (8 + length + offset for offset in entries[name]["data_offsets"])
        assert last - first == count
        for position in range(first, last):
            for bit in (0, 3):
                flipped = bytearray(whole)
                flipped[position] ^= 1 << bit
                path.write_bytes(flipped)
                assert_refused(path)


# --- data, not programs


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a file was unpickled",))


def test_a_pickle_is_refused_without_being_run(tmp_path):
    for number, data in enumerate((pickle.dumps(Trap()), torch_archive(Trap()))):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert_refused(path, "damaged or no safetensors file")


def torch_archive(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


# --- bounds


def test_metadata_that_changed_is_noticed(tmp_path):
    path = tmp_path / "m"
    save_memory(path, example(), {"class_names": ["cat", "dog"], "mean": [0.25]})
    data = path.read_bytes()
    for before, after in ((b"cat", b"bat"), (b"0.25", b"0.26"), (b"distilled", b"distilles")):
        assert data.count(before) == 1
        path.write_bytes(data.replace(before, after))
        assert_refused(path, "checksum")


def test_metadata_of_any_keys_and_numbers_is_the_same_when_read(tmp_path):
    odd = {10: "ten", 9: "nine", "x": [1e-300, float("inf"), 10**30, None, "\ud800"]}
    save_memory(tmp_path / "m", example(), odd)
    metadata = load_memory(tmp_path / "m").metadata
    assert {key: metadata[key] for key in ("10", "9", "x")} == {"10": "ten", "9": "nine", "x": odd["x"]}


def test_a_shape_that_changed_is_noticed(tmp_path):
    memory, path = example(), tmp_path / "m"
    save_memory(path, memory)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["iid_cl"])
    turned = {"images": memory.images.reshape(4, 1, 4, 3), "labels": memory.labels}
    assert_refused(foreign(tmp_path / "other", turned, header), "checksum")


@pytest.mark.parametrize(
    "text",
    ["[" * 10**5, '{"format": ' * 10**5, '{"version": ' + "9" * 5000 + "}", "{" + " " * 2**23],
    ids=["lists", "mappings", "digits", "long"],
)
def test_metadata_that_no_memory_has_is_refused(tmp_path, text):
    assert_refused(foreign(tmp_path / "m", header=text))


@pytest.mark.parametrize("version", [0, -1, True, False])
def test_versions_there_never_were_are_refused(tmp_path, version):
    assert_refused(foreign(tmp_path / "m", header={**GOOD_HEADER, "version": version}), "not a memory")


def test_an_enormous_file_is_refused_unread(tmp_path):
    path = tmp_path / "m"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert_refused(path, "too large")


@pytest.mark.parametrize("length", [0, 2**31, 2**63, 2**64 - 1])
def test_a_header_of_another_length_is_refused(stored, length):
    stored.write_bytes(struct.pack("<Q", length) + stored.read_bytes()[8:])
    assert_refused(stored, "damaged")


@pytest.mark.parametrize("shape", [[2**62, 2**62], [10**12, 1, 3, 4], [4, 10**9, 3, 4], [-1, 1, 3, 4]])
def test_a_shape_that_claims_more_than_there_is_is_refused(stored, shape):
    data = stored.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["images"]["shape"] = shape
    text = json.dumps(header).encode()
    stored.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    assert_refused(stored, "damaged")


def test_tensors_that_no_memory_has_are_refused(tmp_path):
    tensors = tensors_of(example())
    assert len(load_memory(foreign(tmp_path / "good", tensors, header_of(tensors)))) == 4
    more = {**tensors, "weight": torch.zeros(3)}
    assert_refused(foreign(tmp_path / "m", more, header_of(tensors)), "not a memory")


@pytest.mark.parametrize(
    "tensors",
    [
        {"images": PIXELS, "labels": LABELS.flip(0)},
        {"images": PIXELS[:, :0], "labels": LABELS},
        {"images": PIXELS[:, :, :0], "labels": LABELS},
    ],
    ids=["labels in no order", "no channels", "no pixels"],
)
def test_sound_files_of_useless_memories_are_refused(tmp_path, tensors):
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    assert_refused(foreign(tmp_path / "m", tensors, header_of(tensors)), "not a usable memory")


def test_soft_labels_of_images_in_no_order_are_refused(tmp_path):
    tensors = tensors_of(soft_example())
    tensors["labels"] = torch.tensor([4, 1], dtype=torch.int16)
    assert_refused(foreign(tmp_path / "m", tensors, header_of(tensors, partition=2)), "order of their classes")


def test_a_memory_does_not_change_with_its_file(stored):
    memory = load_memory(stored)
    size = stored.stat().st_size
    with stored.open("r+b") as file:
        file.seek(size - 60)
        file.write(bytes(60))
    assert torch.equal(memory.images, example().images)
    assert torch.equal(memory.labels, example().labels)


def test_a_pipe_is_no_memory(tmp_path):
    os.mkfifo(tmp_path / "m")
    assert_refused(tmp_path / "m", "no such file")
