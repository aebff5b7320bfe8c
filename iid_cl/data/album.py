"""Pictures that are decoded in turn, into memory or into a file."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iid_cl.data.pictures import Picture
from iid_cl.errors import UserError

SHARE = 0.25  # of the memory available: a run keeps its images up to three times, for a moment
FLAGS = ("transparent", "several", "deep")


@dataclass(frozen=True)
class Album:
    """Pictures of one size, such as the training images of a folder.

    Attributes:
        place: where they are from and how they are read, whatever they show today.
        state: digest that changes when they change.
        count: number of pictures.
        pictures: takes a number, and gives the name and the content of each picture from there on.
    """

    place: str
    state: str
    count: int
    pictures: Callable[[int], Iterator[tuple[str, Picture]]]

    def fitted(self, first: int = 0) -> Iterator[tuple[np.ndarray, Picture]]:
        """The pictures from a number on, as arrays (C, H, W) of one height and width.

        Raises:
            UserError: a picture cannot be decoded, or has another size than the first.
        """
        name, picture = next(self.pictures(0))
        height, width = picture.pixels.shape[:2]
        for other, picture in self.pictures(first):
            if picture.pixels.shape[:2] != (height, width):
                raise UserError(
                    f"{other}: is {picture.pixels.shape[1]}x{picture.pixels.shape[0]} pixels but {name} is "
                    f"{width}x{height}; set stream.image_size to resize all images."
                )
            yield picture.pixels.transpose(2, 0, 1), picture

    def nbytes(self) -> int:
        """Bytes of all pictures in colour, by the size of the first."""
        height, width = next(self.pictures(0))[1].pixels.shape[:2]
        return self.count * 3 * int(height) * int(width)

    def collect(self) -> tuple[Tensor, Tensor]:
        """All pictures in memory, uint8 (N, C, H, W), and their :data:`FLAGS`, bool (3, N).

        Raises:
            UserError: they would not fit into this machine's memory, or see :meth:`fitted`.
        """
        images = np.empty((0, 0, 0, 0), np.uint8)
        flags = torch.zeros(3, self.count, dtype=torch.bool)
        for index, (array, picture) in enumerate(self.fitted()):
            if not index:
                _check_room(self.count, array)
                images = np.empty((self.count, *array.shape), np.uint8)
            if len(array) > images.shape[1]:  # the first colour image: grey ones fill all its channels
                images = images.repeat(len(array), axis=1)
            images[index] = array
            flags[:, index] = flags_of(picture)
        return torch.from_numpy(images), flags


def flags_of(picture: Picture) -> Tensor:
    """The :data:`FLAGS` of a picture, bool (3,)."""
    return torch.tensor([getattr(picture, flag) for flag in FLAGS])


def _check_room(count: int, image: np.ndarray) -> None:
    """Refuses ``count`` colour images of the first image's size if they exceed this machine's memory."""
    needed = count * 3 * image.shape[1] * image.shape[2]
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise UserError(
            f"{count:,} images of {image.shape[2]}x{image.shape[1]} pixels take {needed / 2**30:,.1f} GiB, more than "
            f"the {available / 2**30:,.1f} GiB of this machine; set stream.cache: auto, or a lower stream.image_size "
            "or first_classes."
        )


def available_memory() -> int:
    """Bytes of memory that are free for this process, of the machine or of its container."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):  # not Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or "max"
        return free
