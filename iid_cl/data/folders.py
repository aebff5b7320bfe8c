"""Image files on disk, decoded once into a cached uint8 tensor.

Folders and files may come from anywhere. So links that lead out of the folder are refused, rare formats that start
other programs are not read, and images that would not fit into memory are refused before they are decoded.
"""

import contextlib
import hashlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError, is_printable, shown
from iid_cl.files import save_tensors

logging.getLogger("PIL").addHandler(logging.NullHandler())  # our own message says what is wrong with an image

DEEPEST = 32  # levels of nested folders
LARGEST_FILE = 2**29  # bytes
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF", "TIFF")  # by content; other formats, such as EPS, run programs
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff"}


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
            raise UserError(f"{folder / name}: class {name!r} has no images; add some or remove the folder.")
    return names, files


def _images_below(folder: Path, start: Path) -> Iterator[Path]:
    """Image files below ``start``, by their suffixes; hidden files, such as other systems' thumbnails, are skipped.

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
            path = parent / entry.name
            image = path.suffix.lower() in SUFFIXES and not entry.name.startswith(".")
            if entry.is_symlink() and (image or entry.is_dir()):
                _check_link(folder, path)
            if entry.is_dir():
                waiting.append((path, depth + 1))
            elif image and entry.is_file():
                yield path


def _check_link(folder: Path, path: Path) -> None:
    """Refuses a link unless it leads to a file within ``folder``."""
    if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(folder.resolve())):
        raise UserError(
            f"{path}: is a link that leads out of {folder}, to a folder or nowhere; put the files themselves there."
        )


def load_files(files: Sequence[Sequence[Path]], image_size: int | None, cache: Path | None) -> LabelledImages:
    """Decodes the image files, or reads the decoded images from ``cache`` if the files are unchanged.

    Args:
        files: image files of each class index.
        image_size: side in pixels to resize to; None requires one common size.
        cache: folder of decoded images; None: no cache. Its key is ``image_size`` with the images' paths, sizes and
            modification times.

    Raises:
        UserError: an image cannot be decoded, sizes differ and ``image_size`` is None, or all images together
            would not fit into this machine's memory.
    """
    labels = torch.tensor([label for label, members in enumerate(files) for _ in members])
    paths = [path for members in files for path in members]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such file; the data set is incomplete, unpack it again.")
    file = None if cache is None else cache / f"{_fingerprint(paths, image_size)}.safetensors"
    if file is not None and file.is_file():
        with contextlib.suppress(SafetensorError, KeyError, OSError):  # damaged: decode again and replace it
            images = load_file(file)["images"]
            if images.dtype == torch.uint8 and images.ndim == 4 and len(images) == len(labels):
                return LabelledImages(images, labels)
    images = _decode_all(paths, image_size)
    if file is not None:
        with contextlib.suppress(UserError):  # a full or read-only disk: the cache only saves time
            save_tensors(file, {"images": images})
    return LabelledImages(images, labels)


def _decode_all(paths: Sequence[Path], image_size: int | None) -> Tensor:
    images = np.empty((0, 0, 0, 0), np.uint8)
    for index, path in enumerate(paths):
        array = _decode(path, image_size).transpose(2, 0, 1)
        if not index:
            _check_room(len(paths), array)
            images = np.empty((len(paths), *array.shape), np.uint8)
        height, width = images.shape[2:]
        if array.shape[1:] != (height, width):
            raise UserError(
                f"{path}: is {array.shape[2]}x{array.shape[1]} pixels but {paths[0]} is {width}x{height}; "
                "set stream.image_size to resize all images."
            )
        if len(array) > images.shape[1]:  # the first colour image: grey ones fill all its channels
            images = images.repeat(len(array), axis=1)
        images[index] = array
    return torch.from_numpy(images)


def _check_room(count: int, image: np.ndarray) -> None:
    """Refuses ``count`` colour images of the first image's size if they exceed this machine's memory."""
    needed = count * 3 * image.shape[1] * image.shape[2]
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise UserError(
            f"{count:,} images of {image.shape[2]}x{image.shape[1]} pixels take {needed / 2**30:,.1f} GiB, more than "
            f"the {available / 2**30:,.1f} GiB of this machine; set a lower stream.image_size or first_classes."
        )


def _decode(path: Path, image_size: int | None) -> np.ndarray:
    """An image, or the first frame of an animation, as uint8 (H, W, C); C is 1 for grey images and 3 otherwise."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE:,} bytes")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                decoded = _eight_bits(ImageOps.exif_transpose(image))
        if image_size is not None and decoded.size != (image_size, image_size):
            decoded = decoded.resize((image_size, image_size), Image.Resampling.BILINEAR)
        array = np.asarray(decoded)
    except Exception as error:  # Pillow raises almost anything on damaged bytes
        raise UserError(f"{path}: cannot be decoded as an image ({error}); repair or remove it.") from None
    return array[:, :, None] if array.ndim == 2 else array


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image as 8-bit grey (mode L) or colour (RGB); 16-bit grey keeps its brightness."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _fingerprint(paths: Sequence[Path], image_size: int | None) -> str:
    digest = hashlib.sha256(f"1 {image_size}".encode())
    for path in paths:
        status = path.stat()
        digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
