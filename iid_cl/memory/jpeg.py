"""Images kept as JPEG: more of them in the same bytes."""

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iid_cl.data.images import LabelledImages, by_label
from iid_cl.data.mapped import chunks
from iid_cl.errors import UserError, shown
from iid_cl.memory.bounds import check_images
from iid_cl.memory.exemplars import Exemplars, merged_soft_labels
from iid_cl.memory.soft_labels import SoftLabels, row_bytes, soft_bytes

START_OF_SCAN = b"\xff\xda"
LONGEST_HEADER = 4096  # bytes; headers written here have about 600
FEW_FILES, FEW_BYTES = 2**16, 48  # images, or a share of the bytes for each: opening one takes time, too


class JpegError(UserError):
    """Images that cannot be stored as JPEG: not even one fits, or they are neither grey nor colour."""


@dataclass(frozen=True, repr=False)
class JpegSet(Exemplars):
    """Images as JPEG streams, which share one header: size and tables depend on shape and quality alone.

    Attributes:
        header: uint8 (H,), everything up to the scan.
        scans: uint8 (S,), the images' own bytes, one image after the other.
        ends: int32 (N,), where the bytes of each image end.

    Raises:
        ValueError: they contradict each other.
    """

    header: Tensor
    scans: Tensor
    ends: Tensor
    labels: Tensor
    shape: tuple[int, int, int]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    soft_labels: SoftLabels | None = None

    partition = 1
    stored_as = "JPEG"
    fills_bytes = True

    def __post_init__(self) -> None:
        if self.header.ndim != 1 or self.scans.ndim != 1 or self.ends.ndim != 1:
            raise ValueError("JPEG exemplars are bytes in a row")
        if self.header.dtype != torch.uint8 or self.scans.dtype != torch.uint8 or self.ends.dtype != torch.int32:
            raise ValueError("JPEG exemplars are uint8 bytes with int32 ends")
        if len(self.header) > LONGEST_HEADER:  # it stands before each image
            raise ValueError(f"a JPEG header of {len(self.header):,} bytes is too long")
        if self.labels.dtype != torch.int16 or self.labels.shape != self.ends.shape:
            raise ValueError(f"{tuple(self.labels.shape)} labels don't fit {tuple(self.ends.shape)} images")
        bounds = torch.cat([torch.zeros(1, dtype=torch.int64), self.ends.to(torch.int64)])
        if not bool((bounds.diff() > 0).all()) or int(bounds[-1]) != len(self.scans):
            raise ValueError("the ends of the images contradict their bytes")
        if self.soft_labels is not None:
            self.soft_labels.check(self.labels, 1)

    @classmethod
    def from_classes(
        cls,
        by_class: Mapping[int, Sequence[bytes]],
        shape: tuple[int, int, int],
        metadata: Mapping[str, Any] | None = None,
    ) -> "JpegSet":
        """Joins each class's JPEG files, all of one shape and quality, sorted by class index.

        Raises:
            ValueError: files of several shapes or qualities.
        """
        classes = sorted(by_class)
        files = [file for c in classes for file in by_class[c]]
        cut = header_length(files[0])
        if any(file[:cut] != files[0][:cut] for file in files):
            raise ValueError("only images of one shape and quality share a header")
        scans = [file[cut:] for file in files]
        labels = torch.tensor([c for c in classes for _ in by_class[c]], dtype=torch.int16)
        ends = torch.tensor([len(scan) for scan in scans]).cumsum(0).to(torch.int32)
        return cls(_tensor(files[0][:cut]), _tensor(b"".join(scans)), ends, labels, shape, metadata or {})

    def image_tensors(self) -> dict[str, Tensor]:
        return {"header": self.header, "scans": self.scans, "ends": self.ends}

    def layout(self) -> dict[str, Any]:
        return {"partition": 1, "shape": list(self.shape)}

    def files(self, rows: Tensor | None = None) -> list[bytes]:
        """The images of these rows, or all, as complete JPEG files."""
        return list(self._each(range(len(self)) if rows is None else rows.tolist()))

    def _each(self, rows: Iterable[int]) -> Iterator[bytes]:
        header, scans = self.header.numpy().tobytes(), self.scans.numpy().tobytes()
        ends = self.ends.tolist()
        for row in rows:
            yield header + scans[ends[row - 1] if row else 0 : ends[row]]

    def check(self) -> None:
        """Decodes all images, one after the other."""
        if min(self.shape) < 1 or len(self) > max(FEW_FILES, len(self.scans) // FEW_BYTES):
            raise ValueError(f"{len(self):,} images of shape {shown(self.shape)} have no pixels, or are too many")
        check_images(len(self), math.prod(self.shape), self.nbytes)
        header = self.header.numpy().tobytes()
        if START_OF_SCAN not in header or header_length(header) != len(header):
            raise ValueError("an image is no JPEG (its header does not end where a scan begins)")
        if header[header.index(START_OF_SCAN) + 4] != self.shape[0]:  # further scans can be made to take any time
            raise ValueError("an image is a JPEG of several scans, which no memory holds")
        for _ in self._pictures():
            pass

    def by_class(self) -> dict[int, Tensor]:
        return self.decoded().by_class()

    def files_by_class(self) -> dict[int, list[bytes]]:
        """Complete JPEG files of each class."""
        by_class: dict[int, list[bytes]] = {c: [] for c in self.classes}
        for label, file in zip(self.labels.tolist(), self._each(range(len(self))), strict=True):
            by_class[label].append(file)
        return by_class

    def decoded(self) -> LabelledImages:
        """Raises ValueError for bytes that are no JPEG of the memory's shape."""
        channels, height, width = self.shape
        pixels = np.empty((len(self), height, width, channels), np.uint8)
        for row, picture in enumerate(self._pictures()):
            pixels[row] = np.asarray(picture).reshape(pixels.shape[1:])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        return LabelledImages(images, self.labels.to(torch.int64))

    def _pictures(self) -> Iterator[Image.Image]:
        """All images, decoded one after the other; the header that they share is read from the first."""
        for row, file in enumerate(self._each(range(len(self)))):
            yield opened_alike(file, self.shape) if row else opened(file, self.shape)

    def with_soft_labels(self, probabilities: Tensor, classes: Sequence[int]) -> "JpegSet":
        return replace(self, soft_labels=SoftLabels.over(classes, probabilities, len(self.classes)))

    def take(self, rows: Tensor) -> "JpegSet":
        files: dict[int, list[bytes]] = {}
        for label, file in zip(self.labels[rows].tolist(), self.files(rows), strict=True):
            files.setdefault(label, []).append(file)
        soft = None if self.soft_labels is None else self.soft_labels.take(self.labels, rows, 1)
        return replace(JpegSet.from_classes(files, self.shape, self.metadata), soft_labels=soft)

    def fitting(self, room: int, charge_all: bool = True) -> Tensor:
        width = 0 if self.soft_labels is None else self.soft_labels.width
        sizes = self.ends.diff(prepend=torch.zeros(1, dtype=torch.int32)) + _PER_IMAGE + row_bytes(width)
        room = _left(room, len(self.header), len(self.classes), width)
        by_class = by_label(torch.arange(len(self)), self.labels).values()
        return torch.cat([rows[sizes[rows].cumsum(0) <= room] for rows in by_class])

    def merge(self, newer: "JpegSet") -> "JpegSet":
        alike = self.shape == newer.shape and torch.equal(self.header, newer.header)
        if not alike or (self.soft_labels is None) != (newer.soft_labels is None):
            raise ValueError("only memories stored in the same way can be merged")
        files = {**self.files_by_class(), **newer.files_by_class()}
        merged = JpegSet.from_classes(files, self.shape, newer.metadata)
        return replace(merged, soft_labels=merged_soft_labels(self, newer))


_PER_IMAGE = 4 + 2  # an end and a label


def files_in(files: Sequence[bytes], room: int, classes: int, soft_width: int = 0) -> int:
    """Number of the first files of a class that fit into ``room`` bytes, at ``soft_width`` class probabilities each.

    ``classes`` is the number of classes that share the header's cost; 0 where it is paid.
    """
    header, sizes = _sizes(files, soft_width)
    return int((np.cumsum(sizes) <= _left(room, header, classes, soft_width)).sum())


def fitting_as_jpeg(
    images_by_class: Mapping[int, Tensor], room: int, quality: int, classes: int, soft_width: int = 0
) -> int:
    """Number of images of every class that fit into ``room`` bytes, by the mean size of uint8 images (n_c, C, H, W).

    See :func:`files_in` for ``classes`` and ``soft_width``.

    Raises:
        JpegError: JPEG cannot hold the images.
    """

    def fit(images: Tensor) -> int:
        header, sizes = _sizes(encode(images, quality), soft_width)
        return max(0, _left(room, header, classes, soft_width) * len(sizes) // sum(sizes))

    return min(fit(images) for images in images_by_class.values())


def _sizes(files: Sequence[bytes], soft_width: int) -> tuple[int, list[int]]:
    """Bytes of the header that the files share, and what each file takes besides."""
    header = header_length(files[0])
    return header, [len(file) - header + _PER_IMAGE + row_bytes(soft_width) for file in files]


def _left(room: int, header: int, classes: int, soft_width: int) -> int:
    """Bytes of a class for its images; its own row says which class each probability is of."""
    return room - (-(-header // classes) if classes else 0) - soft_bytes(0, soft_width)


def header_length(file: bytes) -> int:
    """Bytes of a JPEG file up to the end of its start-of-scan segment."""
    start = file.index(START_OF_SCAN) + 2
    return start + int.from_bytes(file[start : start + 2], "big")


def check_channels(channels: int) -> None:
    """Raises JpegError for images that are neither grey nor colour."""
    if channels not in (1, 3):
        raise JpegError(f"memory.jpeg: JPEG takes grey or colour images, not {channels} channels; use null.")


def encode(images: Tensor, quality: int) -> list[bytes]:
    """A JPEG file of each image, uint8 (N, C, H, W), grey or colour.

    Raises:
        JpegError: images of other than 1 or 3 channels.
    """
    check_channels(images.shape[1])
    return [_encode(image, quality) for chunk in chunks(images) for image in chunk]


def _encode(image: Tensor, quality: int) -> bytes:
    array = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality)
    return file.getvalue()


def decode(file: bytes, shape: tuple[int, int, int]) -> Tensor:
    """A JPEG file as a uint8 image (C, H, W) of this shape.

    Raises:
        ValueError: no JPEG, or a JPEG of another shape.
    """
    image = torch.from_numpy(np.array(opened(file, shape)))
    return image[None] if image.ndim == 2 else image.permute(2, 0, 1).contiguous()


def opened(file: bytes, shape: tuple[int, int, int]) -> Image.Image:
    """A JPEG file's picture, decoded. Raises ValueError for bytes that are no JPEG of this shape."""
    try:
        with Image.open(io.BytesIO(file), formats=["JPEG"]) as picture:
            if (len(picture.getbands()), picture.height, picture.width) != shape:
                raise ValueError(f"a JPEG of {picture.width}x{picture.height} is not of shape {shape}")
            if picture.info.get("progressive"):  # its scans can be made to take any time
                raise ValueError("a JPEG is progressive, which no memory holds")
            picture.load()
            return picture
    except ValueError:
        raise
    except Exception as error:  # Pillow raises almost anything on damaged bytes
        raise ValueError(f"an image is no JPEG ({error})") from None


def opened_alike(file: bytes, shape: tuple[int, int, int]) -> Image.Image:
    """The picture of a file with the header of one that :func:`opened` has read. Several times as fast.

    Raises:
        ValueError: the bytes are no JPEG of this shape.
    """
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    try:
        return Image.frombytes(mode, (width, height), file, "jpeg", mode, "")
    except Exception as error:
        raise ValueError(f"an image is no JPEG ({error})") from None


def _tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
