"""Mutated inputs for :mod:`benchmarks.fuzz`, a function per category.

Each takes a seeded generator and an empty folder, writes its input there, and returns what reads it. That raises a
UserError (or :class:`Refused`, where refusing is no error) for a refusal, and anything else for a bug.
"""

import ast
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from rich.console import Console
from safetensors.torch import save

from iid_cl.config import Config, StreamConfig
from iid_cl.config_files import (
    dotted_keys,
    dump_config,
    flat,
    load_config,
    parse_config,
    read_override,
    shipped_configs,
)
from iid_cl.data.datasets import DATASETS
from iid_cl.errors import is_printable
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.export import export_memory
from iid_cl.memory.files import _digest, _tensors, load_memory, save_memory
from iid_cl.memory.jpeg import JpegSet, encode
from iid_cl.report.comparison import Measured, comparison_table, summarise
from iid_cl.report.show import show_memory
from iid_cl.runs import memories
from iid_cl.runs.compare import _RESULT, read_cell
from iid_cl.runs.grid import Cell, cells
from iid_cl.runs.listing import list_runs
from iid_cl.screen import Screen
from iid_cl.studies.cases import cases, load_study, shipped_studies

Category = Callable[[random.Random, Path], Callable[[], object]]


class Refused(Exception):
    """An input that is left aside without an error."""


NUMBERS: list[Any] = [
    0, -1, 1, 2, 255, 256, 2**31, 2**32, 2**63 - 1, 2**63, -(2**63), 10**18, 10**400, 0.0, -0.0, 0.5, 1.0, 1e-300,
    1e300, float("nan"), float("inf"), -float("inf"), True, False, None,
]  # fmt: skip
TEXTS = [
    "", " ", "a", "é", "日本語", "\u202egnp.x", "[red]x[/red]", "[/]", "<script>alert(1)</script>", "$x_$", "%s%n",
    "../../x", "/etc/passwd", "a\nb", "\x1b[31m", "\x00", "\ud800", "k" * 5000, "null", "~", "1e9", "1_000", "0x10",
    "1:30", "2001-01-01", ".nan", "!!python/object/apply:os.system [id]", "cuda:99999999999", "cuda:٣", "none",
    "joint", "distilled", "={}",
]  # fmt: skip
YAML_TEXTS = [
    "[" * 3000, "{a: " * 2000, "- " * 3000, "&a [*a]", "*a", "&a {<<: *a}", "{<<: [1]}", "!!binary gICA", "!!bool x",
    "!!int ''", "!!float ''", "!!timestamp x", "!!set {a, b}", "!!omap [a: 1]", "!!python/name:os.system", "! x",
    "!<x> y", "? [a]\n: b", "? {a: b}\n: c", "'", '"', '"\\ud800"', '"\\x1b[31m"', "|\n x", ">-\n x", "---", "...",
    "%YAML 9.9", "\t", "=", "<<", "0x" + "f" * 5000, "9" * 5000, "1" * 400, "1:" + "59:" * 500 + "1",
    "1:" + "59:" * 500 + "1.5", ".inf",
    "-.inf", ".nan", "1e400", "٣e٣", "@", "`", "#", "\ufeff", "\x85", "\u2028", "[" + "1," * 4000 + "]",
]  # fmt: skip


def bomb(random_: random.Random) -> str:
    """Aliases, or merge keys, of aliases of aliases."""
    each, levels = random_.randint(2, 12), random_.randint(2, 30)
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        several = ", ".join([f"*a{level - 1}"] * each)
        form = f"{{<<: [{several}], y{level}: 1}}" if random_.random() < 0.5 else f"[{several}]"
        lines.append(f"a{level}: &a{level} {form}")
    key = random_.choice(["stream", "compare", "base", "variants", "name", "seed", "x"])
    return "\n".join([*lines, f"{key}: *a{levels - 1}"])


