"""Figures of several runs."""

import pytest

from iid_cl.report.statistics import interval, paired_difference, percent, percent_interval


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


# Student's t at 97.5 % from a printed table: 12.706 for one degree of freedom, 4.303 for two, 2.776 for four
@pytest.mark.parametrize(
    ("values", "mean", "half"),
    [
        ([1.0, 3.0], 2.0, 12.706),  # s = sqrt(2), over sqrt(2)
        ([1.0, 2.0, 3.0], 2.0, 4.303 / 3**0.5),  # s = 1
        ([2.0, 4.0, 4.0, 4.0, 6.0], 4.0, 2.776 * 2**0.5 / 5**0.5),  # s^2 = 8 / 4
        ([0.25, 0.25, 0.25], 0.25, 0.0),
    ],
)
def test_interval_is_students(values: list[float], mean: float, half: float) -> None:
    found = interval(values)
    assert found == (pytest.approx(mean), pytest.approx(half, rel=2e-4))


def test_one_value_has_no_interval() -> None:
    assert interval([0.3]) == (0.3, None)
    with pytest.raises(ValueError, match="no values"):
        interval([])


def test_another_level_has_another_interval() -> None:
    assert interval([1.0, 2.0, 3.0], 0.9)[1] == pytest.approx(2.920 / 3**0.5, rel=2e-4)


def test_a_paired_difference_is_over_common_seeds() -> None:
    values, baseline = {7: 0.5, 8: 0.7, 9: 0.9, 1: 0.0}, {9: 0.4, 8: 0.4, 7: 0.4, 2: 1.0}
    found = paired_difference(values, baseline)  # 0.1, 0.3, 0.5: s = 0.2
    assert found == (pytest.approx(0.3), pytest.approx(0.2 * 4.303 / 3**0.5, rel=2e-4))


def test_seeds_that_move_together_have_a_narrow_difference() -> None:
    values, baseline = {0: 0.2, 1: 0.6, 2: 0.9}, {0: 0.1, 1: 0.5, 2: 0.8}
    found = paired_difference(values, baseline)
    assert found == (pytest.approx(0.1), pytest.approx(0.0, abs=1e-12))
    assert (interval(list(values.values()))[1] or 0) > 0.5


def test_without_a_common_seed_there_is_no_difference() -> None:
    assert paired_difference({0: 0.5}, {1: 0.5}) is None
    assert paired_difference({0: 0.5}, {0: 0.25}) == (0.25, None)


def test_intervals_in_percent() -> None:
    assert percent_interval(None) == "-"
    assert percent_interval((0.5612, 0.0204)) == "56.1 ± 2.0"
    assert percent_interval((0.5612, None)) == "56.1"
    assert percent_interval((0.031, 0.01), signed=True) == "+3.1 ± 1.0"
    assert percent_interval((-0.031, None), signed=True) == "-3.1"
