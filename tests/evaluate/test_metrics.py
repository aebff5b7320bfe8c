"""Continual metrics of small matrices, worked by hand with test sets of unequal sizes."""

import pytest

from iid_cl.evaluate.metrics import (
    average_incremental_accuracy,
    backward_transfer,
    final_accuracy,
    final_task_accuracy,
    forgetting,
    mean_by_class,
    mean_row,
    seen_accuracy,
    summary,
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


def test_final_task_accuracy_weighs_experiences_alike():
    assert final_task_accuracy(MATRIX) == pytest.approx((0.6 + 0.2 + 0.7) / 3)


def test_backward_transfer_is_against_what_was_just_learned():
    # experience 0: 0.9, now 0.6; experience 1: 0.8, now 0.2
    assert backward_transfer(MATRIX) == pytest.approx((-0.3 - 0.6) / 2)


def test_backward_transfer_ignores_what_came_between():
    # forgetting sees the 0.7 of the second row, backward transfer does not
    matrix = [[0.4], [0.7, 0.5], [0.6, 0.5, 0.9]]
    assert backward_transfer(matrix) == pytest.approx((0.2 + 0.0) / 2)


def test_a_single_experience_has_nothing_to_forget():
    assert forgetting([[0.8]]) is None
    assert backward_transfer([[0.8]]) is None
    assert final_accuracy([[0.8]], [5]) == pytest.approx(0.8)
    assert average_incremental_accuracy([[0.8]], [5]) == pytest.approx(0.8)


def test_joint_training_has_no_sequence():
    row = [[0.5, 0.8, 0.7]]  # 5 of 10, 24 of 30 and 42 of 60: 71 of 100
    found = summary([row], SIZES)
    assert found["final_accuracy"] == pytest.approx(0.71)
    assert found["final_task_accuracy"] == pytest.approx(2 / 3)
    assert [found[key] for key in ("average_accuracy", "forgetting", "backward_transfer")] == [None] * 3


def test_a_summary_is_the_mean_over_learners():
    # the second learner peaks at 0.7 between, so the mean of forgettings is not that of the mean matrix
    other = [[0.4], [0.7, 0.5], [0.6, 0.5, 0.9]]
    found = summary([MATRIX, other], SIZES)
    # 6 of 10, 15 of 30 and 54 of 60: 75 of 100
    assert found["final_accuracy"] == pytest.approx((0.54 + 0.75) / 2)
    assert found["final_task_accuracy"] == pytest.approx((0.5 + 2 / 3) / 2)
    # 7 of 10 and 15 of 30: 22 of 40
    incremental = [(0.9 + 29 / 40 + 0.54) / 3, (0.4 + 22 / 40 + 0.75) / 3]
    assert found["average_accuracy"] == pytest.approx(sum(incremental) / 2)
    assert found["forgetting"] == pytest.approx((0.45 + 0.05) / 2)
    assert found["backward_transfer"] == pytest.approx((-0.45 + 0.1) / 2)
    assert forgetting([mean_row(rows) for rows in zip(MATRIX, other, strict=True)]) != pytest.approx(0.25)


def test_means_over_learners_go_by_position_and_class():
    assert mean_row([[0.2, 0.4], [0.4, 1.0]]) == pytest.approx([0.3, 0.7])
    assert mean_by_class([{3: 0.2, 1: 1.0}, {1: 0.5, 3: 0.4}]) == pytest.approx({3: 0.3, 1: 0.75})
