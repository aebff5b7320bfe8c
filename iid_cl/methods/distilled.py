"""Synthetic images of each class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from torch import Tensor

from iid_cl.config.distill import DistillConfig, NetworkConfig
from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens
from iid_cl.distill.job import DistillJob
from iid_cl.distill.matching import MatchingLoss
from iid_cl.distill.trained import label_softly
from iid_cl.distill.uneven import distill_each
from iid_cl.distill.watch import Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.partition import cut
from iid_cl.memory.selection import Order
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Storage, Whole
from iid_cl.methods.base import Arrival, Method, PlannedDistillation, Scene, Work, first_fitting
from iid_cl.methods.mixing import mixture
from iid_cl.nets import Network, require_fit
from iid_cl.seeding import derive_seed, draw_seed, make_generator

Shrink = Literal["cut", "redistil"]


@dataclass
class Distilled(Method):
    """Synthetic images, distilled from each experience when it ends.

    Args:
        config: settings of the distillation.
        storage: how the images are stored; None: whole, in grids of ``config.partition``.
        soft_labels: store class probabilities with each image, see :func:`iid_cl.distill.distill`. Budgets in images
            leave them out of account, except for images as JPEG, which fill bytes.
        shrink_by: what happens to older classes when a fixed total has to hold more classes. ``cut`` keeps their first
            images; ``redistil`` distils fewer images from all of them. Images with soft labels are always cut, as only
            real images teach soft labels.
        embedder: your own network in place of the configured one.
        objective: your own matching loss in place of the configured one.

    Raises:
        UserError: an unknown way to shrink, or a storage that cannot hold the partition.
    """

    config: DistillConfig = field(default_factory=DistillConfig)
    storage: Storage | None = None
    soft_labels: bool = False
    shrink_by: Shrink = "redistil"
    embedder: Network | None = None
    objective: MatchingLoss | None = None

    def __post_init__(self) -> None:
        if self.shrink_by not in get_args(Shrink):
            raise UserError(f"memory.shrink: {self.shrink_by!r} is unknown; use {' or '.join(get_args(Shrink))}.")
        factor = self.config.factor
        if self.storage is not None and not isinstance(self.storage, Whole) and factor != 1:
            ((key, value),) = self.storage.describe().items()
            raise UserError(f"memory.{key}: {value} stores images at full size; use distill.partition 1, or no {key}.")
        if self.storage is not None and self.storage.partition != factor:
            raise UserError(f"storage: {self.storage} cannot hold images of distill.partition {factor}; use the same.")

    @property
    def stored(self) -> Storage:
        """The storage in force."""
        return self.storage if self.storage is not None else Whole(self.config.factor)

    @property
    def compresses(self) -> bool:  # type: ignore[override]  # it follows from the storage
        """Whether images are stored in a lossy format."""
        return not isinstance(self.stored, Whole)

    def check(self, sample: Classes, space: Space) -> None:
        networks: dict[str, NetworkConfig] = {}
        if self.embedder is None:
            networks["distill.embedder"] = self.config.embedder
        if self.config.cc.weight > 0 or self.soft_labels:
            networks["distill.cc.network"] = self.config.cc.network
        for key, network in networks.items():
            require_fit(key, network, sample.shape, len(sample))
        cut(next(iter(sample.images.values())), self.config.factor)  # says which key does not fit
        self.stored.check(sample.images, space)

    def suited(self, images: Mapping[int, Tensor], space: Space) -> "Distilled":
        """The same method with the settings of its storage that suit a few images and the space."""
        return replace(self, storage=self.stored.suited(images, space))

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        if self.suited(arrived.images, space).stored.lossy is None:  # the engine makes soft labels
            count = self.stored.count(arrived.images, space, self.soft_width(len(arrived), space))
            seed = draw_seed(scene.generator)
            return self.distil(arrived, count, scene.lens, scene.watch, seed, soft_labels=self.soft_labels)
        return self.mixed(arrived, space, scene, 1.0, draw_seed(scene.generator), None)

    def mixed(
        self,
        arrived: Classes,
        space: Space,
        scene: Scene,
        share: float,
        seed: int,
        ordering: Callable[[], Order] | None,
    ) -> Exemplars:
        """See :func:`iid_cl.methods.mixing.mixture`."""

        own = self.suited(arrived.images, space)

        def distil(classes: Classes, count: int) -> ExemplarSet:
            draws = make_generator(seed, "distilling")
            return own.distil(classes, count, scene.lens, scene.watch, draw_seed(draws))

        width = self.soft_width(len(arrived), space)
        memory = mixture(arrived, space, own.stored, share, distil=distil, ordering=ordering, soft_width=width)
        if not self.soft_labels:
            return memory
        lens = scene.lens.augmented_by(self.config.augment)
        return label_softly(memory, arrived, self.config.cc, lens, derive_seed(seed, "soft labels"))

    def distil(
        self, classes: Classes, count: int, lens: Lens, watch: Watch, seed: int, *, soft_labels: bool = False
    ) -> ExemplarSet:
        """``count`` images of each class, or as many as the class has."""
        job = DistillJob(
            classes, count, self.config, lens, seed, self.stored.lossy, self.embedder, self.objective,
            soft_labels=soft_labels,
        )  # fmt: skip
        return distill_each(job, watch)

    def soft_width(self, classes: int, space: Space) -> int:
        """Number of class probabilities of an image: the largest number of classes of an experience so far."""
        if not self.soft_labels:
            return 0
        old = None if space.old is None else space.old.soft_labels
        return max(classes, 0 if old is None else old.width)

    def shrink(self, old: Exemplars, space: Space, scene: Scene) -> Exemplars:
        first = first_fitting(old, space)
        if not self.redistils or len(first) == len(old):
            return first
        count = int(first.labels.bincount().max())
        classes = Classes(old.decoded().by_class())
        own = self.suited(classes.images, space)
        distilled = own.distil(classes, count, scene.lens, scene.older, draw_seed(scene.generator))
        return own.stored.keep(distilled, replace(space, paying=len(classes)))

    @property
    def redistils(self) -> bool:
        """Whether older classes are distilled anew where they have to shrink."""
        return self.shrink_by == "redistil" and not self.soft_labels

    def work(self, arrival: Arrival, space: Space) -> Work:
        stored, before = self.suited(arrival.sample.images, space).stored, arrival.before
        count = max(1, stored.count(arrival.sample.images, space, arrival.widest if self.soft_labels else 0))
        planned = [PlannedDistillation(len(arrival.counts), count, stored.lossy)]
        if before is not None and space.budget.fixed and self.redistils:
            before_count = stored.count(arrival.older.images, before)
            if stored.count(arrival.sample.images, space) < before_count:
                planned.append(PlannedDistillation(len(arrival.older), count, stored.lossy))
        return Work(count, self.config.factor**2, synthetic=True, distillations=tuple(planned))

    def describe(self) -> dict[str, Any]:
        stored = self.stored.describe()
        stored.pop("downscale", None)  # distill.partition
        return {"method": "distilled", "distill": self.config.model_dump(mode="json"), **stored}
