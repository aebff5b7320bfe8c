"""Continual metrics of small matrices, worked by hand with test sets of unequal sizes."""

import pytest

from iid_cl.evaluate.metrics import (
    average_incremental_accuracy,
    final_accuracy,
    forgetting,
    seen_accuracy,
)

SIZES = [10, 30, 60]
MATRIX = [
    [0.9],
    [0.5, 0.8],
    [0.6, 0.2, 0.7],
]


def test_seen_accuracy_counts_images():
    # 5 of 10 and 24 of 30 are right: 29 of 40
    assert seen_accuracy([0.5, 0.8], SIZES) == pytest.approx(29 / 40)


def test_seen_accuracy_of_one_experience_is_its_own():
    assert seen_accuracy([0.9], SIZES) == pytest.approx(0.9)


def test_seen_accuracy_of_equal_sizes_is_the_mean():
    assert seen_accuracy([0.2, 0.4, 0.9], [7, 7, 7]) == pytest.approx(0.5)


def test_seen_accuracy_needs_a_size_for_each():
    with pytest.raises(ValueError, match="zip"):
        seen_accuracy([0.5, 0.8], [10])


def test_final_accuracy_counts_the_last_row():
    # 6 of 10, 6 of 30 and 42 of 60: 54 of 100
    assert final_accuracy(MATRIX, SIZES) == pytest.approx(0.54)


def test_average_incremental_accuracy_is_the_mean_over_rows():
    assert average_incremental_accuracy(MATRIX, SIZES) == pytest.approx((0.9 + 29 / 40 + 0.54) / 3)


def test_forgetting_takes_the_best_before_the_end():
    # experience 0: best 0.9, now 0.6; experience 1: best 0.8, now 0.2; the last one cannot be forgotten
    assert forgetting(MATRIX) == pytest.approx((0.3 + 0.6) / 2)


def test_forgetting_looks_at_all_earlier_rows():
    assert forgetting([[0.4], [0.7, 0.5], [0.6, 0.5, 0.9]]) == pytest.approx((0.1 + 0.0) / 2)


def test_forgetting_is_negative_when_later_tasks_help():
    assert forgetting([[0.4], [0.6, 0.9]]) == pytest.approx(-0.2)


def test_a_single_experience_forgets_nothing():
    assert forgetting([[0.8]]) == 0.0
    assert final_accuracy([[0.8]], [5]) == pytest.approx(0.8)
    assert average_incremental_accuracy([[0.8]], [5]) == pytest.approx(0.8)
