"""A memory as a folder of PNG files that any framework reads."""

import csv
import json
import math
import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import getpid, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iid_cl.errors import UserError
from iid_cl.files import check_output
from iid_cl.memory.bounds import MOST_RATIO
from iid_cl.memory.card import NAME, card
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import load_memory

ABOUT = "memory.json"
SOFT_LABELS = "soft_labels.csv"
LONGEST_NAME = 80  # bytes of a folder's name
AT_ONCE = 2**26  # bytes of images or probabilities in memory
FEW_NUMBERS = 2**24  # of a table of soft labels, whatever the memory's size
_RESERVED = re.compile(  # no file names on Windows, or files that lie beside the folders
    r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|readme\.md|memory\.json|soft_labels\.csv", re.IGNORECASE
)


def export_memory(path: Path, folder: Path, *, decoded: bool = False) -> int:
    """Writes the memory file ``path`` as ``folder/<class name>/<number>.png``; returns the number of images.

    ``memory.json`` says which folder is which class and where the memory is from, ``README.md`` the same for people.
    ``soft_labels.csv`` holds class probabilities where the memory has them. The folder appears whole or not at all.

    Args:
        path: the memory.
        folder: missing or empty.
        decoded: write what is trained on, partition * partition images in place of each stored image.

    Raises:
        UserError: the memory is unusable, its images are neither grey nor colour, or the folder is not empty or cannot
            be written.
    """
    memory = load_memory(path)
    if memory.shape[0] not in (1, 3):
        raise UserError(f"{path}: has images of {memory.shape[0]} channels; PNG files hold 1 or 3.")
    names = class_names(memory)
    _check_table(path, memory, len(names))
    folders = dict(zip(names, folder_names(list(names.values())), strict=True))
    with new_folder(folder) as temporary:
        count = _write_images(temporary, folders, memory, decoded)
        about = about_memory(path, memory, names, folders, decoded)
        (temporary / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        (temporary / NAME).write_text(card(memory, about), encoding="utf-8", errors="backslashreplace")
        if memory.soft_labels is not None:
            _write_soft_labels(temporary / SOFT_LABELS, memory, names, folders, decoded)
    return count


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of ``folder`` in the end; after an error nothing is there.

    Raises:
        UserError: ``folder`` is not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: holds files already; choose another folder, or remove it.")
    check_output(folder / ABOUT if folder.exists() else folder)
    target = folder.resolve()
    temporary = target.with_name(f".{target.name}.{getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            target.rmdir()  # empty, as checked above
        replace(temporary, target)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another folder.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def class_names(memory: Exemplars) -> dict[int, str]:
    """The name of each class of a memory, or its index where the memory was stored without names.

    Where the same class of several tasks is kept apart, the names say the task, too.
    """
    names = memory.metadata.get("class_names")
    names = names if isinstance(names, list) else []
    keys = task_keys(memory)
    width = len(str(max([memory.classes[-1], *(label for label, _ in keys.values())])))  # sorted names are in order

    def name(number: int) -> str:
        label, task = keys.get(number, (number, None))
        of_class = str(names[label]) if label < len(names) else f"{label:0{width}}"
        return of_class if task is None else f"{of_class} task {task}"

    return {number: name(number) for number in memory.classes}


def task_keys(memory: Exemplars) -> dict[int, tuple[int, int]]:
    """Class index and task label of each class of a memory made of task-labelled data; empty for any other.

    In such a memory the same class of another task has a number of its own, see :class:`iid_cl.methods.memory.Memory`.
    """
    stored = memory.metadata.get("keys")
    keys = {}
    for number in memory.classes if isinstance(stored, Mapping) else ():
        entry = stored.get(str(number)) if isinstance(stored, Mapping) else None
        if isinstance(entry, Mapping):
            label, task = entry.get("class"), entry.get("task")
            if type(label) is int and type(task) is int and 0 <= label < 2**15 and abs(task) < 2**63:
                keys[number] = (label, task)
    return keys


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


def _write_images(root: Path, folders: Mapping[int, str], memory: Exemplars, decoded: bool) -> int:
    """Writes all images, a few in memory at a time; returns their number."""
    parts = memory.partition**2 if decoded else 1
    totals = {label: count * parts for label, count in enumerate(memory.labels.bincount().tolist()) if count}
    written = dict.fromkeys(totals, 0)
    for label in totals:
        (root / folders[label]).mkdir(parents=True)
    each = max(1, AT_ONCE // (math.prod(memory.shape) * parts))
    for rows in torch.arange(len(memory)).split(each):
        some = memory.take(rows)
        for label, images in (some.decoded().by_class() if decoded else some.by_class()).items():
            width = _digits(totals[label])
            for number, image in enumerate(images, start=written[label]):
                _write_image(root / folders[label] / f"{number:0{width}}.png", image)
            written[label] += len(images)
    return sum(totals.values())


def _write_image(file: Path, image: Tensor) -> None:
    array = image.permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array)).save(file)


def _digits(images: int) -> int:
    return max(3, len(str(images - 1)))


def about_memory(
    path: Path, memory: Exemplars, names: Mapping[int, str], folders: Mapping[int, str], decoded: bool
) -> dict[str, Any]:
    """What ``memory.json`` says."""
    counts = memory.labels.bincount().tolist()
    factor = memory.partition**2 if decoded else 1
    keys = task_keys(memory)
    return {
        "about": "Images of a replay memory written by iid-cl; each folder holds a class, the most important first.",
        "file": path.name,
        "decoded": decoded,
        "partition": memory.partition,
        "bytes_in_memory": memory.nbytes,
        "classes": [
            {
                "index": c,
                **(dict(zip(("class", "task"), keys[c], strict=True)) if c in keys else {}),
                "name": name,
                "folder": folders[c],
                "images": counts[c] * factor,
            }
            for c, name in names.items()
        ],
        "memory": dict(memory.metadata),
    }


def _check_table(path: Path, memory: Exemplars, classes: int) -> None:
    """Refuses soft labels whose table is far larger than they are: it has a number for each image and class."""
    if memory.soft_labels is None:
        return
    stored = memory.soft_labels.probabilities
    numbers = len(stored) * classes
    if numbers > max(FEW_NUMBERS, MOST_RATIO * stored.numel()):
        raise UserError(
            f"{path}: its {stored.numel():,} soft labels would be a table of {numbers:,} numbers; read them with "
            "iid_cl.load_memory instead."
        )


def _write_soft_labels(
    file: Path, memory: Exemplars, names: Mapping[int, str], folders: Mapping[int, str], decoded: bool
) -> None:
    """A row per decoded image, a column per class; stored images of several parts have a row for each."""
    assert memory.soft_labels is not None  # its caller asks first
    largest = max(memory.classes[-1], int(memory.soft_labels.columns.max()))  # columns may name classes that left
    parts, counts = memory.partition**2, memory.labels.bincount().tolist()
    digits = {label: _digits(counts[label] * (parts if decoded else 1)) for label in memory.classes}
    done = dict.fromkeys(memory.classes, 0)
    with file.open("w", encoding="utf-8", errors="replace", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["file", "part", *names.values()])
        for rows in torch.arange(len(memory)).split(max(1, AT_ONCE // (4 * parts * (largest + 1)))):
            some = iter(memory.take(rows).targets(largest + 1)[:, memory.classes].tolist())
            for label in memory.labels[rows].tolist():
                for part in range(parts):
                    number, within = (done[label] * parts + part, 0) if decoded else (done[label], part)
                    place = f"{folders[label]}/{number:0{digits[label]}}.png"
                    writer.writerow([place, within, *(f"{value:.6g}" for value in next(some))])
                done[label] += 1
