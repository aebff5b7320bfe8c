"""Means, intervals and differences over several runs."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev


def percent(values: Sequence[float]) -> str:
    """Mean of fractions in percent, with the sample standard deviation if there are several."""
    if not values:
        return "-"
    text = f"{100 * mean(values):.1f}"
    return text if len(values) == 1 else f"{text} ± {100 * stdev(values):.1f}"


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float | None]:
    """Mean and half width of its confidence interval by Student's t; the half width of a single value is None.

    The half width is t((1 + level) / 2, n - 1) * s / sqrt(n), with the sample standard deviation s.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("there are no values")
    if len(values) == 1:
        return values[0], None
    from scipy.stats import t

    quantile = float(t.ppf((1 + level) / 2, len(values) - 1))
    return mean(values), quantile * stdev(values) / math.sqrt(len(values))


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], level: float = 0.95
) -> tuple[float, float | None] | None:
    """:func:`interval` of value minus baseline, seed by seed; None without a common seed."""
    common = [seed for seed in values if seed in baseline]
    return interval([values[seed] - baseline[seed] for seed in common], level) if common else None


def percent_interval(spread: tuple[float, float | None] | None, *, signed: bool = False) -> str:
    """A mean of fractions with its half width in percent, e.g. ``56.1 ± 2.0``; ``signed`` for differences."""
    if spread is None:
        return "-"
    middle, half = spread
    text = f"{100 * middle:+.1f}" if signed else f"{100 * middle:.1f}"
    return text if half is None else f"{text} ± {100 * half:.1f}"
