"""The method that chooses how to spend the bytes."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from iid_cl.data.classes import Classes
from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.jpeg import JpegError
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Jpeg, Whole
from iid_cl.methods.base import Arrival, Method, PlannedDistillation, Scene, Work
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.judging import held_out_losses, mean_loss, part_held_out, significantly_best, trial_network
from iid_cl.methods.mixed import Mixed
from iid_cl.seeding import draw_seed, make_generator

JPEG_QUALITY = 25  # the best on held-out images
DENSE = 4  # times as many images in the same bytes make JPEG worth its loss: as many as at half the side


@dataclass(frozen=True)
class Way:
    """How to spend the bytes of a class: a share of distilled images, and at a part of their size or as JPEG."""

    share: float
    partition: int = 1
    jpeg: bool = False

    @property
    def label(self) -> str:
        """For people, e.g. ``distilled at 1/2 size``."""
        name = {0.0: "real", 1.0: "distilled"}.get(self.share, f"{self.share:g} distilled")
        stored = " as JPEG" if self.jpeg else "" if self.partition == 1 else f" at 1/{self.partition} size"
        return name + stored


@dataclass
class Auto(Method):
    """The way to spend the bytes that serves an early experience best.

    A tenth of the first experience's images is held out, and a memory is made of the rest in each way. Small networks
    (like the embedder, at most 32 channels wide) are trained on each. Where the memory will be replayed beside real
    images of other classes, half of the classes come from the memory and the other half are real, and then the other
    way round. Later experiences are kept in the same way.

    Where JPEG holds at least four times as many images as fit whole, these ways are tried: distilled and half distilled
    images as JPEG (unless it holds more than half of a class), real ones as JPEG, and distilled ones at the configured
    partition. Otherwise: distilled images at that partition; half distilled ones in the same form; real ones whole and
    as JPEG. Where the configuration names no partition, with DM and sides that are even and at least 24, it is 2, four
    images in the bytes of one, or 1 where that is tried as well and proves better.

    The first of these ways is the incumbent and is replaced only if another one's cross-entropy on the held-out images
    is lower by more than two standard errors.

    An experience with fewer than two new classes, or with fewer than ten images in each, tells nothing apart. Where
    that is the first one its memory is distilled, and the first experience that does decides among the ways that store
    images as those are: distilled, half distilled and real ones.

    Args:
        distilled: settings of the distillation; its partition is chosen where the configuration names none.
        replayed: whether the memory will be replayed beside other classes' real images; False where networks are
            trained on the memory alone.

    Attributes:
        choice: the way in force; None before the first experience.
        tried: cross-entropy of each way that was tried, by its label; None where the networks diverged. Empty until an
            experience has decided.
    """

    distilled: Distilled = field(default_factory=Distilled)
    replayed: bool = True
    choice: Way | None = None
    tried: dict[str, float | None] = field(default_factory=dict)

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        """Stores the classes in the way chosen, and chooses it first where that has not been done and can be.

        Raises:
            UserError: JPEG was chosen, and not one image of a class fits.
        """
        seed = draw_seed(scene.generator)
        new = {label: images for label, images in arrived.images.items() if label not in arrived.weights}
        if not self.tried and len(new) > 1:
            rest, held_out = part_held_out(new, make_generator(seed, "held out"))
            if len(held_out) > 1:
                trial = _Trial(self, Classes(rest), held_out, space, scene, seed)
                self.choice = trial.decide()
                self.tried = trial.tried
                # real ones are chosen of all images: that takes no time
                if not arrived.weights and self.choice.share:
                    return trial.made[self.choice]
        if self.choice is None:
            self.choice = Way(1.0, self.partitions(arrived)[0])
        return self._as_chosen(self.choice, arrived, space, scene, seed)

    def _as_chosen(self, way: Way, arrived: Classes, space: Space, scene: Scene, seed: int) -> Exemplars:
        try:
            return self.method(way).made(arrived, space, scene, seed)
        except JpegError:
            if self.tried and space.old is None:
                raise
            budget = space.budget
            raise UserError(
                f"memory.{budget.key}: {budget.amount} leaves {space.room} bytes to a class, too little for an "
                "image of each as JPEG, which auto chose on the first experience; use more, or another "
                "memory.method than auto."
            ) from None

    def method(self, way: Way) -> Mixed:
        """The method that stores images in a way."""
        config = self.distilled.config.model_copy(update={"partition": way.partition})
        storage = Jpeg(JPEG_QUALITY) if way.jpeg else Whole(way.partition)
        return Mixed(way.share, replace(self.distilled, config=config, storage=storage))

    @property
    def chosen(self) -> Mixed | None:
        """The method in force."""
        return None if self.choice is None else self.method(self.choice)

    def partitions(self, arrived: Classes) -> list[int]:
        """Partitions worth a try: the one in force or configured; else 2, where parts keep 12 pixels a side, and 1."""
        config = self.distilled.config
        if self.choice is not None:
            return [self.choice.partition]
        if config.partition is not None or config.factor > 1:
            return [config.factor]
        return [2, 1] if all(side % 2 == 0 and side >= 24 for side in arrived.shape[1:]) else [1]

    def shrink(self, old: Exemplars, space: Space, scene: Scene) -> Exemplars:
        """As the method in force does."""
        assert self.choice is not None  # older classes were stored in some way
        return self.method(self.choice).shrink(old, space, scene)

    def work(self, arrival: Arrival, space: Space) -> Work:
        """What is tried in an early experience; it is taken to keep the first way that it tries."""
        first = Way(1.0, self.partitions(arrival.sample)[0])
        if len(arrival.counts) < 2:
            return replace(self.method(first).work(arrival, space), then=self.method(first))
        count = self.distilled.stored.count(arrival.sample.images, space)
        several = _fitting_as_jpeg(arrival.sample.images, space)
        whole = PlannedDistillation(len(arrival.counts), count)
        parts = self.distilled.config.factor**2
        if several >= DENSE * count:
            if not condensable(several, arrival.counts):
                return Work(count, parts, True, (whole,), 2, self.method(Way(0.0, jpeg=True)))
            many, half = (
                PlannedDistillation(len(arrival.counts), images, Jpeg(JPEG_QUALITY).lossy)
                for images in (several, round(0.5 * several))
            )
            return Work(count, parts, True, (many, half, whole), 4, self.method(Way(1.0, jpeg=True)))
        planned = [whole for _ in self.partitions(arrival.sample)]
        if count > 1:
            planned.append(PlannedDistillation(len(arrival.counts), round(0.5 * count)))
        judged = len(planned) + 1 + (several > 0)
        return Work(count, parts, True, tuple(planned), judged, self.method(first))

    def describe(self) -> dict[str, Any]:
        """The settings in force, the choice and what was tried."""
        settings = (self.chosen or self.distilled).describe()
        choice = None if self.choice is None else self.choice.label
        return {**settings, "method": "auto", "choice": choice, "tried": self.tried}

    def state_dict(self) -> dict[str, Any]:
        """The way chosen, and what was tried."""
        return {"choice": None if self.choice is None else asdict(self.choice), "tried": dict(self.tried)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over both."""
        self.choice = None if state["choice"] is None else Way(**state["choice"])
        self.tried = dict(state["tried"])


