"""How long the rest of a run takes: what its plan counts, times the speed so far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from iid_cl.errors import UserError
from iid_cl.precheck.plan import Step
from iid_cl.records.result import Result

KINDS = ("training", "distilling", "selecting", "evaluation")


@dataclass(frozen=True)
class Spent:
    """Seconds that a method has taken so far, over its first ``experiences`` experiences."""

    experiences: int
    training: float
    condensing: float
    evaluation: float


def spent_on(result: Result) -> Spent:
    """What a finished method took."""
    training, condensing = result.train_seconds, result.condense_seconds
    return Spent(len(result.matrix), training, condensing, result.total_seconds - training - condensing)


class Forecast:
    """Seconds left of a run with several methods.

    Args:
        plans: makes each method's plan, in the order in which they run. It is called when it is first needed.
    """

    def __init__(self, plans: Callable[[], Mapping[str, Sequence[Step]]]) -> None:
        self._make = plans
        self._plans: Mapping[str, Sequence[Step]] | None = None

    def left(self, spent: Mapping[str, Spent]) -> float | None:
        """Seconds left of all methods, or None if a kind of work is left that has not been seen.

        Args:
            spent: by method; methods that have not begun may be missing.
        """
        if not any(past.experiences for past in spent.values()):
            return None
        if self._plans is None:
            try:
                self._plans = self._make()
            except UserError:  # the run itself will say it, where it matters
                self._plans = {}
        if not self._plans:
            return None
        seconds, done, rest = (dict.fromkeys(KINDS, 0.0) for _ in range(3))
        for method, steps in self._plans.items():
            past = spent.get(method, Spent(0, 0.0, 0.0, 0.0))
            distils = any(step.distillations for step in steps)
            seconds["training"] += past.training
            seconds["evaluation"] += past.evaluation
            seconds["distilling" if distils else "selecting"] += past.condensing
            for number, step in enumerate(steps):
                amounts = done if number < past.experiences else rest
                for kind, amount in _amounts(step, distils).items():
                    amounts[kind] += amount
        if any(rest[kind] and not done[kind] for kind in KINDS if kind != "selecting"):  # which takes little
            return None
        return sum(seconds[kind] / done[kind] * rest[kind] for kind in KINDS if done[kind])


def _amounts(step: Step, distils: bool) -> dict[str, float]:
    """Of each kind of work, in units that take about as long in every experience."""
    return {
        "training": step.updates,
        "distilling": sum(part.classes for part in step.distillations),
        "selecting": 0 if distils else step.train_images,
        "evaluation": step.test_images,
    }
