"""Budgets: the bytes of each class by hand, and what they refuse."""

import pytest

from iid_cl.budget import Budget
from iid_cl.errors import UserError

IMAGE = 3 * 32 * 32  # bytes; with its label 3,074


@pytest.mark.parametrize(
    ("budget", "classes", "room"),
    [
        (Budget(ipc=10), 1, 30_740),
        (Budget(ipc=10), 7, 30_740),
        (Budget(class_bytes=5_000), 7, 5_000),
        (Budget(mem_size=20), 1, 20 * 3_074),
        (Budget(mem_size=20), 3, 6 * 3_074),  # two images are left over
        (Budget(mem_size=20), 20, 3_074),
        (Budget(mem_bytes=100_000), 1, 100_000),
        (Budget(mem_bytes=100_000), 3, 33_333),
    ],
    ids=str,
)
def test_room_by_hand(budget, classes, room):
    assert budget.room(classes, IMAGE) == room


# images of 64 bytes, 66 with their label
@pytest.mark.parametrize(
    ("budget", "images", "most"),
    [
        (Budget(ipc=3), 30, 1980),
        (Budget(mem_size=71), 71, 71 * 66),
        (Budget(mem_bytes=1000), 15, 1000),
        (Budget(class_bytes=140), 20, 1400),
        (Budget(mem_bytes=5), 1, 5),
    ],
    ids=str,
)
def test_what_ten_classes_get(budget, images, most):
    assert budget.images(10, 64) == images
    assert budget.allowed(10, 64) == most


def test_budgets_are_sorted_by_key_and_amount():
    budgets = [Budget(mem_size=2), Budget(ipc=10), Budget(mem_size=1), Budget(ipc=9)]
    assert [budget.pair for budget in sorted(budgets)] == [("ipc", 9), ("ipc", 10), ("mem_size", 1), ("mem_size", 2)]


@pytest.mark.parametrize(
    ("budget", "fixed", "in_bytes"),
    [
        (Budget(ipc=1), False, False),
        (Budget(class_bytes=1), False, True),
        (Budget(mem_size=1), True, False),
        (Budget(mem_bytes=1), True, True),
    ],
    ids=lambda value: value.key if isinstance(value, Budget) else str(value),
)
def test_what_grows_and_what_is_charged(budget, fixed, in_bytes):
    assert (budget.fixed, budget.in_bytes, budget.amount) == (fixed, in_bytes, 1)


@pytest.mark.parametrize(
    ("budget", "least"),
    [
        (Budget(mem_size=2), 3),
        (Budget(mem_bytes=3 * 3_074 - 1), 3 * 3_074),
        (Budget(class_bytes=3_073), 3_074),
    ],
    ids=str,
)
def test_a_budget_without_room_for_an_image_of_each_class_says_how_much_has(budget, least):
    sentence = rf"^memory\.{budget.key}: {budget.amount} has no room for .* 3 classes; use at least {least}\.$"
    with pytest.raises(UserError, match=sentence):
        budget.room(3, IMAGE)
    assert Budget(**{budget.key: least}).room(3, IMAGE) >= 3_074


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({}, "class_bytes; set are none"),
        ({"ipc": 3, "mem_bytes": 5}, "set are ipc: 3, mem_bytes: 5"),
        ({"ipc": 0}, "^ipc: 0 is not a memory"),
        ({"class_bytes": -2}, "^class_bytes: -2 is not a memory"),
    ],
    ids=str,
)
def test_none_several_or_nothing_is_refused(keys, shown):
    with pytest.raises(UserError, match=shown):
        Budget(**keys)
