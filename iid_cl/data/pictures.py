"""Pictures of every kind as 8-bit grey or colour: those that programs hand over, and those in files.

Transparent pictures are laid on white. Where black and white are not known, a picture is refused by name.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from iid_cl.data.accept import unit_bytes
from iid_cl.errors import UserError

LARGEST_FILE = 2**29  # bytes
# By content. Other formats, such as EPS, run programs; TGA has no mark to know it by, so it goes by its suffix.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "PPM", "GIF", "TIFF", "AVIF", "JPEG2000")
TARGA = {".tga", ".icb", ".vda", ".vst"}
SUFFIXES = TARGA | {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm",
    ".gif", ".tif", ".tiff", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
}  # fmt: skip

SIXTEEN = ("PNG", "PPM", "JPEG2000")  # formats whose pictures of mode I hold 16 bits
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339  # tags of TIFF
_SIGNED = 2


@dataclass(frozen=True)
class Picture:
    """A picture from a file.

    Attributes:
        pixels: uint8 (H, W, C); C is 1 for grey pictures and 3 otherwise.
        transparent: whether some of it is not opaque; it is laid on white.
        several: whether the file holds further pictures; these are not read.
        deep: whether it has more than 8 bits for a grey value.
    """

    pixels: np.ndarray[Any, Any]
    transparent: bool
    several: bool
    deep: bool


def eight_bits(image: Image.Image) -> Image.Image:
    """The picture as 8-bit grey (mode L) or colour (RGB), laid on white where it is transparent.

    Grey of 16 bits keeps its brightness. Floats (mode F) are taken from 0, black, to 1, white. Whole numbers of 32 bits
    (mode I) are known from :data:`SIXTEEN` formats only, where they have 16.

    Raises:
        UserError: a mode that cannot be converted, named with the way out.

    >>> eight_bits(Image.new("RGBA", (1, 1), (0, 0, 0, 51))).getpixel((0, 0))  # a fifth of black on white
    (204, 204, 204)
    """
    image.load()  # what is wrong with a file is said by its decoder
    if image.mode == "F":
        return Image.fromarray(unit_bytes(torch.from_numpy(np.array(image)), "a picture of mode F").numpy())
    if image.mode.startswith("I"):
        return _of_sixteen(image)
    try:
        if image.has_transparency_data:
            return _on_white(image)
        return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except (ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(
            f"a picture of mode {image.mode} cannot be read as grey or colour ({error}); convert it to RGB."
        ) from None


def is_transparent(image: Image.Image) -> bool:
    """Whether a picture has pixels that are not opaque.

    >>> is_transparent(Image.new("RGBA", (1, 1), (0, 0, 0, 255)))
    False
    """
    if not image.has_transparency_data:
        return False
    if image.mode.startswith("I"):
        return bool((_whole_numbers(image) == image.info.get("transparency")).any())
    return bool(_layered(image).getchannel("A").getextrema()[0] != 255)


def read_picture(path: Path, image_size: int | None = None) -> Picture:
    """A file's picture, upright; the first one of several.

    Args:
        path: its content says in which of the :data:`FORMATS` it is.
        image_size: side in pixels to resize to; None keeps the size.

    Raises:
        UserError: it cannot be decoded, is too large, or does not say what black and white are.
    """
    return decode_picture(path, str(path), image_size)


def decode_picture(source: Path | BytesIO, name: str, image_size: int | None = None) -> Picture:
    """The picture of a file, or of a file's bytes, see :func:`read_picture`.

    Args:
        source: a file, or what it holds.
        name: for messages.
        image_size: side in pixels to resize to; None keeps the size.

    Raises:
        UserError: as :func:`read_picture`.
    """
    targa = isinstance(source, Path) and source.suffix.lower() in TARGA
    try:
        size = source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes
        if size > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE:,} bytes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=_formats(targa)) as image:
                several = bool(getattr(image, "is_animated", False))
                deep = image.mode.startswith(("I", "F"))
                decoded, transparent = _decoded(image)
        if image_size is not None and decoded.size != (image_size, image_size):
            decoded = decoded.resize((image_size, image_size), Image.Resampling.BILINEAR)
        array = np.asarray(decoded)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except Exception as error:  # Pillow raises almost anything on damaged bytes
        raise UserError(f"{name}: cannot be decoded as an image ({error}); repair or remove it.") from None
    return Picture(array[:, :, None] if array.ndim == 2 else array, transparent, several, deep)


@lru_cache
def _formats(targa: bool) -> tuple[str, ...]:
    """The formats that this installation of Pillow knows."""
    Image.init()
    return tuple(name for name in (*FORMATS, *(["TGA"] if targa else [])) if name in Image.OPEN)


def _decoded(image: Image.Image) -> tuple[Image.Image, bool]:
    """An opened file's picture, upright and in 8 bits, and whether it was transparent."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise UserError("its numbers have a sign, so that black and white are not known; convert it to uint8.")
    bits, dark_is_high = tags.get(_BITS, (8,))[0], tags.get(_PHOTOMETRIC) == 0
    upright = ImageOps.exif_transpose(image)
    upright.format = image.format
    if bits == 12:  # Pillow widens them without changing their values
        upright = Image.fromarray((_whole_numbers(upright) * 65535 // 4095).astype(np.uint16))
    transparent = is_transparent(upright)
    decoded = eight_bits(upright)
    inverted = dark_is_high and upright.mode not in ("1", "L")  # these alone are inverted by Pillow
    return (ImageOps.invert(decoded) if inverted else decoded), transparent


def _of_sixteen(image: Image.Image) -> Image.Image:
    if image.mode == "I" and image.format not in SIXTEEN:
        raise UserError(
            "a picture of mode I has whole numbers of 32 bits, for which black and white are not known; convert it to "
            "8 or 16 bits."
        )
    values = _whole_numbers(image)
    if "transparency" in image.info:
        values = np.where(values == image.info["transparency"], 65535, values)
    if values.min() < 0 or values.max() > 65535:
        raise UserError(
            f"a picture of mode {image.mode} has values from {values.min()} to {values.max()}; convert it to 8 bits."
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))  # to the nearest of 0, 257, ..., 65535


def _whole_numbers(image: Image.Image) -> np.ndarray[Any, Any]:
    """The values of a picture of mode I or I;16 in any byte order, int32 (H, W)."""
    return np.asarray(image.convert("I"), np.int32)


def _on_white(image: Image.Image) -> Image.Image:
    layered = _layered(image)
    mode = layered.mode.removesuffix("A")
    ground = Image.new(mode, image.size, "white")
    ground.paste(layered.convert(mode), mask=layered.getchannel("A"))
    return ground


def _layered(image: Image.Image) -> Image.Image:
    """A picture with transparency as LA if it is grey, or as RGBA."""
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and any(value > 255 for value in key):
        image = image.copy()  # a file of 16 bits, of which Pillow keeps the upper 8
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
