"""Images in the form in which a memory stores them, so that they can be compared with what it holds."""

import hashlib
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from iid_cl.data.fingerprint import DIGEST_BYTES, digests
from iid_cl.data.mapped import chunks
from iid_cl.memory.dct import DctSet
from iid_cl.memory.dct_format import exact, quantise
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.jpeg import JpegSet, encode, header_length
from iid_cl.memory.partition import cut, reduce_bytes

QUALITIES = range(1, 96)
CORNER = 3  # lowest frequencies along each side, which tell most images apart


class Foreign(Exception):
    """A stored image that should not be there: its class, its number in the class, and what it is, in words."""

    def __init__(self, label: int, number: int, what: str) -> None:
        super().__init__(label, number, what)
        self.label, self.number, self.what = label, number, what


def compare_stored(memory: Exemplars, test: Tensor, sources: Callable[[int], Tensor], *, real: bool) -> dict[str, int]:
    """Compares stored images with the images that they may be, and with those that they may not be.

    All are compared in the form in which the memory stores images: whole, shrunk parts, JPEG files, or coefficients.

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
    form = _form_of(memory, test)
    counts = {"images": 0, "among_sources": 0, "also_in_test": 0}
    for label, pieces in form.pieces().items():
        places, exact = form.tests(label, pieces)
        in_test = [piece in places for piece in pieces]
        own = set(form.of(label, sources(label))) if real or any(in_test) else set()
        for number, (piece, suspect) in enumerate(zip(pieces, in_test, strict=True)):
            if piece not in own and (real or (suspect and exact)):
                what = f"is test image {places[piece]}" if suspect else "is none of those that reached the memory"
                raise Foreign(label, number, what)
        counts["images"] += len(pieces)
        counts["among_sources"] += len(pieces) if real else 0
        counts["also_in_test"] += sum(in_test)
    return counts


class _Form(Protocol):
    """How a memory stores images. A piece is a digest of an image, or of its part, as stored."""

    def pieces(self) -> dict[int, list[bytes]]:
        """What the memory holds of each class."""

    def of(self, label: int, images: Tensor) -> list[bytes]:
        """Pieces of uint8 images (N, C, H, W) as the memory would store them with a class."""

    def tests(self, label: int, pieces: list[bytes]) -> tuple[dict[bytes, int], bool]:
        """The first test image of each piece, and whether different test images make different pieces."""


class _Files(_Form):
    """Whole images, parts and JPEG files look the same in each class."""

    def __init__(self, memory: Exemplars, test: Tensor) -> None:
        self._memory = memory
        self._quality = quality_of(memory) if isinstance(memory, JpegSet) else None
        self._places = _first_places(self.of(0, test))
        self._exact = len(self._places) == len(set(digests(test)))

    def pieces(self) -> dict[int, list[bytes]]:
        memory = self._memory
        if isinstance(memory, JpegSet):
            return {label: list(map(_digest, files)) for label, files in memory.files_by_class().items()}
        return {label: digests(cut(images, memory.partition)) for label, images in memory.by_class().items()}

    def of(self, label: int, images: Tensor) -> list[bytes]:
        """Empty for an image format of which nothing is known."""
        if not isinstance(self._memory, JpegSet):
            partition = self._memory.partition
            return [piece for chunk in chunks(images) for piece in digests(reduce_bytes(chunk, partition))]
        if self._quality is None:
            return []
        return [_digest(file) for file in encode(images, self._quality)]

    def tests(self, label: int, pieces: list[bytes]) -> tuple[dict[bytes, int], bool]:
        return self._places, self._exact


class _Coefficients(_Form):
    """Each class has coefficients in a step of its own."""

    def __init__(self, memory: DctSet, test: Tensor) -> None:
        self._steps = {label: one.step for label, one in memory.coded().items()}
        self._held, self._test = memory.coefficients(), test
        self._corners = torch.cat([_corner(exact(chunk)) for chunk in chunks(test)])

    def pieces(self) -> dict[int, list[bytes]]:
        return {label: [_digest(steps.numpy().tobytes()) for steps in held] for label, held in self._held.items()}

    def of(self, label: int, images: Tensor) -> list[bytes]:
        step = self._steps[label]
        return [
            _digest(steps.numpy().tobytes())
            for chunk in chunks(images)
            for steps in quantise(exact(chunk), step).to(torch.int16)
        ]

    def tests(self, label: int, pieces: list[bytes]) -> tuple[dict[bytes, int], bool]:
        """Only test images whose lowest frequencies are those of a stored image are coded whole."""
        corners = quantise(self._corners, self._steps[label]).flatten(1).to(torch.int16)
        held = {row.numpy().tobytes() for row in _corner(self._held[label]).flatten(1)}
        alike = [number for number, row in enumerate(corners) if row.numpy().tobytes() in held]
        if not alike:
            return {}, True
        suspects = self._test[alike]
        places = _first_places(self.of(label, suspects))
        return {piece: alike[number] for piece, number in places.items()}, len(places) == len(set(digests(suspects)))


def _form_of(memory: Exemplars, test: Tensor) -> _Form:
    return _Coefficients(memory, test) if isinstance(memory, DctSet) else _Files(memory, test)


def _corner(coefficients: Tensor) -> Tensor:
    """The lowest frequencies of the first block."""
    return coefficients[:, :, :1, :1, :CORNER, :CORNER]


def _first_places(pieces: list[bytes]) -> dict[bytes, int]:
    return {piece: index for index, piece in reversed(list(enumerate(pieces)))}


def quality_of(memory: JpegSet) -> int | None:
    """The quality whose header the memory's files begin with; None for the header of another program."""
    header, blank = memory.header.numpy().tobytes(), torch.zeros(1, *memory.shape, dtype=torch.uint8)
    for quality in QUALITIES:
        (file,) = encode(blank, quality)
        if file[: header_length(file)] == header:
            return quality
    return None


def _digest(piece: bytes) -> bytes:
    return hashlib.blake2b(piece, digest_size=DIGEST_BYTES).digest()
