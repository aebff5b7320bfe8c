"""Memory files: damaged ones, and those of another program."""

import contextlib
import dataclasses
import io
import json
import random
import shutil
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from rich.console import Console

from iid_cl.config.experiment import Config
from iid_cl.errors import is_printable
from iid_cl.memory.dct import CodedClass, DctSet
from iid_cl.memory.dct_format import exact, quantise
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.export import export_memory
from iid_cl.memory.files import FORMAT, load_memory, save_memory
from iid_cl.memory.jpeg import JpegSet, encode
from iid_cl.report.show import show_memory
from iid_cl.runs import judge as judging
from iid_cl.terminal.screen import Mode, Screen
from tests.hardening.fuzzing.claims import large_claims, sealed
from tests.hardening.fuzzing.mutations import TEXTS, altered, damaged


@cache
def _memories() -> list[Exemplars]:
    """One of each kind: plain, partitioned with soft labels, JPEG, coefficients; of the digits' shape and classes."""
    generator = torch.Generator().manual_seed(0)
    groups = {c: torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8, generator=generator) for c in range(10)}
    plain = ExemplarSet.from_classes(groups)
    halves = ExemplarSet.from_classes(groups, partition=2)
    soft = halves.with_soft_labels(torch.rand(80, 10, generator=generator).softmax(1), range(10))
    files = {c: encode(images, 90) for c, images in groups.items()}
    coded = {c: CodedClass.of(quantise(exact(images), 20.0), 20.0) for c, images in groups.items()}
    return [plain, soft, JpegSet.from_classes(files, (1, 8, 8)), DctSet.from_classes(coded, (1, 8, 8))]


COEFFICIENTS = 3  # their number

METADATA = {
    "stream": {"dataset": "digits"},
    "class_names": list("0123456789"),
    "mean": [0.3053],
    "std": [0.376],
    "seed": 0,
    "method": "random",
    "ipc": 2,
}


@cache
def _whole(number: int) -> bytes:
    """A valid file of the memory of that number."""
    place = Path("whole.safetensors")
    save_memory(place, _memories()[number], METADATA)
    data = place.read_bytes()
    place.unlink()
    return data


