"""Synthetic images of each class."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from iid_cl.config.distill import DistillConfig
from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens
from iid_cl.distill.job import DistillJob
from iid_cl.distill.matching import MatchingLoss
from iid_cl.distill.trained import label_softly
from iid_cl.distill.uneven import distill_each
from iid_cl.distill.watch import Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.selection import Order
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Storage, Whole
from iid_cl.methods.base import Arrival, Method, PlannedDistillation, Scene, Work, first_fitting
from iid_cl.methods.mixing import mixture
from iid_cl.nets import Network
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
        shrink_by: what becomes of older classes when a fixed total has to hold more of them: ``cut`` keeps the first of
            their images, ``redistil`` condenses fewer out of all of them. Images with soft labels, which only real
            images teach, are cut.
        embedder: a network of your own in place of the configured one.
        objective: a matching loss of your own in place of the configured one.

    Raises:
        UserError: a storage that cannot hold the partition.
    """

    config: DistillConfig = field(default_factory=DistillConfig)
    storage: Storage | None = None
    soft_labels: bool = False
    shrink_by: Shrink = "redistil"
    embedder: Network | None = None
    objective: MatchingLoss | None = None

    def __post_init__(self) -> None:
        if self.storage is not None and self.storage.partition != self.config.factor:
            quality = self.storage.describe().get("jpeg")
            raise UserError(f"memory.jpeg: {quality} stores images at full size; use distill.partition 1, or no jpeg.")

    @property
    def stored(self) -> Storage:
        """The storage in force."""
        return self.storage if self.storage is not None else Whole(self.config.factor)

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        """Distils the classes; the engine itself labels softly what is stored whole."""
        if self.stored.lossy is None:
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
        """A share of distilled images, and real ones in the order of ``ordering``, stored in the same way."""

        def distil(classes: Classes, count: int) -> ExemplarSet:
            draws = make_generator(seed, "distilling")
            return self.distil(classes, count, scene.lens, scene.watch, draw_seed(draws))

        width = self.soft_width(len(arrived), space)
        memory = mixture(arrived, space, self.stored, share, distil=distil, ordering=ordering, soft_width=width)
        if not self.soft_labels:
            return memory
        lens = scene.lens.augmented_by(self.config.augment)
        return label_softly(memory, arrived, self.config.cc, lens, derive_seed(seed, "soft labels"))

    def distil(
        self, classes: Classes, count: int, lens: Lens, watch: Watch, seed: int, *, soft_labels: bool = False
    ) -> ExemplarSet:
        """``count`` images of each class, or as many as it has."""
        job = DistillJob(
            classes, count, self.config, lens, seed, self.stored.lossy, self.embedder, self.objective,
            soft_labels=soft_labels,
        )  # fmt: skip
        return distill_each(job, watch)

    def soft_width(self, classes: int, space: Space) -> int:
        """Class probabilities of an image: of the classes it came with, and all images have as many as the widest."""
        if not self.soft_labels:
            return 0
        old = None if space.old is None else space.old.soft_labels
        return max(classes, 0 if old is None else old.width)

    def shrink(self, old: Exemplars, space: Space, scene: Scene) -> Exemplars:
        """Fewer images of older classes: the first ones, or distilled anew from all of them."""
        fewer = first_fitting(old, space)
        if not self.redistils or len(fewer) == len(old):
            return fewer
        count = int(fewer.labels.bincount().max())
        classes = Classes(old.decoded().by_class())
        again = self.distil(classes, count, scene.lens, scene.older, draw_seed(scene.generator))
        return self.stored.keep(again, replace(space, paying=len(classes)))

    @property
    def redistils(self) -> bool:
        """Whether older classes are distilled anew where they have to shrink."""
        return self.shrink_by == "redistil" and not self.soft_labels

    def work(self, arrival: Arrival, space: Space) -> Work:
        """A distillation of the arriving classes, and perhaps one of the older ones."""
        width = arrival.widest if self.soft_labels else 0
        count = max(1, self.stored.count(arrival.sample.images, space, width))
        planned = [PlannedDistillation(len(arrival.counts), count, self.stored.lossy)]
        before = arrival.before
        if before is not None and space.budget.fixed and self.redistils:
            had, has = (
                self.stored.count(images, each)
                for images, each in ((arrival.older.images, before), (arrival.sample.images, space))
            )
            if has < had:
                planned.append(PlannedDistillation(len(arrival.older), count, self.stored.lossy))
        return Work(count, self.config.factor**2, synthetic=True, distillations=tuple(planned))

    def describe(self) -> dict[str, Any]:
        """The settings of the distillation and, as JPEG, the quality."""
        stored = {} if self.stored.lossy is None else self.stored.describe()
        return {"method": "distilled", "distill": self.config.model_dump(mode="json"), **stored}
