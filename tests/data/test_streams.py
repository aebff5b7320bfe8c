"""Class-incremental streams: which classes arrive when."""

import numpy as np
import pytest

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.streams import class_order
from iid_cl.errors import UserError


def stream(**values: object) -> StreamConfig:
    return StreamConfig.model_validate(values)


@pytest.mark.parametrize(("classes", "experiences"), [(10, 5), (10, 3), (10, 1), (10, 10), (7, 4), (100, 10), (1, 1)])
@pytest.mark.parametrize("seed", [0, 7])
def test_the_order_is_numpys_permutation_cut_into_parts(classes: int, experiences: int, seed: int) -> None:
    permutation = list(np.random.RandomState(seed).permutation(classes))
    size, larger = divmod(classes, experiences)
    expected = []
    for i in range(experiences):
        expected.append([permutation.pop(0) for _ in range(size + (i < larger))])
    assert class_order(stream(experiences=experiences), classes, seed) == expected


def test_the_known_order_of_seed_zero() -> None:
    # numpy.random.seed(0); numpy.random.permutation(10), frozen by NumPy's compatibility policy
    assert class_order(stream(experiences=5), 10, 0) == [[2, 8], [4, 9], [1, 6], [7, 3], [0, 5]]


@pytest.mark.parametrize("experiences", range(1, 8))
def test_every_class_arrives_once_and_the_first_parts_are_larger(experiences: int) -> None:
    order = class_order(stream(experiences=experiences), 7, seed=3)
    assert sorted(c for group in order for c in group) == list(range(7))
    sizes = [len(group) for group in order]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


def test_the_order_follows_the_runs_seed() -> None:
    assert class_order(stream(), 10, 0) == class_order(stream(), 10, 0)
    assert class_order(stream(), 10, 0) != class_order(stream(), 10, 1)


def test_an_order_seed_precedes_the_runs_seed() -> None:
    orders = [class_order(stream(order_seed=4), 10, seed) for seed in (0, 1)]
    assert orders[0] == orders[1] == class_order(stream(), 10, 4)
    assert class_order(stream(order_seed=0), 10, 4) == class_order(stream(), 10, 0)


def test_the_order_leaves_global_randomness_alone() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    class_order(stream(), 10, 0)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr]


def test_explicit_classes_are_taken_as_they_are() -> None:
    order = class_order(stream(classes=[[7, 2], [5]], experiences=4, order_seed=3), 10, seed=1)
    assert order == [[7, 2], [5]]


@pytest.mark.parametrize(("classes", "odd"), [([[0], [5]], 5), ([[9, 1]], 9)])
def test_an_explicit_class_that_does_not_exist_is_refused(classes: list[list[int]], odd: int) -> None:
    with pytest.raises(UserError, match=rf"stream\.classes: {odd} is no class .* 0 to 4"):
        class_order(stream(classes=classes), 5, 0)


def test_more_experiences_than_classes_are_refused() -> None:
    assert len(class_order(stream(experiences=5), 5, 0)) == 5
    with pytest.raises(UserError, match=r"stream\.experiences: 6 .* at most 5"):
        class_order(stream(experiences=6), 5, 0)


@pytest.mark.parametrize(
    ("initial", "increment", "classes", "sizes"),
    [
        (None, 10, 100, [10] * 10),  # base-0 inc-10
        (50, 10, 100, [50, 10, 10, 10, 10, 10]),  # base-50 inc-10
        (None, 3, 10, [3, 3, 3, 1]),
        (10, 5, 10, [10]),
        (9, 5, 10, [9, 1]),
    ],
)
def test_an_increment_by_hand(initial: int | None, increment: int, classes: int, sizes: list[int]) -> None:
    order = class_order(stream(initial=initial, increment=increment, order_seed=1993), classes, 0)
    assert [len(part) for part in order] == sizes
    assert [c for part in order for c in part] == np.random.RandomState(1993).permutation(classes).tolist()


def test_the_order_that_the_field_calls_1993() -> None:
    # numpy.random.seed(1993); numpy.random.permutation(100), as PyCIL and its kin print it for CIFAR-100
    first = class_order(stream(increment=10, order_seed=1993), 100, 0)[0]
    assert first == [68, 56, 78, 8, 23, 84, 90, 65, 74, 76]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"initial": 11, "increment": 5}, r"^stream\.initial: 11 is more than the 10 classes"),
        ({"increment": 11}, r"^stream\.increment: 11 is more than the 10 classes"),
    ],
)
def test_a_first_part_larger_than_the_data_is_refused(keys: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        class_order(stream(**keys), 10, 0)


@pytest.mark.parametrize("keys", [{"initial": 5}, {"increment": 5, "classes": [[0]]}], ids=str)
def test_an_initial_alone_and_two_splits_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs an increment|contradicts classes"):
        stream(**keys)