class _Trial:
    """Memories of an experience in several ways, judged by held-out images."""

    def __init__(
        self, auto: Auto, rest: Classes, held_out: LabelledImages, space: Space, scene: Scene, seed: int
    ) -> None:
        self._auto, self._rest, self._held_out = auto, rest, held_out
        self._space, self._scene, self._seed = space, scene, seed
        self.made: dict[Way, Exemplars] = {}
        self._losses: dict[Way, Tensor] = {}

    @property
    def tried(self) -> dict[str, float | None]:
        """Mean cross-entropy of each way, by its label."""
        means = {way.label: mean_loss(losses) for way, losses in self._losses.items()}
        return {label: mean if math.isfinite(mean) else None for label, mean in means.items()}

    def decide(self) -> Way:
        """Tries the ways that are worth it, and says which is best."""
        auto, rest, space = self._auto, self._rest, self._space
        partitions = auto.partitions(rest)
        count = auto.distilled.stored.count(rest.images, space)
        # beside older classes, whose images are stored already, only what is stored like them
        first = space.old is None
        as_jpeg = _fitting_as_jpeg(rest.images, space) if first else 0
        if as_jpeg >= DENSE * count:
            counts = {label: len(images) for label, images in rest.images.items()}
            several = condensable(as_jpeg, counts)
            distilled = [Way(1.0, jpeg=True), Way(0.5, jpeg=True)] if several else []
            self._attempt(*distilled, Way(0.0, jpeg=True), Way(1.0, partitions[0]))
            # held-out images of few classes may not tell them apart: then the way that holds most stays
            incumbent = next(iter(self._losses))
        else:
            self._attempt(*(Way(1.0, partition) for partition in partitions))
            incumbent = min(self._losses, key=lambda way: mean_loss(self._losses[way]))
            half = [replace(incumbent, share=0.5)] if count > 1 else []
            real = [Way(0.0), Way(0.0, jpeg=True)] if first else [Way(0.0, incumbent.partition)]
            self._attempt(*half, *real)
        return significantly_best(self._losses, incumbent)

    def _attempt(self, *ways: Way) -> None:
        auto, scene = self._auto, self._scene
        for way in ways:
            with suppress(JpegError):  # images too small to pay for JPEG's tables
                self.made[way] = auto.method(way).made(self._rest, self._space, scene, self._seed)
        memories = {way: self.made[way] for way in ways if way in self.made}
        self._losses |= held_out_losses(
            memories,
            self._held_out,
            trial_network(auto.distilled.config.embedder),
            beside=self._rest.images if auto.replayed else None,
            lens=scene.lens,
            generator=make_generator(self._seed, "choice"),
        )


def condensable(count: int, counts: Mapping[int, int]) -> bool:
    """Whether it is worth a try to condense each class into ``count`` images: several, and at most half of a class."""
    return 1 < count <= min(counts.values()) // 2


def _fitting_as_jpeg(images: Mapping[int, Tensor], space: Space) -> int:
    """Images of a class that fit as JPEG; 0 where JPEG cannot hold them."""
    try:
        return Jpeg(JPEG_QUALITY).count(images, space)
    except JpegError:
        return 0