def memory_files(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Damaged bytes, which must be noticed; and files of another program with a right checksum."""
    return _bad_files(random_, folder, random_.randrange(COEFFICIENTS))


def coefficient_files(random_: random.Random, folder: Path) -> Callable[[], object]:
    """The same of memories of coefficients, whose entropy code takes whatever the bytes say."""
    return _bad_files(random_, folder, COEFFICIENTS)


def _bad_files(random_: random.Random, folder: Path, number: int) -> Callable[[], object]:
    file = folder / "memory.safetensors"
    whole = _whole(number)
    kind = random_.randrange(4)
    if kind == 0:
        wrong = large_claims(random_) if random_.random() < 0.5 else forged(random_, _memories()[number])
        file.write_bytes(wrong)
        return lambda: _used(load_memory(file))
    if random_.random() < 1 / 200:
        return _endless(random_, file, whole)
    data = (
        damaged(random_, whole)
        if kind == 1
        else _header_changed(random_, whole)
        if kind == 2
        else _flipped(random_, whole)
    )
    file.write_bytes(data)

    def read() -> None:
        read, expected = load_memory(file), _memories()[number]
        assert dataclasses.replace(read, metadata={}).__dict__.keys() == expected.__dict__.keys()
        for name, tensor in expected.tensors().items():
            assert torch.equal(read.tensors()[name], tensor), f"another memory without notice: {name}"
        assert {key: read.metadata[key] for key in METADATA} == METADATA, "other metadata without notice"

    return read


def _endless(random_: random.Random, file: Path, whole: bytes) -> Callable[[], object]:
    """A file as large as is read, or a byte more; it takes no room on the disk."""
    with file.open("wb") as out:
        out.write(random_.choice((whole, b"", (2**25).to_bytes(8, "little"), (10**8).to_bytes(8, "little"))))
        out.truncate(2**32 + random_.randrange(2))
    return lambda: load_memory(file)


def _flipped(random_: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def _header_changed(random_: random.Random, data: bytes) -> bytes:
    """safetensors' own header: lengths, types, shapes, offsets."""
    (length,) = struct.unpack("<Q", data[:8])
    if random_.random() < 0.2:
        return (
            struct.pack("<Q", random_.choice((0, 1, length - 1, length + 1, 2**31, 10**8, 2**63, 2**64 - 1))) + data[8:]
        )
    header = json.loads(data[8 : 8 + length])
    changed = altered(random_, header)
    if isinstance(changed, dict) and random_.random() < 0.1:
        changed |= {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(5000)}
    text = json.dumps(changed).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def forged(random_: random.Random, memory: Exemplars) -> bytes:
    """Wrong tensors or metadata under a right checksum."""
    tensors = {name: tensor.clone() for name, tensor in memory.tensors().items()}
    header = {**METADATA, "format": FORMAT, "version": 4, **memory.layout()}
    if random_.random() < 0.6:
        name = random_.choice(list(tensors))
        tensor = tensors[name]
        change = random_.randrange(8)
        if change == 0:
            tensors[name] = tensor.to(
                random_.choice((torch.float32, torch.int64, torch.bool, torch.bfloat16, torch.int8))
            )
        elif change == 1:
            tensors[name] = tensor[random_.choice((slice(0, 0), slice(1), slice(1, None)))]
        elif change == 2:
            tensors[name] = tensor[None] if random_.random() < 0.5 else tensor.flatten()
        elif change == 3:
            tensors[name] = tensor.flip(0)
        elif change == 4:
            extreme = torch.iinfo(tensor.dtype) if not tensor.is_floating_point() else torch.finfo(tensor.dtype)
            tensors[name] = torch.full_like(tensor, random_.choice((extreme.min, extreme.max, 0)))
        elif change == 5:
            del tensors[name]
        elif change == 6:
            tensors[random_.choice(TEXTS).encode("utf-8", "replace").decode()] = tensor.clone()
        else:
            flat = tensor.flatten().clone()
            flat[random_.randrange(len(flat))] = random_.choice((0, 1, 100))
            tensors[name] = flat.view_as(tensor)
    else:
        header = altered(random_, header)
        header = header if isinstance(header, dict) else {"x": header}
    return sealed(tensors, header)


def _used(memory: Exemplars) -> None:
    assert memory.nbytes
    assert len(memory.decoded()) == len(memory) * memory.partition**2
    soft = memory.soft_labels
    named = [] if soft is None else [int(soft.columns.max())]  # classes that left, maybe
    columns = max([*memory.classes, *named]) + 1
    if len(memory) * memory.partition**2 * columns < 2**26:  # a data set bounds them, where they are trained on
        memory.targets(columns)


def shown_memories(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Files of another program, which are shown, drawn and exported where they are memories."""
    file, out = folder / "memory.safetensors", Path("cache") / "exported"
    claims = random_.random() < 0.4
    file.write_bytes(large_claims(random_) if claims else forged(random_, _memories()[random_.randrange(4)]))
    picture = random_.choice((None, None, Path("cache") / "picture.png"))
    classes, decoded = random_.choice((None, ["0"], ["[red]"])), random_.random() < 0.5
    screen = Screen(random_.choice((Mode.full, Mode.json)))
    exports = not claims or random_.random() < 0.2  # a million files take their time

    def read() -> None:
        shutil.rmtree(out, ignore_errors=True)
        if picture is not None:
            picture.unlink(missing_ok=True)  # a case's before this one
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            show_memory(file, picture, classes, screen)
            if exports and len(load_memory(file)) < 1000:
                export_memory(file, out, decoded=decoded)
        assert is_printable(printed.getvalue().replace("\n", "")), "a control character got through"
        assert all(path.is_relative_to(out.resolve()) for path in map(Path.resolve, out.rglob("*")))

    return read


def memories_of_data(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Memories judged on the digits: classes, shape, split or normalisation are another data set's now and then."""
    file, memory, metadata = folder / "memory.safetensors", _memories()[random_.randrange(4)], dict(METADATA)
    if random_.random() < 0.2 and isinstance(memory, ExemplarSet) and memory.soft_labels is not None:
        columns = memory.soft_labels.columns.clone()
        columns[0, 0] = random_.choice((-1, 5, 10, 32767))
        memory = dataclasses.replace(memory, soft_labels=dataclasses.replace(memory.soft_labels, columns=columns))
    elif random_.random() < 0.8:
        metadata = altered(random_, metadata)
    elif isinstance(memory, ExemplarSet):
        side, channels = random_.choice((1, 4, 16)), random_.choice((1, 3))
        blank = torch.zeros(1, channels, side, side, dtype=torch.uint8)
        memory = ExemplarSet.from_classes(dict.fromkeys(range(10), blank))
    own = {str(key): value for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    file.write_bytes(sealed(memory.tensors(), {**memory.metadata, **own, **memory.layout()}))

    def read() -> None:
        judging.judge, genuine = lambda *rest, **more: [], judging.judge  # nothing is trained here
        try:
            judging.evaluate_memory(file, Config(), folder / "data", Console(file=io.StringIO()))
        finally:
            judging.judge = genuine

    return read
