"""What a memory may claim of itself, so that no small file costs gigabytes or minutes to whoever reads it."""

from collections.abc import Mapping
from typing import Any

from iid_cl.errors import shown

MOST_BYTES = 2**32  # of a file; what is larger is a data set, not a memory
MOST_METADATA = 2**22  # characters
MOST_HEADER = 8 * MOST_METADATA  # bytes of a safetensors header; JSON within JSON escapes quotes and letters
MOST_IMAGES = 2**20  # that are trained on
MOST_PIXELS = 2**32  # bytes of all images that are trained on
MOST_OF_AN_IMAGE = 2**26  # bytes of one of them
FEW_PIXELS = 2**27  # bytes that a file of any size may unfold to
# Bytes trained on per byte stored. JPEG with the tables that are written here takes 32 bits at least for the 768 bytes
# of a block of 16x16 pixels in colour: a ratio of 192.
MOST_RATIO = 200
LONGEST_NAME = 1000  # characters of a class's name
DEEPEST = 32  # levels of nested metadata


def check_images(images: int, image_bytes: int, stored_bytes: int) -> None:
    """Bounds what a memory unfolds to: ``images`` of ``image_bytes`` each, from ``stored_bytes``.

    Raises:
        ValueError: no pixels, or too many.

    >>> check_images(100, 3 * 32 * 32, 100_000)
    >>> check_images(1000, 3 * 1000 * 1000, 1_000_000)
    Traceback (most recent call last):
    ValueError: 1,000 images of 3,000,000 bytes are too much for 1,000,000 stored bytes
    """
    total = images * image_bytes
    if total < 1:
        raise ValueError("its images have no pixels")
    if images > MOST_IMAGES or image_bytes > MOST_OF_AN_IMAGE or total > MOST_PIXELS:
        raise ValueError(f"{_number(images)} images of {_number(image_bytes)} bytes are too much for a memory")
    if total > max(FEW_PIXELS, MOST_RATIO * stored_bytes):
        raise ValueError(f"{images:,} images of {image_bytes:,} bytes are too much for {stored_bytes:,} stored bytes")


def _number(value: int) -> str:
    return f"{value:,}" if value < 10**15 else shown(value)


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Bounds the nesting of metadata and the lengths of class names.

    Raises:
        ValueError: it is nested too deeply, or a name is too long.

    >>> check_metadata({"class_names": ["k" * 2000]})
    Traceback (most recent call last):
    ValueError: a class has a name of 2,000 characters
    """
    level: list[Any] = [metadata]
    for _ in range(DEEPEST):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, Mapping) else value)
            if isinstance(inner, Mapping | list | tuple)
        ]
        if not level:
            break
    else:
        raise ValueError(f"its metadata are nested more than {DEEPEST} deep")
    names = metadata.get("class_names")
    for name in names if isinstance(names, list | tuple) else ():
        if isinstance(name, str) and len(name) > LONGEST_NAME:
            raise ValueError(f"a class has a name of {len(name):,} characters")
