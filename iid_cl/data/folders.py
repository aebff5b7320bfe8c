"""Image files on disk: decoded once into a cached uint8 tensor."""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.memory.files import save_tensors

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff"}


def list_class_folders(folder: Path, class_names: Sequence[str] | None = None) -> tuple[list[str], list[list[Path]]]:
    """Class names (sorted folder names) and each class's image files (sorted).

    Args:
        folder: holds one folder per class.
        class_names: the classes that must be there and no others; None takes what is there.

    Raises:
        UserError: the folder is missing, has no class folders, a class has no images, or the classes differ.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; an image folder holds train/ and test/, each with one folder per class."
        )
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise UserError(f"{folder}: holds no class folders; put each class's images in a folder of its own.")
    if class_names is not None and found != list(class_names):
        odd = sorted(set(found) ^ set(class_names))
        raise UserError(f"{folder}: its classes differ from the training set's ({', '.join(odd[:5])}).")
    files = [sorted(file for file in (folder / name).rglob("*") if _is_image(file)) for name in found]
    for name, members in zip(found, files, strict=True):
        if not members:
            raise UserError(f"{folder / name}: class {name!r} has no images; add some or remove the folder.")
    return found, files


def _is_image(file: Path) -> bool:
    """By name; hidden files, such as other systems' thumbnails, are none."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def load_files(files: Sequence[Sequence[Path]], image_size: int | None, cache: Path | None) -> LabelledImages:
    """Decodes each class's files, class index = position; reads them from ``cache`` when unchanged.

    Args:
        files: image files per class.
        image_size: side in pixels to resize to, or None to require one common size.
        cache: folder of decoded tensors, or None for no cache. A file is found again by the paths, sizes
            and modification times of the images and by ``image_size``.

    Raises:
        UserError: an image cannot be decoded, or sizes differ and ``image_size`` is None.
    """
    labels = torch.tensor([label for label, members in enumerate(files) for _ in members])
    paths = [path for members in files for path in members]
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise UserError(f"{missing}: no such file; the data set is incomplete, unpack it again.")
    cached = None if cache is None else cache / f"{_fingerprint(paths, image_size)}.safetensors"
    if cached is not None and cached.is_file():
        try:
            images = load_file(cached)["images"]
            if images.dtype == torch.uint8 and images.ndim == 4 and len(images) == len(labels):
                return LabelledImages(images, labels)
        except (SafetensorError, KeyError, OSError):
            pass  # a damaged cache is only a cache: decode again and replace it
    images = _decode_all(paths, image_size)
    if cached is not None:
        with contextlib.suppress(UserError):  # a full or read-only disk: the cache only saves time
            save_tensors(cached, {"images": images})
    return LabelledImages(images, labels)


def _decode_all(paths: Sequence[Path], image_size: int | None) -> Tensor:
    arrays = [_decode(path, image_size) for path in paths]
    channels = max(array.shape[2] for array in arrays)
    size = arrays[0].shape[:2]
    for path, array in zip(paths, arrays, strict=True):
        if array.shape[:2] != size:
            raise UserError(
                f"{path}: is {array.shape[1]}x{array.shape[0]} pixels but {paths[0]} is {size[1]}x{size[0]}; "
                "set stream.image_size to resize all images."
            )
    images = np.empty((len(arrays), channels, *size), np.uint8)
    for index, array in enumerate(arrays):
        images[index] = array.transpose(2, 0, 1)  # a grey image fills all channels of a colour set
    return torch.from_numpy(images)


def _decode(path: Path, image_size: int | None) -> np.ndarray:
    """One image as uint8 (H, W, C); C is 1 for grey images and 3 otherwise."""
    try:
        with Image.open(path) as image:
            decoded = _eight_bits(ImageOps.exif_transpose(image))
            if image_size is not None and decoded.size != (image_size, image_size):
                decoded = decoded.resize((image_size, image_size), Image.Resampling.BILINEAR)
            array = np.asarray(decoded)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
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
