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
DENSE = 4  # JPEG is worth its loss where it holds this many times the images: as many as at half the side


@dataclass(frozen=True)
class Way:
    """How to spend the bytes of a class: a share of distilled images, stored whole, in grids or as JPEG."""

    share: float
    partition: int = 1
    jpeg: bool = False

    @property
    def label(self) -> str:
        """For people, e.g. ``distilled at 1/2 size``."""
        kind = {0.0: "real", 1.0: "distilled"}.get(self.share, f"{self.share:g} distilled")
        return kind + (" as JPEG" if self.jpeg else "" if self.partition == 1 else f" at 1/{self.partition} size")


@dataclass
class Auto(Method):
    """The way to spend the bytes that serves an early experience best.

    A tenth of the first experience's images is held out, and a memory is made of the rest in each way. Small networks
    (like the embedder, at most 32 channels wide) are trained on each memory. If the memory will be replayed beside real
    images of other classes, half of the classes come from the memory and half are real images, and then the other way
    round. Later experiences are stored in the same way.

    Where JPEG holds at least four times as many images as fit whole, these ways are tried: distilled and half distilled
    images as JPEG (unless it holds more than half of a class), real images as JPEG, and distilled images at the
    configured partition. Otherwise: distilled images at that partition; half distilled images in the same form; real
    images whole and as JPEG. Without a configured partition, DM tries 2 (four images in the bytes of one) and 1 if both
    sides are even and at least 24 pixels.

    The first of these ways is the incumbent and is replaced only if another way's cross-entropy on the held-out images
    is lower by more than two standard errors.

    An experience decides nothing if it has fewer than two new classes, or fewer than ten images in each. If the first
    experience is such, its memory is distilled. The first experience that can decide then chooses among the ways that
    store images in that form: distilled, half distilled and real images.

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

    needs_features = True  # herding is among the ways

    def check(self, sample: Classes, space: Space) -> None:
        (self.chosen or self.distilled).check(sample, space)

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        """Stores the classes in the chosen way, which the first experience that can decide chooses.

        Raises:
            UserError: JPEG was chosen, and not even one image of a class fits.
        """
        seed = draw_seed(scene.generator)
        new = {label: images for label, images in arrived.images.items() if label not in arrived.weights}
        if not self.tried and len(new) > 1:
            rest, held_out = part_held_out(new, make_generator(seed, "held out"))
            if len(held_out) > 1:
                trial = _Trial(self, Classes(rest), held_out, space, scene, seed)
                self.choice = trial.decide()
                self.tried = trial.tried
                # real images are chosen anew from all images: that takes no time
                if not arrived.weights and self.choice.share:
                    return trial.memories[self.choice]
        if self.choice is None:
            self.choice = Way(1.0, self.partitions(arrived)[0])
        return self._as_chosen(self.choice, arrived, space, scene, seed)

    def _as_chosen(self, way: Way, arrived: Classes, space: Space, scene: Scene, seed: int) -> Exemplars:
        try:
            return self.method(way).condense_by(seed, arrived, space, scene)
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
        """Partitions worth a try: that in force or configured; else 2, where parts keep 12 pixels a side, and 1."""
        config = self.distilled.config
        if self.choice is not None:
            return [self.choice.partition]
        if config.partition is not None or config.factor > 1:
            return [config.factor]
        return [2, 1] if all(side % 2 == 0 and side >= 24 for side in arrived.shape[1:]) else [1]

    def shrink(self, old: Exemplars, space: Space, scene: Scene) -> Exemplars:
        assert self.choice is not None  # older classes were stored in some way
        return self.method(self.choice).shrink(old, space, scene)

    def work(self, arrival: Arrival, space: Space) -> Work:
        """What an early experience tries; its first way is taken to win."""
        first = Way(1.0, self.partitions(arrival.sample)[0])
        if len(arrival.counts) < 2:
            return replace(self.method(first).work(arrival, space), then=self.method(first))
        count = self.distilled.stored.count(arrival.sample.images, space)
        several = _fitting_as_jpeg(arrival.sample.images, space)
        plain = PlannedDistillation(len(arrival.counts), count)
        parts = self.distilled.config.factor**2
        if several >= DENSE * count:
            if not condensable(several, arrival.counts):
                return Work(count, parts, True, (plain,), 2, self.method(Way(0.0, jpeg=True)))
            many, half = (
                PlannedDistillation(len(arrival.counts), images, Jpeg(JPEG_QUALITY).lossy)
                for images in (several, round(0.5 * several))
            )
            return Work(count, parts, True, (many, half, plain), 4, self.method(Way(1.0, jpeg=True)))
        planned = [plain for _ in self.partitions(arrival.sample)]
        if count > 1:
            planned.append(PlannedDistillation(len(arrival.counts), round(0.5 * count)))
        judged = len(planned) + 1 + (several > 0)
        return Work(count, parts, True, tuple(planned), judged, self.method(first))

    def describe(self) -> dict[str, Any]:
        settings = (self.chosen or self.distilled).describe()
        choice = None if self.choice is None else self.choice.label
        return {**settings, "method": "auto", "choice": choice, "tried": self.tried}

    def state_dict(self) -> dict[str, Any]:
        return {"choice": None if self.choice is None else asdict(self.choice), "tried": dict(self.tried)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.choice = None if state["choice"] is None else Way(**state["choice"])
        self.tried = dict(state["tried"])


@dataclass
class _Trial:
    """Memories of an experience in several ways, judged by held-out images."""

    auto: Auto
    rest: Classes
    held_out: LabelledImages
    space: Space
    scene: Scene
    seed: int
    memories: dict[Way, Exemplars] = field(default_factory=dict)
    losses: dict[Way, Tensor] = field(default_factory=dict)

    @property
    def tried(self) -> dict[str, float | None]:
        """Mean cross-entropy of each way, by its label."""
        means = {way.label: mean_loss(losses) for way, losses in self.losses.items()}
        return {label: mean if math.isfinite(mean) else None for label, mean in means.items()}

    def decide(self) -> Way:
        """Tries the ways that are worth it; the best of them."""
        auto, rest, space = self.auto, self.rest, self.space
        partitions = auto.partitions(rest)
        count = auto.distilled.stored.count(rest.images, space)
        first = space.old is None  # otherwise only ways that store images like the older classes' are tried
        as_jpeg = _fitting_as_jpeg(rest.images, space) if first else 0
        if as_jpeg >= DENSE * count:
            counts = {label: len(images) for label, images in rest.images.items()}
            several = condensable(as_jpeg, counts)
            distilled = [Way(1.0, jpeg=True), Way(0.5, jpeg=True)] if several else []
            self._attempt(*distilled, Way(0.0, jpeg=True), Way(1.0, partitions[0]))
            # held-out images of few classes may not tell ways apart: then the way that holds most images wins
            incumbent = next(iter(self.losses))
        else:
            self._attempt(*(Way(1.0, partition) for partition in partitions))
            incumbent = min(self.losses, key=lambda way: mean_loss(self.losses[way]))
            half = [replace(incumbent, share=0.5)] if count > 1 else []
            real = [Way(0.0), Way(0.0, jpeg=True)] if first else [Way(0.0, incumbent.partition)]
            self._attempt(*half, *real)
        return significantly_best(self.losses, incumbent)

    def _attempt(self, *ways: Way) -> None:
        for way in ways:
            with suppress(JpegError):  # images too small to pay for JPEG's tables
                self.memories[way] = self.auto.method(way).condense_by(self.seed, self.rest, self.space, self.scene)
        self.losses |= held_out_losses(
            {way: self.memories[way] for way in ways if way in self.memories},
            self.held_out,
            trial_network(self.auto.distilled.config.embedder),
            beside=self.rest.images if self.auto.replayed else None,
            lens=self.scene.lens,
            generator=make_generator(self.seed, "choice"),
        )


def condensable(count: int, counts: Mapping[int, int]) -> bool:
    """Whether it is worth a try to distil ``count`` images of each class: several, and at most half of a class."""
    return 1 < count <= min(counts.values()) // 2


def _fitting_as_jpeg(images: Mapping[int, Tensor], space: Space) -> int:
    """Number of images of a class that fit as JPEG; 0 where JPEG cannot hold them."""
    try:
        return Jpeg(JPEG_QUALITY).count(images, space)
    except JpegError:
        return 0