def damaged(random_: random.Random, data: bytes) -> bytes:
    """Bits flipped, a stretch cut out, doubled, overwritten or appended, or the end cut off."""
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 5, 30))):
        where = random_.randrange(len(changed)) if changed else 0
        until = min(len(changed), where + random_.choice((1, 2, 8, 100, 5000)))
        kind = random_.randrange(6)
        if kind == 0 and changed:
            changed[where] ^= 1 << random_.randrange(8)
        elif kind == 1:
            del changed[where:until]
        elif kind == 2:
            changed[where:where] = changed[where:until] * random_.choice((1, 3))
        elif kind == 3:
            changed[where:until] = random_.randbytes(until - where)
        elif kind == 4:
            del changed[where:]
        else:
            changed += random_.randbytes(random_.choice((1, 8, 1000)))
    return bytes(changed)


def altered(random_: random.Random, value: Any) -> Any:
    """Plain nested data with one value or key changed."""
    if isinstance(value, dict) and value and random_.random() < 0.85:
        key = random_.choice(list(value))
        changed, kind = dict(value), random_.randrange(10)
        if kind == 0:
            del changed[key]
        elif kind == 1:
            changed[random_.choice([*TEXTS, 1, None])] = changed.pop(key)
        else:
            changed[key] = altered(random_, value[key])
        return changed
    if isinstance(value, list) and value and random_.random() < 0.7:
        index = random_.randrange(len(value))
        changed_list = list(value)
        if random_.random() < 0.2:
            return changed_list * random_.choice((0, 2, 50))
        changed_list[index] = altered(random_, value[index])
        return changed_list
    nested: Any = 1
    for _ in range(random_.choice((1, 3, 30))):
        nested = [nested] if random_.random() < 0.5 else {random_.choice(("x", "name", "weight", "")): nested}
    return random_.choice([*NUMBERS, *TEXTS, [], {}, nested])


def mutated_yaml(random_: random.Random, text: str) -> bytes:
    """A YAML file, damaged in one of four ways."""
    kind = random_.randrange(10)
    if kind == 0:
        return bomb(random_).encode()
    if kind <= 3:
        return damaged(random_, text.encode())
    if kind <= 6:
        lines = text.splitlines()
        where = random_.randrange(len(lines))
        head = lines[where].partition(":")[0]
        lines[where] = f"{head}: {random_.choice(YAML_TEXTS)}" if random_.random() < 0.7 else random_.choice(YAML_TEXTS)
        return "\n".join(lines).encode("utf-8", errors="surrogatepass")
    values = yaml.safe_load(text)
    for _ in range(random_.choice((1, 1, 2, 4))):
        values = altered(random_, values)
    try:
        return yaml.safe_dump(values).encode("utf-8", errors="surrogatepass")
    except (yaml.YAMLError, ValueError):  # a number of too many digits cannot be written
        return b"seed: " + b"9" * 5000


@cache
def _shipped(package: str, name: str) -> str:
    return (resources.files(package) / name).read_text(encoding="utf-8")


