"""Memory files that are small and claim to be large: each costs its reader seconds at most, or is refused."""

import hashlib
import io
import json
import random
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from iid_cl.memory.files import FORMAT, VERSION, _digest
from iid_cl.memory.jpeg import header_length
from tests.hardening.fuzzing.mutations import TEXTS

Parts = tuple[dict[str, Tensor], dict[str, Any]]  # tensors and what the header says


def sealed(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """A file of these contents under a right checksum."""
    about = json.loads(json.dumps({"format": FORMAT, "version": VERSION, **header}))
    try:
        about["sha256"] = _digest(tensors, about)
    except TypeError:  # bfloat16 has no bytes in NumPy
        about["sha256"] = hashlib.sha256(b"").hexdigest()
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save(contiguous, {"iid_cl": json.dumps(about, sort_keys=True)})


def large_claims(random_: random.Random) -> bytes:
    """A memory that is odd in one way: its numbers, its names, its images, or what it says of itself."""
    return sealed(*random_.choice((_many, _partitioned, _named, _jpegs, _soft, _long))(random_))


def _labels(random_: random.Random, count: int) -> Tensor:
    """Class indices of all images, ascending: of one class, of some or of all that there may be."""
    classes = min(count, random_.choice((1, 10, 1000, 2**15)))
    return (torch.arange(count) * classes // count).to(torch.int16)


def _many(random_: random.Random) -> Parts:
    count = random_.choice((1, 1000, 2**15, 2**20, 2**20 + 1)) if random_.random() < 0.3 else 300
    labels = _labels(random_, count)
    return {"images": torch.zeros(count, 1, 1, 1, dtype=torch.uint8), "labels": labels}, {"partition": 1}


def _partitioned(random_: random.Random) -> Parts:
    side = random_.choice((64, 256, 1024))
    count = random_.choice((1, 3))
    images = torch.zeros(count, random_.choice((1, 3)), side, side, dtype=torch.uint8)
    partition = random_.choice((2, 4, 16, side // 2, side))
    return {"images": images, "labels": _labels(random_, count)}, {"partition": partition}


def _named(random_: random.Random) -> Parts:
    count = random_.choice((2, 200))
    name = random_.choice([*TEXTS, "k" * 1000, "k" * 20_000, "W" * 999, "\u0301" * 900, "\ufdfd" * 500, "\ud800" * 900])
    names: Any = [name, *random_.choice((["b"], [name] * 199))]
    names = random_.choice((names, names, names, {"0": name}, [names], [[name]], name, [None], 3))
    nested: Any = 1
    for _ in range(random_.choice((1, 31, 600, 900))):
        nested = [nested]
    keys = {"0": {"class": random_.choice((1, -1, 10**300, "a")), "task": random_.choice((1, 10**300, None))}}
    header = {"partition": 1, "class_names": names, "choice": nested, "keys": random_.choice((keys, nested, None))}
    images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    return {"images": images, "labels": torch.arange(count).to(torch.int16)}, header


@cache
def _flat(side: int, colour: bool) -> bytes:
    """A JPEG of one colour in as few bytes as there can be."""
    file = io.BytesIO()
    Image.new("RGB" if colour else "L", (side, side)).save(file, "JPEG", quality=1, optimize=True)
    return file.getvalue()


def _jpegs(random_: random.Random) -> Parts:
    colour = random_.random() < 0.5
    side, count = random_.choice(((8, 3), (8, 2**14), (8, 2**18 + 1), (64, 1000), (2000, 3), (2000, 30), (9000, 1)))
    data = _flat(side, colour)
    cut = header_length(data)
    header, scan = (torch.frombuffer(bytearray(part), dtype=torch.uint8) for part in (data[:cut], data[cut:]))
    ends = (torch.arange(1, count + 1) * len(scan)).to(torch.int32)
    tensors = {"header": header, "scans": scan.repeat(count), "ends": ends, "labels": _labels(random_, count)}
    shape = [3 if colour else 1, *random_.choice(((side, side),) * 8 + ((2**31, 2**31), (65_500, 65_500)))]
    return tensors, {"partition": 1, "shape": shape}


def _soft(random_: random.Random) -> Parts:
    count, width = random_.choice(((2, 1), (3000, 1), (100, 4000), (2, 32_768)))
    labels = _labels(random_, count)
    if random_.random() < 0.5:
        labels[-1] = 32_767
    classes = len(labels.unique())
    columns = torch.full((classes, width), random_.choice((-1, 0, 32_767)), dtype=torch.int16)
    columns[:, 0] = random_.choice((0, 5, 32_767))
    tensors = {"soft_labels": torch.full((count, (width + 1) // 2), 255, dtype=torch.uint8), "soft_classes": columns}
    return {"images": torch.zeros(count, 1, 2, 2, dtype=torch.uint8), "labels": labels, **tensors}, {"partition": 1}


def _long(random_: random.Random) -> Parts:
    shape = random_.choice(
        ((1, 1, 2**20), (1, 2**20, 1), (3, 2**10, 2), (1000, 8, 8), (1, 8000, 8000), (3, 8000, 8000))
    )
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    return {"images": images, "labels": torch.tensor([0, 1], dtype=torch.int16)}, {"partition": 1}
