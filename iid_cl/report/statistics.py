"""How figures of several runs are written."""

from collections.abc import Sequence
from statistics import mean, stdev


def percent(values: Sequence[float]) -> str:
    """Mean of fractions in percent, with the sample standard deviation where there are several."""
    if not values:
        return "-"
    text = f"{100 * mean(values):.1f}"
    return text if len(values) == 1 else f"{text} ± {100 * stdev(values):.1f}"
