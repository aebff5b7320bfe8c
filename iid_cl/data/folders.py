"""Image files on disk, decoded once into uint8 images in memory, or in a cache on disk that is mapped.

Folders and files may come from anywhere. So links that lead out of the folder are refused, rare formats that start
other programs are not read, and images that would not fit into memory are refused before they are decoded. What is not
read can be named, so that nothing is left out in silence.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from iid_cl.config.base import CacheMode
from iid_cl.data.album import Album
from iid_cl.data.cache import belongs_on_disk, on_disk
from iid_cl.data.pictures import SUFFIXES, Picture, read_picture
from iid_cl.errors import UserError, is_printable, printable, shown
from iid_cl.files import save_tensors

logging.getLogger("PIL").addHandler(logging.NullHandler())  # our own message says what is wrong with an image

DEEPEST = 32  # levels of nested folders
CLUTTER = {".ds_store", "thumbs.db", "desktop.ini", ".gitkeep", ".gitignore"}  # that systems leave beside any file
NAMED = 10  # files in a sentence about several


@dataclass(frozen=True)
class Decoded:
    """Images from files, and what had to be done to read them.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
        transparent: bool (N,), whether an image has been laid on white.
        several: bool (N,), whether a file holds further pictures.
        deep: bool (N,), whether a file has more than 8 bits for a grey value.
    """

    images: Tensor
    labels: Tensor
    transparent: Tensor
    several: Tensor
    deep: Tensor


def list_class_folders(folder: Path, class_names: Sequence[str] | None = None) -> tuple[list[str], list[list[Path]]]:
    """Class names (sorted folder names) and each class's image files (sorted).

    Args:
        folder: holds one folder per class.
        class_names: exactly the classes that must be there; None accepts any.

    Raises:
        UserError: the folder is missing or has no class folders; a class has no images or a name that cannot be shown;
            the classes differ; a link leads out of the folder or to another folder; folders are nested too deeply.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; an image folder holds train/ and test/, each with one folder per class."
        )
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        files = [sorted(_images_below(folder, folder / name)) for name in names]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}: {error.filename}).") from None
    for name in names:
        if not is_printable(name):
            raise UserError(f"{folder}: the class {shown(name)} has a name that cannot be shown; rename its folder.")
    if not names:
        raise UserError(f"{folder}: holds no class folders; put each class's images in a separate folder.")
    if class_names is not None and names != list(class_names):
        odd = sorted(set(names) ^ set(class_names))
        raise UserError(f"{folder}: its classes differ from the training set's ({', '.join(odd[:5])}).")
    for name, members in zip(names, files, strict=True):
        if not members:
            among = some_names(folder, list(unread_files(folder, [name])))
            raise UserError(
                f"{folder / name}: class {name!r} has no images{f' among its files: {among}' if among else ''}; add "
                "some or remove the folder."
            )
    return names, files


def unread_files(folder: Path, class_names: Sequence[str]) -> Iterator[Path]:
    """Files of these classes, or beside their folders, that are not read: other kinds, hidden ones, pipes.

    Of a hidden folder the folder itself. What systems leave in every folder is left out, see :data:`CLUTTER`.
    """
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir() and not _is_clutter(entry.name):
            yield entry
    for name in class_names:
        yield from sorted(path for path, read in _walk(folder, folder / name) if not read)


def some_names(folder: Path, paths: Sequence[Path]) -> str:
    """The number of some files and the names of the first, relative to ``folder``; empty for no files."""
    if not paths:
        return ""
    names = ", ".join(printable(str(path.relative_to(folder))) for path in paths[:NAMED])
    return f"{len(paths):,} ({names}{', …' if len(paths) > NAMED else ''})"


def _images_below(folder: Path, start: Path) -> Iterator[Path]:
    return (path for path, read in _walk(folder, start) if read)


