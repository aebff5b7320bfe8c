"""A memory as a folder of PNG files that any framework reads."""

import csv
import io
import json
import re
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from os import getpid, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import load_memory

README = "memory.json"
SOFT_LABELS = "soft_labels.csv"
LONGEST_NAME = 80  # bytes of a folder's name
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no file names on Windows


def export_memory(path: Path, folder: Path, *, decoded: bool = False) -> int:
    """Writes the memory file ``path`` as ``folder/<class name>/<number>.png``; returns the number of images.

    ``memory.json`` says which folder is which class and where the memory is from. ``soft_labels.csv`` holds class
    probabilities where the memory has them. The folder appears whole or not at all.

    Args:
        path: the memory.
        folder: missing or empty.
        decoded: write what is trained on, partition * partition images in place of each stored image.

    Raises:
        UserError: the memory is unusable, its images are neither grey nor colour, or the folder is not empty or cannot
            be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: holds files already; choose another folder, or remove it.")
    memory = load_memory(path)
    images = memory.decoded().by_class() if decoded else memory.by_class()
    channels = next(iter(images.values())).shape[1]
    if channels not in (1, 3):
        raise UserError(f"{path}: has images of {channels} channels; PNG files hold 1 or 3.")
    names = class_names(memory)
    folders = dict(zip(names, folder_names(list(names.values())), strict=True))
    target = folder.resolve()
    temporary = target.with_name(f".{target.name}.{getpid()}.tmp")
    try:
        for label, members in images.items():
            _write_images(temporary / folders[label], members)
        about = _about(path, memory, names, folders, decoded)
        (temporary / README).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if memory.soft_labels is not None:
            table = _soft_labels(memory, names, folders, decoded)
            (temporary / SOFT_LABELS).write_bytes(table.encode(errors="replace"))
        if target.exists():
            target.rmdir()  # empty, as checked above
        replace(temporary, target)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another folder.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sum(map(len, images.values()))


def class_names(memory: Exemplars) -> dict[int, str]:
    """The name of each class of a memory, or its index where the memory was stored without names."""
    names = memory.metadata.get("class_names")
    names = names if isinstance(names, list) else []
    width = len(str(memory.classes[-1]))  # so that sorted names are in the order of the classes
    return {c: str(names[c]) if c < len(names) else f"{c:0{width}}" for c in memory.classes}


def folder_names(names: Sequence[str]) -> list[str]:
    """A folder's name for each class, safe on every system: no separators, no hidden or reserved names, all different.

    Letters and digits of any script, ``.``, ``_``, ``-`` and spaces stay. Names that differ in case only are the same.
    """
    folders: list[str] = []
    lower_names: set[str] = set()
    for number, name in enumerate(names):
        safe = re.sub(r"[^\w. -]", "_", unicodedata.normalize("NFC", name)).lstrip(". ")
        safe = safe.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip(". ")
        if not safe or _RESERVED.fullmatch(safe):
            safe = f"class_{safe}"
        if safe.casefold() in lower_names:
            safe = f"{safe}_{number}"
        while safe.casefold() in lower_names:
            safe += "_"
        lower_names.add(safe.casefold())
        folders.append(safe)
    return folders


def _write_images(folder: Path, images: Tensor) -> None:
    folder.mkdir(parents=True)
    width = _digits(len(images))
    for number, image in enumerate(images):
        array = image.permute(1, 2, 0).numpy()
        picture = Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))
        picture.save(folder / f"{number:0{width}}.png")


def _digits(images: int) -> int:
    return max(3, len(str(images - 1)))


def _about(
    path: Path, memory: Exemplars, names: Mapping[int, str], folders: Mapping[int, str], decoded: bool
) -> dict[str, Any]:
    counts = memory.labels.bincount().tolist()
    factor = memory.partition**2 if decoded else 1
    return {
        "about": "Images of a replay memory written by iid-cl; each folder holds a class, the most important first.",
        "file": path.name,
        "decoded": decoded,
        "partition": memory.partition,
        "bytes_in_memory": memory.nbytes,
        "classes": [
            {"index": c, "name": name, "folder": folders[c], "images": counts[c] * factor} for c, name in names.items()
        ],
        "memory": dict(memory.metadata),
    }


def _soft_labels(memory: Exemplars, names: Mapping[int, str], folders: Mapping[int, str], decoded: bool) -> str:
    """A row per decoded image, a column per class; stored images of several parts have a row for each."""
    assert memory.soft_labels is not None  # its caller asks first
    largest = max(memory.classes[-1], int(memory.soft_labels.columns.max()))  # columns may name classes that left
    probabilities = memory.targets(largest + 1)[:, memory.classes]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["file", "part", *names.values()])
    parts, row = memory.partition**2, 0
    for label, images in memory.by_class().items():
        width = _digits(len(images) * parts if decoded else len(images))
        for number in range(len(images) * parts):
            place, part = (number, 0) if decoded else divmod(number, parts)
            file = f"{folders[label]}/{place:0{width}}.png"
            writer.writerow([file, part, *(f"{value:.6g}" for value in probabilities[row].tolist())])
            row += 1
    return text.getvalue()
