"""Real images of all classes alike; that draws are uniform is tested in tests/strategies/test_returning.py."""

import pytest
import torch

from iid_cl.budget import Budget
from iid_cl.data.classes import Classes
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.space import Space
from iid_cl.methods.base import Arrival, Work
from iid_cl.methods.reservoir import Reservoir

from .helpers import Remembering, flat, noise, real_ones

UNIT = 64 + 2  # a grey image of 8x8 and its label


def held(memory: Remembering) -> ExemplarSet:
    assert isinstance(memory.exemplars, ExemplarSet)
    return memory.exemplars


def test_a_reservoir_describes_itself_and_is_no_matter_of_classes() -> None:
    assert Reservoir().describe() == {"method": "reservoir"}
    assert not Reservoir().by_class


@pytest.mark.parametrize(
    ("budget", "sizes"),
    [
        (Budget(mem_size=7), [6, 7, 7]),  # the first experience has no more
        (Budget(mem_bytes=7 * UNIT + UNIT - 1), [6, 7, 7]),
        (Budget(ipc=2), [4, 6, 8]),
        (Budget(class_bytes=172), [5, 7, 10]),  # of 344, 516 and 688 bytes
    ],
    ids=lambda value: value.key if isinstance(value, Budget) else "",
)
def test_the_budget_is_used_up_whole(budget: Budget, sizes: list[int]) -> None:
    memory = Remembering(Reservoir(), budget)
    experiences = {0: noise(3), 1: noise(3, 1)}, {5: noise(8, 2)}, {0: noise(9, 3), 6: noise(2, 4)}
    for number, (groups, size) in enumerate(zip(experiences, sizes, strict=True), start=1):
        memory.meet(groups)
        exemplars = held(memory)
        assert len(exemplars) == size
        assert bool((exemplars.labels.diff() >= 0).all())
        assert all(real_ones(exemplars.images, *experiences[:number]))
        assert len({image.numpy().tobytes() for image in exemplars.images}) == size


def test_classes_are_taken_as_they_come() -> None:
    """Of 90 images of a class and 10 of another most are of the first."""
    memory = Remembering(Reservoir(), Budget(mem_size=20)).meet({0: noise(90), 1: noise(10, 1)})
    assert held(memory).labels.tolist().count(0) >= 14


def test_a_class_may_be_left_out() -> None:
    for seed in range(5):
        memory = Remembering(Reservoir(), Budget(mem_size=2), seed=seed).meet({0: noise(99), 1: noise(1, 1)})
        if held(memory).classes == [0]:
            break
    else:
        pytest.fail("a single image in a hundred was always drawn among two")
    memory.meet({0: noise(3, 5)})  # and the memory goes on
    assert len(held(memory)) == 2


def test_the_images_of_a_class_belong_to_it() -> None:
    memory = Remembering(Reservoir(), Budget(mem_size=9)).meet({2: flat(*range(20, 30)), 7: flat(*range(70, 80))})
    memory.meet({2: flat(*range(120, 130)), 3: flat(*range(130, 140))})
    for label, images in held(memory).by_class().items():
        assert {int(value) // 10 % 10 for value in images[:, 0, 0, 0]} == {label}


@pytest.mark.parametrize(("room", "expected"), [(UNIT, 1), (5 * UNIT, 5), (6 * UNIT - 1, 5)])
def test_its_work_is_a_share_of_each_class(room: int, expected: int) -> None:
    arrival = Arrival(Classes({0: noise(3), 1: noise(2)}), {1: 40}, 1)
    assert Reservoir().work(arrival, Space(Budget(class_bytes=room), room, 2)) == Work(expected)


def test_draws_repeat_for_a_seed_only() -> None:
    one, again, other = (
        held(Remembering(Reservoir(), 2, seed=seed).meet({0: noise(40)}, {1: noise(40, 1)})).images
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
