"""Mixtures of distilled and herded real images."""

from dataclasses import dataclass, field
from typing import Any

from iid_cl.data.classes import Classes
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.selection import Order, ordering, select_herding
from iid_cl.memory.space import Space
from iid_cl.methods.base import Arrival, Method, PlannedDistillation, Scene, Work, first_fitting
from iid_cl.methods.distilled import Distilled
from iid_cl.seeding import draw_seed, make_generator


@dataclass
class Mixed(Method):
    """A share of distilled images and, in the remaining bytes, herded real ones, all stored in the same way.

    As JPEG, distilled images start from the first herded images, and the next herded images fill the remaining bytes.

    Args:
        share: of distilled images, in [0, 1].
        distilled: makes the distilled images.

    Raises:
        UserError: a share out of range.
    """

    share: float = 0.5
    distilled: Distilled = field(default_factory=Distilled)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UserError(f"memory.share: {self.share} is no share; use a number from 0 to 1.")

    @property
    def needs_features(self) -> bool:  # type: ignore[override]  # it follows from the share
        """Whether real images are herded."""
        return self.share < 1

    @property
    def compresses(self) -> bool:  # type: ignore[override]  # it follows from the storage
        """Whether images are stored in a lossy format."""
        return self.distilled.compresses

    def check(self, sample: Classes, space: Space) -> None:
        self.distilled.check(sample, space)

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        return self.condense_by(draw_seed(scene.generator), arrived, space, scene)

    def condense_by(self, seed: int, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        """:meth:`condense` with a seed that stands for the scene's generator."""

        def herding() -> Order:
            draws = make_generator(seed, "herding")
            extract = scene.features(arrived.images, scene.lens, draws)
            return ordering(arrived, select_herding, extract, draws)

        return self.distilled.mixed(arrived, space, scene, self.share, seed, herding)

    def shrink(self, old: Exemplars, space: Space, scene: Scene) -> Exemplars:
        """Cuts mixtures: their real images cannot be distilled anew."""
        return self.distilled.shrink(old, space, scene) if self.share == 1 else first_fitting(old, space)

    def work(self, arrival: Arrival, space: Space) -> Work:
        plan = self.distilled.work(arrival, space)
        if self.share == 1:
            return plan
        part = round(self.share * plan.stored)
        lossy = self.distilled.suited(arrival.sample.images, space).stored.lossy
        planned = (PlannedDistillation(len(arrival.counts), part, lossy),) if part else ()
        return Work(plan.stored, plan.parts, synthetic=True, distillations=planned)

    def describe(self) -> dict[str, Any]:
        return {**self.distilled.describe(), "method": "hybrid", "share": self.share}
