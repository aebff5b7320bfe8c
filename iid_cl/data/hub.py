"""Data sets of the Hugging Face hub and of parquet files: ``hf:NAME_OR_FOLDER`` and ``parquet:FOLDER``.

Both hold encoded pictures, which are read like image files. No program of a data set is run.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import torch

from iid_cl.config.datasets import DatasetInfo
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.album import Album
from iid_cl.data.cache import belongs_on_disk, on_disk
from iid_cl.data.images import ImageDataset, LabelledImages
from iid_cl.data.pictures import Picture, decode_picture
from iid_cl.data.places import cache_folder
from iid_cl.data.sources import make_dataset, place_of
from iid_cl.errors import UserError, need, shown

IMAGES = ("image", "img", "images", "pixels", "pixel_values")
LABELS = ("label", "labels", "fine_label", "target", "class", "y")
BATCH = 256  # rows of a parquet file that are read together
OPTIONS = ("image", "label", "train", "test", "config")


@dataclass(frozen=True)
class Rows:
    """A part of a data set.

    Attributes:
        columns: their names.
        names: of the classes, by column, where a column has some.
        state: text that changes with what the part holds.
        column: takes a name, and gives all values of a column.
        rows: takes a number, and gives the rows from there on.
    """

    columns: Sequence[str]
    names: Mapping[str, Sequence[str]]
    state: str
    column: Callable[[str], Sequence[Any]]
    rows: Callable[[int], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Address:
    """What an address names: ``PLACE?image=COLUMN&label=COLUMN&train=PART&test=PART&config=NAME``."""

    dataset: str
    place: str
    options: Mapping[str, str]

    @classmethod
    def of(cls, config: StreamConfig) -> "Address":
        """The address of a configuration's data set.

        Raises:
            UserError: an unknown option.
        """
        place, _, query = place_of(config).partition("?")
        options = dict(parse_qsl(query))
        for name in options:
            if name not in OPTIONS:
                raise UserError(f"stream.dataset: {config.dataset!r} has no option {name!r}; use {', '.join(OPTIONS)}.")
        return cls(config.dataset, place, options)

    def column(self, option: str, known: Sequence[str], columns: Sequence[str]) -> str:
        """The column of the images or labels.

        Raises:
            UserError: there is none, or none of a known name.
        """
        wanted = [self.options[option]] if option in self.options else known
        found = next((name for name in wanted if name in columns), None)
        if found is None:
            raise UserError(
                f"stream.dataset: {self.dataset!r} has the columns {', '.join(columns)}; name that of the {option}s "
                f"with ?{option}=COLUMN."
            )
        return found


def load_hf(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """A data set of the hub, or a folder as ``save_to_disk`` or a download of the hub leaves it."""
    need("datasets", "stream.dataset: hf:", "hf")
    import datasets

    address = Address.of(config)
    datasets.disable_progress_bars()
    folder = root / address.place
    try:
        if any((folder / mark).is_file() for mark in ("dataset_dict.json", "state.json")):
            parts = datasets.load_from_disk(str(folder))
        else:
            place = str(folder) if folder.exists() else address.place
            parts = datasets.load_dataset(place, address.options.get("config"))
    except Exception as error:  # of the network, the hub, or damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"stream.dataset: {address.dataset!r} cannot be loaded ({reason[:300]}).") from None
    if not isinstance(parts, dict):
        raise UserError(f"stream.dataset: {address.dataset!r} is one part; it needs training and test images.")

    def rows(part: Any) -> Rows:
        image = address.column("image", IMAGES, part.column_names)
        kind = part.features[image]
        undecoded = part.cast_column(image, datasets.Image(decode=False)) if hasattr(kind, "decode") else part
        names = {name: kind.names for name, kind in part.features.items() if hasattr(kind, "names")}
        return Rows(
            part.column_names, names, part._fingerprint, lambda name: list(part[name]),
            lambda first: undecoded.select(range(first, len(undecoded))),
        )  # fmt: skip

    train, test = (rows(parts[name]) for name in _split_names(address, list(parts)))
    return _of_rows(config, address, train, test)


def _split_names(address: Address, names: Sequence[str]) -> tuple[str, str]:
    train = address.options.get("train", "train")
    test = address.options.get("test") or next((n for n in ("test", "validation", "valid") if n in names), "test")
    for option, name in (("train", train), ("test", test)):
        if name not in names:
            raise UserError(
                f"stream.dataset: {address.dataset!r} has the parts {', '.join(names)}; name the {option} part with "
                f"?{option}=PART."
            )
    return train, test


def load_parquet(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """Parquet files of a folder, those of the test set called ``test*.parquet``, the others ``train*.parquet``."""
    need("pyarrow", "stream.dataset: parquet:", "hf")
    address = Address.of(config)
    folder = root / address.place
    if not folder.is_dir():
        raise UserError(f"stream.dataset: {folder}: no such folder; a relative path begins at --data-root.")
    parts = []
    for option, start in (("train", "train"), ("test", "test")):
        pattern = address.options.get(option, f"{start}*.parquet")
        files = sorted(path for path in folder.rglob("*.parquet") if path.match(pattern))
        if not files:
            raise UserError(f"stream.dataset: {folder} has no {pattern}; name the files with ?{option}=PATTERN.")
        parts.append(_of_files(files))
    return _of_rows(config, address, *parts)


def _of_files(files: Sequence[Path]) -> Rows:
    from pyarrow import ArrowException, parquet

    try:
        tables = [parquet.ParquetFile(file) for file in files]
    except (ArrowException, OSError) as error:
        raise UserError(f"{files[0]}: cannot be read as parquet ({' '.join(str(error).split())}).") from None
    schema = tables[0].schema_arrow
    about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = about.get("info", {}).get("features", {})
    names = {name: kind["names"] for name, kind in features.items() if isinstance(kind, dict) and "names" in kind}

    def column(name: str) -> list[Any]:
        return [value for table in tables for value in table.read([name])[name].to_pylist()]

    def rows(first: int) -> Iterable[Mapping[str, Any]]:
        start = 0
        for table in tables:
            end = start + table.metadata.num_rows
            for batch in table.iter_batches(BATCH) if end > first else ():
                if start + len(batch) > first:
                    yield from batch.slice(max(0, first - start)).to_pylist()
                start += len(batch)
            start = end

    states = [(file, file.stat()) for file in files]
    state = "\n".join(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}" for file, status in states)
    return Rows(schema.names, names, state, column, rows)


def _of_rows(config: StreamConfig, address: Address, train: Rows, test: Rows) -> ImageDataset:
    """The data set of training and test rows. Class names are those of the training rows, or their texts in order."""
    image = address.column("image", IMAGES, train.columns)
    label = address.column("label", LABELS, train.columns)
    names = train.names.get(label)
    parts = []
    for part, rows in (("training", train), ("test", test)):
        what = f"stream.dataset: {address.dataset!r}, {part}"
        for name in (image, label):
            if name not in rows.columns:
                raise UserError(f"{what}: has no column {name!r}.")
        labels = rows.column(label)
        if not labels:
            raise UserError(f"{what}: has no images.")
        if not names and isinstance(labels[0], str):
            names = sorted(set(labels))
        try:
            numbers = _numbers(labels, names)
        except UserError as error:
            raise UserError(f"{what}: {error}") from None
        album = _album(rows, image, what, len(numbers), config.image_size)
        maps = belongs_on_disk(config.cache, album.nbytes)
        images, _ = on_disk(album, cache_folder()) if maps else album.collect()
        parts.append(LabelledImages(images, torch.tensor(numbers)))
    return make_dataset(config, parts[0], parts[1], names)


def _album(rows: Rows, image: str, what: str, count: int, size: int | None) -> Album:
    def pictures(first: int) -> Iterator[tuple[str, Picture]]:
        for number, row in enumerate(rows.rows(first), start=first):
            name = f"{what} image {number}"
            yield name, _picture(row[image], name, size)

    state = hashlib.sha256(f"{image} {size}\n{rows.state}".encode(errors="surrogateescape")).hexdigest()[:32]
    return Album(f"{what.removeprefix('stream.dataset: ')} at {size} px", state, count, pictures)


def _numbers(labels: Sequence[Any], names: Sequence[str] | None) -> list[int]:
    numbers = {name: number for number, name in enumerate(names or ())}
    found: list[int] = []
    for label in labels:
        number = numbers.get(label) if isinstance(label, str) else label
        if isinstance(number, bool) or not isinstance(number, int):
            raise UserError(f"the label {shown(label)} is no class of the training set; give whole numbers or names.")
        found.append(number)
    return found


def _picture(value: Any, what: str, size: int | None) -> Picture:
    """An encoded picture, or an array of one."""
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if data is None and isinstance(value, Mapping) and value.get("path"):
        raise UserError(f"{what}: names a file and does not hold it; store the pictures with `Image` or as bytes.")
    if isinstance(data, bytes | bytearray):
        return decode_picture(io.BytesIO(data), what, size)
    array = np.asarray(data)
    if array.dtype.kind == "i" and array.size and array.min() >= 0 and array.max() <= 255:
        array = array.astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or size is not None:
        raise UserError(f"{what}: is no encoded picture, nor numbers from 0 to 255 of one size.")
    if array.ndim == 2:
        return Picture(array[:, :, None], False, False, False)
    first = array.shape[0] in (1, 3) and array.shape[-1] not in (1, 3)
    return Picture(np.moveaxis(array, 0, -1) if first else array, False, False, False)