def configurations(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Shipped configurations and the resolved defaults, changed."""
    name = random_.choice([*shipped_configs(), ""])
    text = _shipped("iid_cl.configs", name) if name else dump_config(Config())
    file = folder / "config.yaml"
    file.write_bytes(mutated_yaml(random_, text))
    return lambda: _spelt_out(load_config(str(file)))


def _spelt_out(config: Config) -> None:
    """What a command would do with a configuration before it reads data."""
    assert parse_config(yaml.safe_load(dump_config(config)), "again") == config
    few = len(config.compare.methods) * config.compare.seeds <= 30
    if few and all(len(list(values or [])) <= 3 for values in config.compare.budgets.model_dump().values()):
        cells(config, (1, 8, 8), 10)


def overrides(random_: random.Random, folder: Path) -> Callable[[], object]:
    """--set of any key with any value, one to three of them."""
    known = list(dotted_keys(Config))
    defaults = flat(Config().model_dump(mode="json"))

    def override() -> str:
        key = (
            random_.choice(known) if random_.random() < 0.8 else random_.choice([*TEXTS, "a." * 500 + "b", "memory..x"])
        )
        plain = [str(number) for number in NUMBERS if number != 10**400] + ["1" + "0" * 400]
        if random_.random() < 0.4:
            return f"{key}={json.dumps(defaults.get(key))}"
        likely = ["1", "2", "0.5", "true", "null", "distilled", "random", "convnet", "digits", "cpu", "auto"]
        value = random_.choice(likely if random_.random() < 0.5 else [*plain, *TEXTS, *YAML_TEXTS])
        if random_.random() < 0.1:
            value = damaged(random_, value.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogateescape")
        return random_.choice((f"{key}={value}",) * 9 + (value,))

    chosen = [override() for _ in range(random_.choice((1, 1, 2, 3)))]
    (folder / "overrides.txt").write_text("\n".join(map(ascii, chosen)))
    return lambda: _spelt_out(load_config(None, chosen))


def studies(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Shipped studies, changed, with all their cases spelt out."""
    text = _shipped("iid_cl.configs.studies", random_.choice(shipped_studies()))
    file = folder / "study.yaml"
    file.write_bytes(mutated_yaml(random_, text))
    base = [read_override(f"memory.ipc={random_.choice((1, 5))}")] if random_.random() < 0.2 else []
    return lambda: cases(load_study(str(file), base))


@cache
def _memories() -> list[Exemplars]:
    """One of each kind: plain, partitioned with soft labels, JPEG; of the digits' shape and classes."""
    generator = torch.Generator().manual_seed(0)
    groups = {c: torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8, generator=generator) for c in range(10)}
    plain = ExemplarSet.from_classes(groups)
    halves = ExemplarSet.from_classes(groups, partition=2)
    soft = halves.with_soft_labels(torch.rand(80, 10, generator=generator).softmax(1), range(10))
    files = {c: encode(images, 90) for c, images in groups.items()}
    return [plain, soft, JpegSet.from_classes(files, (1, 8, 8))]


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
    number, file = random_.randrange(3), folder / "memory.safetensors"
    whole = _whole(number)
    kind = random_.randrange(4)
    if kind == 0:
        file.write_bytes(_forged(random_, _memories()[number]))
        return lambda: _used(load_memory(file))
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
        for name, tensor in _tensors(expected).items():
            assert torch.equal(_tensors(read)[name], tensor), f"another memory without notice: {name}"
        assert {key: read.metadata[key] for key in METADATA} == METADATA, "other metadata without notice"

    return read


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


def _forged(random_: random.Random, memory: Exemplars) -> bytes:
    """Wrong tensors or metadata under a right checksum."""
    tensors = {name: tensor.clone() for name, tensor in _tensors(memory).items()}
    header = {**METADATA, "format": "iid-cl memory", "version": 4, "partition": memory.partition}
    header |= {"shape": list(memory.shape)} if isinstance(memory, JpegSet) else {}
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
    header = json.loads(json.dumps(header))
    try:
        header["sha256"] = _digest(tensors, header)
    except TypeError:  # bfloat16 has no bytes in NumPy
        header["sha256"] = hashlib.sha256(b"").hexdigest()
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save(contiguous, {"iid_cl": json.dumps(header, sort_keys=True)})


def _used(memory: Exemplars) -> None:
    memory.by_class(), memory.nbytes
    assert len(memory.decoded()) == len(memory) * memory.partition**2
    soft = memory.soft_labels if isinstance(memory, ExemplarSet) else None
    named = [] if soft is None else [int(soft.columns.max())]  # classes that left, maybe
    memory.targets(max([*memory.classes, *named]) + 1)


