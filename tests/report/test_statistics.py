"""Figures of several runs."""

import pytest

from iid_cl.report.statistics import percent


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "-"),
        ([0.5], "50.0"),
        ([0.12345], "12.3"),
        ([1.0, 1.0], "100.0 ± 0.0"),
        ([0.1, 0.2, 0.3], "20.0 ± 10.0"),  # squared deviations 0.02 over two degrees of freedom
        ([0.4, 0.6], "50.0 ± 14.1"),
        ([-0.25], "-25.0"),
    ],
)
def test_percent_is_the_mean_and_the_sample_deviation(values: list[float], text: str) -> None:
    assert percent(values) == text
