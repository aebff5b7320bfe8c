"""The lines of a study's CSV."""

from dataclasses import dataclass


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
class Point:
    """An image in the plane: a line of the study's CSV. ``stored`` is true for the memory's images, false for real."""

    variant: str
    label: int
    stored: bool
    x: float
    y: float