def _walk(folder: Path, start: Path) -> Iterator[tuple[Path, bool]]:
    """Files below ``start``, and whether each is an image by its suffix; hidden files and folders are not read.

    Links to files within ``folder`` are followed.
    """
    _check_link(folder, start)
    waiting = [(start, 1)]
    while waiting:
        parent, depth = waiting.pop()
        if depth > DEEPEST:
            raise UserError(f"{start}: its folders lie more than {DEEPEST} deep; put the images further up.")
        with os.scandir(parent) as scan:
            entries = list(scan)
        for entry in entries:
            path, hidden = parent / entry.name, entry.name.startswith(".")
            image = path.suffix.lower() in SUFFIXES and not hidden
            if entry.is_symlink() and (image or entry.is_dir()):
                _check_link(folder, path)
            if entry.is_dir() and not hidden:
                waiting.append((path, depth + 1))
            elif image and entry.is_file():
                yield path, True
            elif not _is_clutter(entry.name):
                yield path, False


def _is_clutter(name: str) -> bool:
    return name.lower() in CLUTTER or name.startswith("._")


def _check_link(folder: Path, path: Path) -> None:
    """Refuses a link unless it leads to a file within ``folder``."""
    if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(folder.resolve())):
        raise UserError(
            f"{path}: is a link that leads out of {folder}, to a folder or nowhere; put the files themselves there."
        )


def load_files(
    files: Sequence[Sequence[Path]], image_size: int | None, cache: Path | None, mode: CacheMode = "auto"
) -> Decoded:
    """Decodes the image files, or takes the decoded images from ``cache`` if the files are unchanged.

    Args:
        files: image files of each class index.
        image_size: side in pixels to resize to; None requires one common size.
        cache: folder of decoded images; None: no cache. Its key is ``image_size`` with the images' paths, sizes and
            modification times.
        mode: whether the decoded images stay in the cache and are read as they are needed.

    Raises:
        UserError: an image cannot be decoded, sizes differ and ``image_size`` is None, all images together would not
            fit into this machine's memory, or see :func:`iid_cl.data.cache.on_disk`.
    """
    labels = torch.tensor([label for label, members in enumerate(files) for _ in members])
    paths = [path for members in files for path in members]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such file; the data set is incomplete, unpack it again.")
    album = _album(paths, image_size, len(files))
    file = None if cache is None else cache / f"{album.state}.safetensors"

    def nbytes() -> int:
        return file.stat().st_size if file is not None and file.is_file() else album.nbytes()

    if cache is not None and belongs_on_disk(mode, nbytes):
        mapped, flags = on_disk(album, cache)
        return Decoded(mapped, labels, *flags)
    if file is not None and file.is_file():
        with contextlib.suppress(SafetensorError, TypeError, OSError):  # damaged: decode again and replace it
            kept = _checked(Decoded(labels=labels, **load_file(file)))
            if kept is not None:
                return kept
    images, flags = album.collect()
    decoded = Decoded(images, labels, *flags.clone().unbind())
    if file is not None:
        tensors = {field.name: getattr(decoded, field.name) for field in fields(decoded) if field.name != "labels"}
        with contextlib.suppress(UserError):  # a full or read-only disk: the cache only saves time
            save_tensors(file, tensors)
    return decoded


def _album(paths: Sequence[Path], image_size: int | None, classes: int) -> Album:
    def pictures(first: int) -> Iterator[tuple[str, Picture]]:
        return ((str(path), read_picture(path, image_size)) for path in paths[first:])

    folder = os.path.commonpath([path.absolute().parent for path in paths])
    size = "" if image_size is None else f" at {image_size} px"
    place = f"{folder}, {classes} class{'es' if classes > 1 else ''}{size}"
    return Album(place, _fingerprint(paths, image_size), len(paths), pictures)


def _checked(kept: Decoded) -> Decoded | None:
    """What a cache holds, if it fits the labels."""
    flags = (kept.transparent, kept.several, kept.deep)
    fits = kept.images.dtype == torch.uint8 and kept.images.ndim == 4 and len(kept.images) == len(kept.labels)
    return kept if fits and all(f.dtype == torch.bool and f.shape == kept.labels.shape for f in flags) else None


def _fingerprint(paths: Sequence[Path], image_size: int | None) -> str:
    digest = hashlib.sha256(f"2 {image_size}".encode())
    for path in paths:
        status = path.stat()
        digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
