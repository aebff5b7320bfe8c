"""The lines of a study's CSV."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One trained network: a line of the study's CSV. ``x`` is the swept value or the iteration, if any."""

    variant: str
    x: float | None
    seed: int
    architecture: str
    network: int
    accuracy: float
    images: int
    bytes: int
    condense_seconds: float
    evaluate_seconds: float


@dataclass(frozen=True)
class Tried:
    """A trial of a search.

    Attributes:
        number: counted from 0.
        values: of the searched keys.
        accuracy: mean over seeds and networks, on held-out training images; None if the values do not fit the data.
        same_as: number of an earlier trial of the same values, whose accuracy this is.
        error: why the values do not fit.
    """

    number: int
    values: dict[str, Any]
    accuracy: float | None
    same_as: int | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """Number and values, for tables.

        >>> Tried(3, {"distill.lr": 0.0123456, "memory.jpeg": None}, 0.5).name
        '3: distill.lr 0.01235, memory.jpeg null'
        """
        return f"{self.number}: " + ", ".join(f"{key} {text(value)}" for key, value in self.values.items())


def text(value: Any) -> str:
    """A value as in YAML; numbers with four digits."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Point:
    """An image in the plane: a line of the study's CSV. ``stored`` is true for the memory's images, false for real."""

    variant: str
    label: int
    stored: bool
    x: float
    y: float
