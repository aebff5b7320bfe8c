"""How images are stored: whole, shrunk into grids, or as JPEG."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from iid_cl.budget import LABEL_BYTES, Budget
from iid_cl.data.mapped import in_memory
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet, images_in
from iid_cl.memory.jpeg import JpegError, JpegSet, encode, files_in, fitting_as_jpeg
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.memory.partition import cut, join, reduce_bytes
from iid_cl.memory.selection import Order
from iid_cl.memory.space import Space


class LossyFormat(Protocol):
    """A format that images will be stored in, such as :class:`iid_cl.memory.dct_format.DctFormat`."""

    def read_back(self, images: Tensor) -> Tensor:
        """uint8 images (N, C, H, W) as they look after storing and reading, on their device."""
        ...

    def sparser(self, changes: Tensor, share: float) -> Tensor:
        """Changes of images (N, C, H, W), in grey levels, made a little cheaper to store.

        Args:
            share: the iteration's share of the whole distillation, in [0, 1].
        """
        ...


class Storage(Protocol):
    """A way to store images. Its methods take the bytes that the images may use as ``space``, and two more.

    ``images`` are uint8 images (n_c, C, H, W) of each class; ``soft_width`` is the number of class probabilities that
    each stored image leaves room for.
    """

    @property
    def partition(self) -> int:
        """Images along each side of a stored image."""

    @property
    def lossy(self) -> LossyFormat | None:
        """What a distillation has to know of the format; None where nothing is lost."""

    def suited(self, images: Mapping[int, Tensor], space: Space) -> Self:
        """The same way with the settings that suit a few ``images`` and the space, where it leaves them open."""
        return self

    def count(self, images: Mapping[int, Tensor], space: Space, soft_width: int = 0) -> int:
        """Number of stored images that fit of every class; a few ``images`` are enough to tell.

        Raises:
            UserError: not even one image fits, or the images cannot be stored in this way.
        """

    def store(self, images: Mapping[int, Tensor], order: Order, space: Space, soft_width: int = 0) -> Exemplars:
        """As many real images of each class as fit, the best of ``order`` first.

        The images of a class in ``space.old`` begin with what it holds of the class, which is kept as stored.

        Raises:
            UserError: the images cannot be stored in this way.
        """

    def check(self, images: Mapping[int, Tensor], space: Space) -> None:
        """Stores a few images of some classes.

        Raises:
            UserError: not even one image fits, or the images cannot be stored in this way.
        """
        self.count(images, space)
        self.store(images, lambda _, count: torch.arange(count), replace(space, old=None))

    def keep(self, distilled: ExemplarSet, space: Space, soft_width: int = 0) -> Exemplars:
        """Distilled images, or as many of the first of each class as fit."""

    def join(
        self, distilled: ExemplarSet, real: Mapping[int, Tensor], order: Order, rest: int, space: Space, soft_width: int
    ) -> Exemplars:
        """Distilled images, and ``real`` ones in the bytes of ``rest`` stored images of each class."""

    def describe(self) -> dict[str, Any]:
        """The settings, as plain JSON."""


@dataclass(frozen=True)
class Whole(Storage):
    """Images with all their bytes, or ``factor * factor`` of them, each at 1 / factor of its side, in a grid."""

    factor: int = 1

    lossy = None

    @property
    def partition(self) -> int:
        return self.factor

    def count(self, images: Mapping[int, Tensor], space: Space, soft_width: int = 0) -> int:
        count = self._fitting(next(iter(images.values())), space, soft_width)
        if not count:
            raise no_room(space.budget, space.room)
        return count

    def store(self, images: Mapping[int, Tensor], order: Order, space: Space, soft_width: int = 0) -> ExemplarSet:
        """Shrinks images by area; the last grid is filled up with the first ones."""
        old = {} if space.old is None else space.old.by_class()
        by_class = {}
        for label, members in images.items():
            count = min(len(members), self._fitting(members, space, soft_width) * self.factor**2)
            slots = -(-count // self.factor**2) * self.factor**2
            best = order(label, count)[torch.arange(slots) % count]
            tiles = reduce_bytes(in_memory(members[best]), self.factor)
            if label in old:
                before = cut(old[label], self.factor)
                kept = best < len(before)
                tiles[kept] = before[best[kept]]
            by_class[label] = join(tiles, self.factor)
        return ExemplarSet.from_classes(by_class, partition=self.factor)

    def keep(self, distilled: ExemplarSet, space: Space, soft_width: int = 0) -> ExemplarSet:
        return distilled  # made at the number that fits

    def join(
        self, distilled: ExemplarSet, real: Mapping[int, Tensor], order: Order, rest: int, space: Space, soft_width: int
    ) -> ExemplarSet:
        """Spreads both kinds of images evenly, so that the first images of a class have the same share."""
        unit = next(iter(real.values()))[0].numel() + LABEL_BYTES
        second = self.store(real, order, replace(space, room=rest * unit)).by_class()
        mixed = {label: _interleave(images, second[label]) for label, images in distilled.by_class().items()}
        return ExemplarSet.from_classes(mixed, distilled.metadata, partition=self.factor)

    def describe(self) -> dict[str, Any]:
        return {"downscale": self.factor}

    def _fitting(self, images: Tensor, space: Space, soft_width: int) -> int:
        """Budgets in images leave soft labels out of account."""
        charged = soft_width if space.budget.in_bytes else 0
        return images_in(space.room, images[0].numel(), charged, self.factor)


@dataclass(frozen=True)
class Jpeg(Storage):
    """Images as JPEG files that share one header.

    Attributes:
        quality: from 1 to 95.

    Raises:
        UserError: another quality.
    """

    quality: int

    partition = 1

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise UserError(f"memory.jpeg: {self.quality} must be a quality from 1 to 95.")

    @property
    def lossy(self) -> JpegFormat:
        return JpegFormat(self.quality)

    def count(self, images: Mapping[int, Tensor], space: Space, soft_width: int = 0) -> int:
        """Counts by the mean size of the files; 0 where none fits."""
        return fitting_as_jpeg(images, space.room, self.quality, space.paying, soft_width)

    def store(self, images: Mapping[int, Tensor], order: Order, space: Space, soft_width: int = 0) -> JpegSet:
        """Raises JpegError where not even one image fits, or JPEG cannot hold the images."""
        old = space.old.files_by_class() if isinstance(space.old, JpegSet) else {}
        by_class: dict[int, list[bytes]] = {}
        for label, members in images.items():
            before = old.get(label, [])
            files = before + encode(members[len(before) :], self.quality)
            most = files_in(sorted(files, key=len), space.room, space.paying, soft_width)
            best = [files[index] for index in order(label, most).tolist()] if most else []
            count = files_in(best, space.room, space.paying, soft_width) if best else 0
            if not count:
                raise JpegError(
                    f"memory.jpeg: no image of class {label} fits into {space.room} bytes at quality {self.quality}; "
                    "use a lower quality, a larger budget, or null."
                )
            by_class[label] = best[:count]
        channels, height, width = next(iter(images.values())).shape[1:]
        return JpegSet.from_classes(by_class, (channels, height, width))

    def keep(self, distilled: ExemplarSet, space: Space, soft_width: int = 0) -> JpegSet:
        """Keeps fewer images where files weigh more than expected."""
        space = replace(space, old=None)
        memory = self.store(distilled.by_class(), lambda _, count: torch.arange(count), space, soft_width)
        return replace(memory, metadata=distilled.metadata)

    def join(
        self, distilled: ExemplarSet, real: Mapping[int, Tensor], order: Order, rest: int, space: Space, soft_width: int
    ) -> JpegSet:
        """Puts distilled images first, then real ones in the bytes left; last, real ones that distilled start from."""
        synthetic = distilled.by_class()
        pool = {label: torch.cat([images, synthetic[label]]) for label, images in real.items()}

        def distilled_first(label: int, count: int) -> Tensor:
            own = torch.arange(len(real[label]), len(pool[label]))
            if count <= len(own):
                return own[:count]
            best = order(label, min(count, len(real[label])))
            return torch.cat([own, best[len(own) :], best[: len(own)]])[:count]

        memory = self.store(pool, distilled_first, space, soft_width)
        return replace(memory, metadata=distilled.metadata)

    def describe(self) -> dict[str, Any]:
        return {"jpeg": self.quality}


def no_room(budget: Budget, room: int) -> UserError:
    """That a class's ``room`` bytes of a budget hold no image with its labels."""
    return UserError(
        f"memory.{budget.key}: {budget.amount} leaves {room} bytes to a class, too little for an image with its "
        "labels; use more."
    )


def _interleave(first: Tensor, second: Tensor) -> Tensor:
    places = [(i + 0.5) / len(images) for images in (first, second) for i in range(len(images))]
    order = sorted(range(len(places)), key=places.__getitem__)
    return torch.cat([first, second])[order]
