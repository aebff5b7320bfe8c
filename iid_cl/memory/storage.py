"""How images are stored: whole, shrunk into grids, or as JPEG."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from iid_cl.budget import LABEL_BYTES, Budget
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet, images_in
from iid_cl.memory.jpeg import JpegError, JpegSet, encode, files_in, fitting_as_jpeg
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.memory.partition import cut, join, reduce_bytes
from iid_cl.memory.selection import Order
from iid_cl.memory.space import Space


class Storage(Protocol):
    """A way to store images."""

    @property
    def partition(self) -> int:
        """Images along each side of a stored one."""
        ...

    @property
    def lossy(self) -> JpegFormat | None:
        """What a distillation has to know of the format; None where nothing is lost."""
        ...

    def count(self, images: Mapping[int, Tensor], space: Space, soft_width: int = 0) -> int:
        """How many stored images of every class fit.

        Args:
            images: uint8 images (n_c, C, H, W) of each class; some of them are enough.
            space: the bytes there are.
            soft_width: class probabilities that each image takes along.

        Raises:
            UserError: not even one image fits.
        """
        ...

    def store(self, images: Mapping[int, Tensor], order: Order, space: Space, soft_width: int = 0) -> Exemplars:
        """As many real images of each class as fit, the best first.

        Args:
            images: uint8 images (n_c, C, H, W) of each class; of a class in ``space.old``, what it holds comes first
                and is kept as stored.
            order: the choice.
            space: the bytes there are.
            soft_width: class probabilities that each image leaves room for.

        Raises:
            UserError: the images cannot be stored in this way.
        """
        ...

    def keep(self, distilled: ExemplarSet, space: Space, soft_width: int = 0) -> Exemplars:
        """Distilled images, or as many of the first of each class as fit."""
        ...

    def join(
        self,
        distilled: ExemplarSet,
        images: Mapping[int, Tensor],
        order: Order,
        rest: int,
        space: Space,
        soft_width: int,
    ) -> Exemplars:
        """Distilled images, and real ones in the bytes of ``rest`` stored images of each class."""
        ...

    def describe(self) -> dict[str, Any]:
        """The settings, as plain JSON."""
        ...


@dataclass(frozen=True)
class Whole:
    """Images as they are, or ``factor * factor`` of them, each at 1 / factor of its side, in a grid of full size."""

    factor: int = 1

    @property
    def partition(self) -> int:
        """Images along each side of a stored one."""
        return self.factor

    @property
    def lossy(self) -> None:
        """Nothing is lost."""
        return None

    def count(self, images: Mapping[int, Tensor], space: Space, soft_width: int = 0) -> int:
        """How many grids fit; budgets in images leave soft labels out of account.

        Raises:
            UserError: not even one image fits.
        """
        count = self._fitting(next(iter(images.values())), space, soft_width)
        if not count:
            raise no_room(space.budget, space.room)
        return count

    def store(self, images: Mapping[int, Tensor], order: Order, space: Space, soft_width: int = 0) -> ExemplarSet:
        """As many real images of each class as fit, each shrunk by area; the last grid is filled up with the first.

        Raises:
            UserError: the factor does not divide the images' sides.
        """
        kept = {} if space.old is None else space.old.by_class()
        stored = {}
        for label, members in images.items():
            tiles = reduce_bytes(members, self.factor)
            if label in kept:
                before = cut(kept[label], self.factor)
                tiles = torch.cat([before, tiles[len(before) :]])
            count = min(len(members), self._fitting(members, space, soft_width) * self.factor**2)
            chosen = order(label, count)
            whole = -(-count // self.factor**2) * self.factor**2
            stored[label] = join(tiles[chosen[torch.arange(whole) % count]], self.factor)
        return ExemplarSet.from_classes(stored, partition=self.factor)

    def keep(self, distilled: ExemplarSet, space: Space, soft_width: int = 0) -> ExemplarSet:
        """The images: they were made at this number."""
        return distilled

    def join(
        self,
        distilled: ExemplarSet,
        images: Mapping[int, Tensor],
        order: Order,
        rest: int,
        space: Space,
        soft_width: int,
    ) -> ExemplarSet:
        """Both kinds of images of each class, spread evenly, so that the first ones keep the share."""
        unit = next(iter(images.values()))[0].numel() + LABEL_BYTES
        real = self.store(images, order, replace(space, room=rest * unit))
        first, second = distilled.by_class(), real.by_class()
        mixed = {label: _interleave(first[label], second[label]) for label in distilled.classes}
        return ExemplarSet.from_classes(mixed, distilled.metadata, partition=self.factor)

    def describe(self) -> dict[str, Any]:
        """The settings, as plain JSON."""
        return {"downscale": self.factor}

    def _fitting(self, images: Tensor, space: Space, soft_width: int) -> int:
        charged = soft_width if space.budget.in_bytes else 0
        return images_in(space.room, images[0].numel(), charged, self.factor)


@dataclass(frozen=True)
class Jpeg:
    """Images as JPEG files that share one header.

    Attributes:
        quality: from 1 to 95.

    Raises:
        UserError: another quality.
    """

    quality: int

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise UserError(f"memory.jpeg: {self.quality} is no quality; use one from 1 to 95.")

    @property
    def partition(self) -> int:
        """A file is one image."""
        return 1

    @property
    def lossy(self) -> JpegFormat:
        """What JPEG makes of images."""
        return JpegFormat(self.quality)

    def count(self, images: Mapping[int, Tensor], space: Space, soft_width: int = 0) -> int:
        """How many images of every class fit, by the mean size of their files.

        Raises:
            JpegError: JPEG cannot hold the images.
        """
        return fitting_as_jpeg(images, space.room, self.quality, space.paying, soft_width)

    def store(self, images: Mapping[int, Tensor], order: Order, space: Space, soft_width: int = 0) -> JpegSet:
        """As many images of each class as fit.

        Raises:
            JpegError: not even one image fits, or JPEG cannot hold the images.
        """
        kept = space.old.files_by_class() if isinstance(space.old, JpegSet) else {}
        stored: dict[int, list[bytes]] = {}
        for label, members in images.items():
            before = kept.get(label, [])
            files = before + encode(members[len(before) :], self.quality)
            most = files_in(sorted(files, key=len), space.room, space.paying, soft_width)
            best = [files[index] for index in order(label, most).tolist()] if most else []
            count = files_in(best, space.room, space.paying, soft_width) if best else 0
            if not count:
                raise JpegError(
                    f"memory.jpeg: no image of class {label} fits into {space.room} bytes at quality {self.quality}; "
                    "use a lower quality, a larger budget, or null."
                )
            stored[label] = best[:count]
        channels, height, width = next(iter(images.values())).shape[1:]
        return JpegSet.from_classes(stored, (channels, height, width))

    def keep(self, distilled: ExemplarSet, space: Space, soft_width: int = 0) -> JpegSet:
        """The first images of each class that fit; those that weigh more than expected leave fewer."""
        memory = self.store(
            distilled.by_class(), lambda _, most: torch.arange(most), replace(space, old=None), soft_width
        )
        return replace(memory, metadata=distilled.metadata)

    def join(
        self,
        distilled: ExemplarSet,
        images: Mapping[int, Tensor],
        order: Order,
        rest: int,
        space: Space,
        soft_width: int,
    ) -> JpegSet:
        """Distilled images, then real ones in the bytes that are left.

        Real images that distilled ones start from come last.
        """
        first = distilled.by_class()
        pool = {label: torch.cat([members, first[label]]) for label, members in images.items()}

        def distilled_first(label: int, count: int) -> Tensor:
            real = len(images[label])
            own = torch.arange(real, len(pool[label]))
            if count <= len(own):
                return own[:count]
            best = order(label, min(count, real))
            return torch.cat([own, best[len(own) :], best[: len(own)]])[:count]

        memory = self.store(pool, distilled_first, space, soft_width)
        return replace(memory, metadata=distilled.metadata)

    def describe(self) -> dict[str, Any]:
        """The settings, as plain JSON."""
        return {"jpeg": self.quality}


def no_room(budget: Budget, room: int) -> UserError:
    """That a class's ``room`` bytes of a budget hold no image with its soft labels."""
    return UserError(
        f"memory.{budget.key}: {budget.amount} leaves {room} bytes to a class, too little for an image with its "
        "soft labels; use more, or no soft labels."
    )


def _interleave(first: Tensor, second: Tensor) -> Tensor:
    places = [(i + 0.5) / len(part) for part in (first, second) for i in range(len(part))]
    order = sorted(range(len(places)), key=places.__getitem__)
    return torch.cat([first, second])[order]
