"""The method that chooses how to spend the bytes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from iid_cl.config.distill import QueueConfig
from iid_cl.data.classes import Classes
from iid_cl.errors import UserError
from iid_cl.memory.dct_storage import Dct
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Whole
from iid_cl.methods.base import Arrival, Method, Scene, Work
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.mixed import Mixed

MOST_DISTILLED = 256  # images of a class: more cost hours, and what they gain was not measured
QUEUE = QueueConfig(networks=1, batch_size=64, cross_entropy=0.1)  # docs/results.md
QUEUE_UPDATES = 900  # of its networks, in a whole distillation
QUEUE_CLASSES = 5  # of an experience from which on a queue was measured to pay


@dataclass(frozen=True)
class Way:
    """How to spend the bytes of a class: a share of distilled images, stored whole, in grids or as coefficients.

    Attributes:
        queue_steps: of a queue of embedders in each iteration; 0: the embedders are as configured.
    """

    share: float
    partition: int = 1
    dct: bool = False
    queue_steps: int = 0

    @property
    def label(self) -> str:
        """For people, e.g. ``distilled as DCT``."""
        kind = {0.0: "real", 1.0: "distilled"}.get(self.share, f"{self.share:.2g} distilled")
        return kind + (" as DCT" if self.dct else "" if self.partition == 1 else f" at 1/{self.partition} size")


@dataclass
class Auto(Method):
    """The way to spend the bytes that measurements found to be the best, by a rule that costs no time.

    Images are stored as cosine coefficients, whose step follows the bytes (:class:`iid_cl.memory.dct_storage.Dct`), or
    whole where more of them fit so. They are distilled, up to 256 of a class, beside herded ones; where more than half
    of a class fits, all are herded. Distilled coefficients of experiences of 5 classes or more have a queue of
    embedders and its cross-entropy, unless the settings name other embedders. The first experience decides for all.

    Args:
        distilled: settings of the distillation. With a partition above 1, distilled grids are stored whole.

    Attributes:
        choice: the way in force; None before the first experience.
    """

    distilled: Distilled = field(default_factory=Distilled)
    choice: Way | None = None

    needs_features = True  # herding is among the ways
    compresses = True  # so are coefficients

    def check(self, sample: Classes, space: Space) -> None:
        counts = {label: len(images) for label, images in sample.images.items()}
        self.method(self._way(sample.images, counts, space)).check(sample, space)

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        """Stores the classes in the chosen way, which the first experience decides."""
        counts = {label: len(images) for label, images in arrived.images.items()}
        self.choice = self._way(arrived.images, counts, space)
        return self.method(self.choice).condense(arrived, space, scene)

    def _way(self, images: Mapping[int, Tensor], counts: Mapping[int, int], space: Space) -> Way:
        """The way in force, or the one that suits a few images of classes with so many."""
        if self.choice is not None:
            return self.choice
        factor = self.distilled.config.partition or 1
        if factor > 1:
            return Way(1.0, factor)
        width = self.distilled.soft_width(len(counts), space)
        as_pixels, as_coefficients = (_fitting(storage, images, space, width) for storage in (Whole(), Dct()))
        count = max(as_pixels, as_coefficients) or Dct().count(images, space, width)  # raises where none fits
        fits_half = count > max(1, min(counts.values()) // 2)
        share = 0.0 if fits_half else min(1.0, MOST_DISTILLED / count)
        dct = as_coefficients > as_pixels
        steps = self._queue_steps(round(share * count)) if dct and len(counts) >= QUEUE_CLASSES else 0
        return Way(share, 1, dct, steps)

    def _queue_steps(self, count: int) -> int:
        """Steps of a queue in each iteration, for ``count`` images of a class; 0 where embedders are configured."""
        config = self.distilled.config
        if config.embedders != "auto" or config.embedder_source == "queue" or config.embedder.pretrained:
            return 0
        return max(1, round(QUEUE_UPDATES / max(1, config.length(count))))

    def method(self, way: Way) -> Mixed:
        """The method that stores images in a way."""
        config = self.distilled.config.model_copy(update={"partition": way.partition})
        if way.queue_steps:
            queue = QUEUE.model_copy(update={"steps": way.queue_steps})
            config = config.model_copy(update={"embedders": "queue", "queue": queue})
        storage = Dct() if way.dct else Whole(way.partition)
        return Mixed(way.share, replace(self.distilled, config=config, storage=storage))

    @property
    def chosen(self) -> Mixed | None:
        """The method in force."""
        return None if self.choice is None else self.method(self.choice)

    def shrink(self, old: Exemplars, space: Space, scene: Scene) -> Exemplars:
        assert self.choice is not None  # older classes were stored in some way
        return self.method(self.choice).shrink(old, space, scene)

    def work(self, arrival: Arrival, space: Space) -> Work:
        method = self.method(self._way(arrival.sample.images, arrival.counts, space))
        work = method.work(arrival, space)
        planned = tuple(replace(one, config=method.distilled.config) for one in work.distillations)
        return replace(work, distillations=planned, then=method)

    def describe(self) -> dict[str, Any]:
        settings = (self.chosen or self.distilled).describe()
        return {**settings, "method": "auto", "choice": None if self.choice is None else self.choice.label}

    def state_dict(self) -> dict[str, Any]:
        return {"choice": None if self.choice is None else asdict(self.choice)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.choice = None if state["choice"] is None else Way(**state["choice"])


def _fitting(storage: Dct | Whole, images: Mapping[int, Tensor], space: Space, soft_width: int) -> int:
    """Number of images of a class that fit; 0 where none does."""
    try:
        return storage.count(images, space, soft_width)
    except UserError:
        return 0