def shown_memories(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Files of another program, which are shown and exported where they are memories."""
    file, out = folder / "memory.safetensors", Path("cache") / "exported"
    file.write_bytes(_forged(random_, _memories()[random_.randrange(3)]))

    def read() -> None:
        shutil.rmtree(out, ignore_errors=True)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            show_memory(file, None, random_.choice((None, ["0"], ["[red]"])), Screen())
            export_memory(file, out, decoded=random_.random() < 0.5)
        assert is_printable(printed.getvalue().replace("\n", "")), "a control character got through"
        assert all(path.is_relative_to(out.resolve()) for path in map(Path.resolve, out.rglob("*")))

    return read


def listed_runs(random_: random.Random, folder: Path) -> Callable[[], object]:
    """The files of a run or a comparison, changed; damaged ones are listed as such."""
    run = folder / "run"
    run.mkdir()
    (run / "config.yaml").write_bytes(mutated_yaml(random_, dump_config(Config())))
    result: Any = {"results": [RESULT]}
    record: Any = {"method": "random", "accuracy_seen": 0.5, "memory_bytes": 660}
    row = {
        "label": "random",
        "mode": "replay",
        "budget": ["ipc", 5],
        "seeds": [0, 1],
        "final": [0.5, 0.1],
        "bytes": [1, 2],
    }
    kind = random_.randrange(4)
    name, value = (("run.json", result), ("metrics.jsonl", record), ("results.json", {"summary": [row]}))[min(kind, 2)]
    for _ in range(random_.choice((1, 1, 2))):
        value = altered(random_, value)
    text = json.dumps(value).encode()
    (run / name).write_bytes(damaged(random_, text) if random_.random() < 0.3 else text)

    def read() -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            list_runs(folder, Screen())
        assert is_printable(printed.getvalue().replace("\n", "")), "a control character got through"
        if "damaged" in printed.getvalue():
            raise Refused

    return read


def memories_of_data(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Memories judged on the digits: classes, shape, split or normalisation are another data set's now and then."""
    file, memory, metadata = folder / "memory.safetensors", _memories()[random_.randrange(3)], dict(METADATA)
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
    save_memory(
        file, memory, {str(key): value for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    )

    def read() -> None:
        memories.judge, genuine = lambda *rest, **more: [], memories.judge  # nothing is trained here
        try:
            memories.evaluate_memory(file, Config(), folder / "data", Console(file=io.StringIO()))
        finally:
            memories.judge = genuine

    return read


@cache
def _pictures() -> dict[str, bytes]:
    """Valid image files by suffix: grey, colour, palette, 16 bits, CMYK, animated."""
    pixels = torch.randint(256, (16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    colour = Image.fromarray(pixels)
    made = {}
    for suffix, mode in (
        (".png", "RGB"), (".png", "L"), (".png", "P"), (".png", "RGBA"), (".png", "1"), (".png", "I;16"),
        (".jpg", "RGB"), (".jpg", "L"), (".jpg", "CMYK"), (".bmp", "RGB"), (".gif", "P"), (".webp", "RGB"),
        (".tif", "RGB"),
        (".tif", "F"), (".ppm", "RGB"), (".pgm", "L"),
    ):  # fmt: skip
        file = io.BytesIO()
        image = colour.convert("L").convert(mode) if mode == "I;16" else colour.convert(mode)
        image.save(file, {".jpg": "JPEG", ".tif": "TIFF", ".pgm": "PPM"}.get(suffix, suffix[1:].upper()))
        made[f"{mode.replace(';', '')}{suffix}"] = file.getvalue()
    for suffix in ("gif", "webp", "png", "tiff"):
        file = io.BytesIO()
        colour.save(file, suffix.upper(), save_all=True, append_images=[colour.rotate(90)] * 3)
        made[f"moving.{suffix}"] = file.getvalue()
    file = io.BytesIO()
    colour.save(file, "EPS")
    made["program.png"] = file.getvalue()
    return made


def _huge_png(random_: random.Random) -> bytes:
    """A picture that claims far more pixels than it has bytes."""
    side = random_.choice((9000, 13000, 20000, 65535, 2**31 - 1))
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, random_.choice((1, side)), 8, random_.choice((0, 2, 6)), 0, 0, 0)
    rest = b"IDAT" + zlib.compress(b"\0" * 1000)
    parts = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, rest, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def image_folders(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Two classes of images, with odd files, names, links and trees among them."""
    root = folder / "images"
    pictures = _pictures()
    plain = pictures[random_.choice(("RGB.png", "L.png", "RGB.jpg"))]
    places = [root / part / name for part in ("train", "test") for name in ("a", "b")]
    for place in places:
        place.mkdir(parents=True)
        (place / "0.png").write_bytes(plain)
    for _ in range(random_.choice((0, 1, 1, 2))):
        with contextlib.suppress(FileExistsError):  # the same one twice
            _odd(random_, random_.choice(places), folder.parent / "outside")
    size = random_.choice((None, None, 8, 1)) if random_.random() < 0.5 else random_.choice((16,) * 20 + (4096,))
    config = StreamConfig(dataset="image_folder", experiences=2, image_size=size)
    return lambda: DATASETS["image_folder"](root, config)


def _odd(random_: random.Random, place: Path, outside: Path) -> None:
    """One odd file, name, link or tree in a class's folder."""
    pictures = _pictures()
    name = random_.choice(list(pictures))
    kind = random_.randrange(12)
    if kind <= 3:
        (place / f"x{random_.choice((name, 'x.png', 'x.jpg', 'x.gif'))}").write_bytes(damaged(random_, pictures[name]))
    elif kind == 4:
        (place / f"1{name}").write_bytes(pictures[name])
    elif kind == 5:
        (place / "huge.png").write_bytes(_huge_png(random_))
    elif kind == 6:
        (place / "empty.png").write_bytes(random_.choice((b"", b"\0" * 1000, b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n")))
    elif kind == 7:
        target = random_.choice(
            (
                outside / "kept.txt",
                outside,
                place,
                place.parent,
                Path(".."),
                Path("nowhere"),
                Path("0.png"),
                Path("/dev/zero"),
                Path("loop.png"),
            )
        )
        (place / random_.choice(("loop.png", "link", "link.png"))).symlink_to(target)
    elif kind == 8:
        odd = random_.choice(
            ("a\nb", "\x1b[31mred", "[red]x[/red]", "<script>", "$x_$", "\udcff", "\u202e", "%s", "-rf", " ")
        )
        if random_.random() < 0.5:
            (place / f"{odd.replace('/', '')}.png").write_bytes(random_.choice((pictures["RGB.png"], b"broken")))
        else:
            for part in ("train", "test"):
                other = place.parents[1] / part / odd
                other.mkdir(parents=True, exist_ok=True)
                (other / "0.png").write_bytes(pictures["RGB.png"])
    elif kind == 9:
        deep = place.joinpath(*["d"] * random_.choice((3, 30, 40, 200)))
        deep.mkdir(parents=True)
        (deep / "deep.png").write_bytes(pictures["RGB.png"])
    elif kind == 10:
        os.mkfifo(place / "pipe.png")
    else:
        (place / "folder.png").mkdir()
        (place / "other.png").write_bytes(random_.randbytes(random_.choice((10, 100_000))))


RESULT = {
    "method": "random", "mode": "replay", "seed": 0, "class_order": [[0, 1], [2, 3]],
    "matrix": [[0.9, 0.0], [0.5, 0.8]],
    "final_accuracy": 0.65, "average_accuracy": 0.7, "forgetting": 0.4, "memory_images": 40, "memory_bytes": 2640,
    "condense_seconds": 0.1, "train_seconds": 1.5, "total_seconds": 2.0, "final_task_accuracy": 0.9,
    "backward_transfer": -0.4, "class_accuracies": [{"0": 0.9, "1": 0.9}],
    "network_matrices": [[[0.9, 0.0], [0.5, 0.8]]], "test_sizes": [10, 10], "updates": 100,
}  # fmt: skip


@cache
def _cell() -> Cell:
    return cells(parse_config({"compare": {"methods": ["random"], "seeds": 1}}, "cells"), (1, 8, 8), 4)[0]


def comparison_cells(random_: random.Random, folder: Path) -> Callable[[], object]:
    """A comparison's kept cell, changed; what is read again goes into the table."""
    cell = _cell()
    record: Any = {
        "label": cell.label, "mode": cell.mode, "budget": dict([cell.budget or ("ipc", 1)]), "seed": 0,
        "digest": cell.digest, "host": "here", "threads": 1, "seconds": 2.5, "result": RESULT,
    }  # fmt: skip
    kind, file = random_.randrange(10), folder / f"{cell.name}.json"
    if kind == 0:
        file.write_bytes(random_.choice((b"[" * 100_000, b'{"result": ' * 5000, b"1" * 10_000, b"\xff\xfe", b"")))
    elif kind <= 3:
        file.write_bytes(damaged(random_, json.dumps(record).encode()))
    elif kind == 4:
        os.mkfifo(file)
    else:
        for _ in range(random_.choice((0, 1, 1, 2))):
            if isinstance(record, dict) and random_.random() < 0.8 and isinstance(record.get("result"), dict):
                record = {**record, "result": altered(random_, record["result"])}
            else:
                record = altered(random_, record)
        file.write_text(json.dumps(record))

    def read() -> None:
        found = read_cell(folder, cell)
        if found is None:
            raise Refused
        result = _RESULT.validate_python(found["result"])
        rows = summarise([Measured(cell.label, cell.mode, cell.budget, result)], None)
        Console(file=io.StringIO()).print(comparison_table(rows, None, {}, "cells"))
        json.dumps(found)

    return read


def commands(random_: random.Random, folder: Path) -> Callable[[], object]:
    """The same inputs through the command line: code 0 or 2, one line of an error, nothing left behind."""
    kind = random_.randrange(6)
    tiny = ["--set", "evaluate={epochs: 1, networks: 1, network: {width: 4, depth: 1}}"]
    if kind == 0:
        configurations(random_, folder)
        arguments = ["run", "config.yaml", "--out", "out", "--device", "cuda:99"]  # which ends what is valid
    elif kind == 1:
        overrides(random_, folder)
        first = ast.literal_eval((folder / "overrides.txt").read_text().splitlines()[0])
        arguments = [
            "run",
            "split_digits.yaml",
            "--out",
            "out",
            "--set",
            first.replace("\0", ""),
            "--device",
            "cuda:99",
        ]
    elif kind == 2:
        studies(random_, folder)
        arguments = ["study", "study.yaml", "--out", "out", "--device", "cuda:99"]
    elif kind == 3:
        memory_files(random_, folder)
        arguments = ["evaluate", "memory.safetensors", *tiny]
    elif kind == 4:
        image_folders(random_, folder)
        arguments = [
            "distill",
            "image_folder",
            "--method",
            "random",
            "--ipc",
            "1",
            "--data-root",
            "images",
            "-o",
            "out.safetensors",
        ]
    else:
        odd = random_.choice((*TEXTS, "--nope", "-1", "1" * 400)).replace("\0", "")
        arguments = random_.choice(
            (["run", odd], ["distill", odd, "-o", "o"], ["compare", "split_digits.yaml", "--ipc", odd],
             ["compare", "split_digits.yaml", "--memories", odd], ["run", "split_digits.yaml", "--seed", odd],
             ["evaluate", odd], ["study", odd], [odd])
        )  # fmt: skip
    program = Path(sys.executable).with_name("iid-cl")

    def read() -> None:
        before = sorted(folder.rglob("*"))
        done = subprocess.run(
            [
                program,
                *(
                    argument.encode("utf-8", "surrogateescape" if _escaped(argument) else "surrogatepass")
                    for argument in arguments
                ),
            ],
            cwd=folder,
            capture_output=True,
            timeout=300,
            preexec_fn=_limit,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        said = done.stderr.decode("utf-8", errors="replace")
        assert done.returncode in (0, 2), f"exit code {done.returncode}: {said[-2000:]}"
        assert "Traceback" not in said, said[-2000:]
        if done.returncode == 2:
            assert len(said.splitlines()) == 1 or said.startswith("Usage: "), said
            assert b"\x1b" not in done.stderr + done.stdout, "a control character got through"
            assert sorted(folder.rglob("*")) == before, "a refused command left something behind"
            raise Refused
        for path in (folder / "out.safetensors", folder / "out.png"):
            path.unlink(missing_ok=True)

    return read


def _escaped(argument: str) -> bool:
    return all(not "\ud800" <= letter <= "\udfff" or "\udc80" <= letter <= "\udcff" for letter in argument)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))


CATEGORIES: dict[str, Category] = {
    "configurations": configurations,
    "overrides": overrides,
    "studies": studies,
    "memory files": memory_files,
    "memories of data": memories_of_data,
    "shown memories": shown_memories,
    "listed runs": listed_runs,
    "image folders": image_folders,
    "comparison cells": comparison_cells,
    "commands": commands,
}
