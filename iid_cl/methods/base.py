"""What a memory method is, whatever trains on the memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from iid_cl.config.distill import DistillConfig
from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens
from iid_cl.distill.watch import Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.selection import FeatureExtractor
from iid_cl.memory.space import Space
from iid_cl.memory.storage import LossyFormat

Features = Callable[[Mapping[int, Tensor], Lens, torch.Generator], FeatureExtractor]
"""Makes a feature extractor from uint8 images (n_c, C, H, W) of each class, how networks see them, and a generator."""


@dataclass(frozen=True)
class Scene:
    """What surrounds an update of a memory.

    Attributes:
        lens: how networks see images.
        features: makes the feature extractor of selection rules.
        generator: source of random draws.
        watch: observes the distillation of arriving classes.
        older: observes the distillation of older classes, which are distilled anew.
    """

    lens: Lens
    features: Features
    generator: torch.Generator
    watch: Watch = field(default_factory=Watch)
    older: Watch = field(default_factory=Watch)


@dataclass(frozen=True)
class PlannedDistillation:
    """A distillation of ``classes`` classes into ``count`` stored images each, perhaps for a lossy format.

    Attributes:
        config: its settings where the method changed them; None: as configured.
    """

    classes: int
    count: int
    lossy: LossyFormat | None = None
    config: DistillConfig | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Arrival:
    """An experience that is planned.

    Attributes:
        sample: a few images of each class seen by then.
        counts: number of images of each class that arrives.
        widest: number of classes of the largest experience so far, which is the width of soft labels.
        before: the space of the previous experience; None for the first.
    """

    sample: Classes
    counts: Mapping[int, int]
    widest: int
    before: Space | None = None

    @property
    def older(self) -> Classes:
        """A few images of each older class."""
        return self.sample.of(label for label in self.sample.images if label not in self.counts)


@dataclass(frozen=True)
class Work:
    """What an update of a memory takes, counted without doing it.

    Attributes:
        stored: number of stored images of a class that has enough images.
        parts: number of images that each stored image is trained on as.
        synthetic: whether a class stores at most as many images as it has. Real images share a stored image instead.
        distillations: the distillations of the update.
        then: the method that later experiences follow, where this experience decides about it.
    """

    stored: int
    parts: int = 1
    synthetic: bool = False
    distillations: tuple[PlannedDistillation, ...] = ()
    then: "Method | None" = None

    def trained_on(self, images: int) -> int:
        """Number of memory images that are trained on, of a class with ``images`` images."""
        return min(self.stored, images) * self.parts if self.synthetic else min(self.stored * self.parts, images)


class Method(Protocol):
    """A way to remember classes.

    Attributes:
        by_class: whether each class is condensed by itself. Otherwise :meth:`condense` makes the whole memory.
        needs_features: whether images are chosen by a network's features.
        compresses: whether an image may take fewer bytes than its pixels do.
    """

    by_class: bool = True
    needs_features: bool = False
    compresses: bool = False

    def check(self, sample: Classes, space: Space) -> None:
        """Refuses what :meth:`condense` would refuse, from a few images of some classes.

        Raises:
            UserError: images that do not fit the networks or the storage, or have no room.
        """
        return

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        """What is stored of the classes that arrived: as many images as fit, the most important first.

        Args:
            arrived: their images. A class that has come back begins with its exemplars in the memory, weighted by the
                number of images that each stands for.
            space: the bytes that may be used, and the memory so far.
            scene: how networks see images, features, random draws.

        Raises:
            UserError: not even one image of a class fits.
        """

    def shrink(self, old: Exemplars, space: Space, scene: Scene) -> Exemplars:
        """What stays of older classes under a fixed total, without their real data: the first images that fit."""
        return first_fitting(old, space)

    def work(self, arrival: Arrival, space: Space) -> Work:
        """What :meth:`condense` and :meth:`shrink` would take in a planned experience."""

    def describe(self) -> dict[str, Any]:
        """The method and its settings, as plain JSON."""

    def holds_real_images(self) -> bool:
        """Whether each stored image is one of those that arrived, and none is synthetic."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """What the method has decided so far, as plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state_dict` returned."""
        return


def first_fitting(old: Exemplars, space: Space) -> Exemplars:
    """The first images of each class that fit.

    Raises:
        UserError: the first image of a class does not fit.
    """
    rows = old.fitting(space.room, space.budget.in_bytes)
    lost = set(old.classes) - set(old.labels[rows].tolist())
    if lost:
        budget = space.budget
        raise UserError(
            f"memory.{budget.key}: {budget.amount} leaves {space.room} bytes to a class, too little for the "
            f"first image of class {min(lost)}; use more."
        )
    return old.take(rows)
