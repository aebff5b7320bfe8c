"""Real images of each class, chosen by a rule: the baselines, at the bytes of the distilled memory."""

from dataclasses import dataclass
from typing import Any

from iid_cl.config.methods import METHODS
from iid_cl.data.classes import Classes
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.selection import RULES, Rule, ordering
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Storage, Whole
from iid_cl.methods.base import Arrival, Method, Scene, Work


@dataclass
class Real(Method):
    """Real images of each class.

    Args:
        rule: a name of :data:`iid_cl.memory.selection.RULES`, or your own rule.
        storage: how they are stored.

    Raises:
        UserError: an unknown rule.
    """

    rule: str | Rule = "random"
    storage: Storage = Whole()  # noqa: RUF009, it is immutable

    def __post_init__(self) -> None:
        if isinstance(self.rule, str) and self.rule not in RULES:
            raise UserError(f"rule: {self.rule!r} is unknown; use one of {', '.join(RULES)}.")

    @property
    def needs_features(self) -> bool:  # type: ignore[override]  # it follows from the rule
        """Whether the rule looks at features."""
        return METHODS[self.rule].needs_features if isinstance(self.rule, str) else True

    @property
    def compresses(self) -> bool:  # type: ignore[override]  # it follows from the storage
        """Whether images are stored in a lossy format."""
        return not isinstance(self.storage, Whole)

    def check(self, sample: Classes, space: Space) -> None:
        self.storage.check(sample.images, space)

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        rule = RULES[self.rule] if isinstance(self.rule, str) else self.rule
        extract = scene.features(arrived.images, scene.lens, scene.generator) if self.needs_features else None
        order = ordering(arrived, rule, extract, scene.generator)
        return self.storage.suited(arrived.images, space).store(arrived.images, order, space)

    def work(self, arrival: Arrival, space: Space) -> Work:
        return Work(self.storage.count(arrival.sample.images, space), self.storage.partition**2)

    def holds_real_images(self) -> bool:
        return True

    def describe(self) -> dict[str, Any]:
        rule = self.rule
        name = rule if isinstance(rule, str) else getattr(rule, "__name__", type(rule).__name__)
        return {"method": name, **self.storage.describe()}
