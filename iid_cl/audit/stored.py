"""Images in the form in which a memory stores them, so that they can be compared with what it holds."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from iid_cl.data.fingerprint import DIGEST_BYTES, digests
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.jpeg import JpegSet, encode, header_length
from iid_cl.memory.partition import cut, reduce_bytes

CHUNK = 4096  # images that are encoded at a time
QUALITIES = range(1, 96)


class Foreign(Exception):
    """A stored image that should not be there: its class, its number in the class, and what it is, in words."""

    def __init__(self, label: int, number: int, what: str) -> None:
        super().__init__(label, number, what)
        self.label, self.number, self.what = label, number, what


def compare_stored(memory: Exemplars, test: Tensor, sources: Callable[[int], Tensor], *, real: bool) -> dict[str, int]:
    """Compares stored images with the images that they may be, and with those that they may not be.

    All are compared in the form in which the memory stores images: whole, shrunk parts, or JPEG files.

    Args:
        memory: as read from its file.
        test: test images, uint8 (N, C, H, W).
        sources: the images of a class that reached the memory, in the same form.
        real: whether the memory claims to hold real images only.

    Returns:
        The number of stored ``images``; of those ``among_sources``: all of a memory of real images, 0 of others, which
        are not compared; and of those that are ``also_in_test``, as the data set itself holds copies.

    Raises:
        Foreign: an image of a memory of real images is none of its sources, or an image equals a test image and none
            of its sources. A format that makes one picture of different test images proves nothing of the latter kind.
    """
    places = {piece: index for index, piece in reversed(list(enumerate(as_stored(memory, test))))}
    exact = len(places) == len(set(digests(test)))
    counts = {"images": 0, "among_sources": 0, "also_in_test": 0}
    for label, pieces in pieces_of(memory).items():
        in_test = [piece in places for piece in pieces]
        own = set(as_stored(memory, sources(label))) if real or any(in_test) else set()
        for number, (piece, suspect) in enumerate(zip(pieces, in_test, strict=True)):
            if piece not in own and (real or (suspect and exact)):
                what = f"is test image {places[piece]}" if suspect else "is none of those that reached the memory"
                raise Foreign(label, number, what)
        counts["images"] += len(pieces)
        counts["among_sources"] += len(pieces) if real else 0
        counts["also_in_test"] += sum(in_test)
    return counts


def as_stored(memory: Exemplars, images: Tensor) -> list[bytes]:
    """A digest of each uint8 image (N, C, H, W) as ``memory`` would store it: whole, shrunk, or as JPEG.

    Empty for an image format of which nothing is known.
    """
    if not isinstance(memory, JpegSet):
        return digests(reduce_bytes(images, memory.partition))
    quality = quality_of(memory)
    if quality is None:
        return []
    return [_digest(file) for chunk in images.split(CHUNK) for file in encode(chunk, quality)]


def pieces_of(memory: Exemplars) -> dict[int, list[bytes]]:
    """A digest of everything that a memory stores of each class: its images, their parts, or its JPEG files."""
    if isinstance(memory, JpegSet):
        return {label: list(map(_digest, files)) for label, files in memory.files_by_class().items()}
    return {label: digests(cut(images, memory.partition)) for label, images in memory.by_class().items()}


def quality_of(memory: JpegSet) -> int | None:
    """The quality whose header the memory's files begin with; None for the header of another program."""
    header, blank = memory.header.numpy().tobytes(), torch.zeros(1, *memory.shape, dtype=torch.uint8)
    for quality in QUALITIES:
        (file,) = encode(blank, quality)
        if file[: header_length(file)] == header:
            return quality
    return None


def _digest(file: bytes) -> bytes:
    return hashlib.blake2b(file, digest_size=DIGEST_BYTES).digest()
