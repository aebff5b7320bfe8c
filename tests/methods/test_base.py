"""What methods share: how much an update is, what fits of older classes, and what a method need not say."""

from typing import Any

import pytest
import torch

from iid_cl.budget import Budget
from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.jpeg import encode, header_length
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Jpeg
from iid_cl.methods.base import Arrival, Method, Scene, Work, first_fitting

from .helpers import NORMALIZATION, flat, flatten, noise

UNIT = 64 + 2  # a grey image of 8x8 and its label


@pytest.mark.parametrize(
    ("work", "images", "expected"),
    [
        (Work(3), 10, 3),
        (Work(3), 2, 2),
        (Work(0), 10, 0),
        # a class of two images stores two grids of four synthetic ones each
        (Work(3, 4, synthetic=True), 2, 8),
        (Work(3, 4, synthetic=True), 10, 12),
        # ten real images share three grids, of which one is not full
        (Work(3, 4), 10, 10),
        (Work(3, 4), 12, 12),
        (Work(3, 4), 50, 12),
    ],
    ids=str,
)
def test_images_trained_on_by_hand(work: Work, images: int, expected: int) -> None:
    assert work.trained_on(images) == expected


def test_older_classes_of_an_experience_are_those_that_do_not_arrive() -> None:
    sample = Classes({c: noise(1, c) for c in (4, 0, 7)})
    older = Arrival(sample, {7: 30, 9: 20}, 2).older
    assert list(older.images) == [4, 0]
    assert older.images[4] is sample.images[4]


# --- older classes


OLD = ExemplarSet.from_classes({0: flat(1, 2, 3), 5: flat(51, 52, 53, 54)})


def values(memory: Exemplars) -> list[int]:
    return [int(image[0, 0, 0]) for image in memory.decoded().images]


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (UNIT, [1, 51]),
        (2 * UNIT - 1, [1, 51]),
        (3 * UNIT, [1, 2, 3, 51, 52, 53]),
        (9 * UNIT, [1, 2, 3, 51, 52, 53, 54]),
    ],
)
def test_the_first_images_of_each_class_fit(room: int, expected: list[int]) -> None:
    assert values(first_fitting(OLD, Space(Budget(mem_bytes=999), room, 2))) == expected


def test_soft_labels_take_room_where_bytes_are_counted() -> None:
    soft = OLD.with_soft_labels(torch.full((7, 3), 0.25), [0, 5, 6])
    # each image 66 + 2 bytes, and 6 for the class: 3 * 68 + 6 = 210
    for budget, room, expected in (
        (Budget(mem_bytes=999), 210, [1, 2, 3, 51, 52, 53]),
        (Budget(mem_bytes=999), 209, [1, 2, 51, 52]),
        (Budget(mem_size=9), 3 * UNIT, [1, 2, 3, 51, 52, 53]),
    ):
        fewer = first_fitting(soft, Space(budget, room, 2))
        assert values(fewer) == expected
        assert fewer.soft_labels is not None
        assert len(fewer.soft_labels.probabilities) == len(expected)


def test_a_class_without_room_for_its_first_image_is_named() -> None:
    """Noise weighs more than a flat image."""
    groups = {3: flat(7, side=24), 8: noise(2, side=24), 9: noise(1, 1, side=24)}
    old = Jpeg(50).store(groups, lambda _, count: torch.arange(count), Space(Budget(mem_bytes=9999), 3333, 3))
    files = encode(groups[8], 50)
    least = -(-header_length(files[0]) // 3) + len(files[0]) - header_length(files[0]) + 6
    space = Space(Budget(mem_bytes=3 * least), least - 1, 3)
    shown = rf"^memory\.mem_bytes: {3 * least} leaves {least - 1} bytes to a class, too little for the first image of "
    with pytest.raises(UserError, match=shown + r"class 8; use more\.$"):
        first_fitting(old, space)


# --- what a method need not say


class Plain(Method):
    """No more than has to be said."""

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        return ExemplarSet.from_classes(arrived.images)

    def work(self, arrival: Arrival, space: Space) -> Work:
        return Work(1)

    def describe(self) -> dict[str, Any]:
        return {"method": "plain"}


def test_a_method_shrinks_to_the_first_images_and_decides_nothing_by_itself() -> None:
    method = Plain()
    scene = Scene(Lens(NORMALIZATION, (), torch.device("cpu")), flatten, torch.Generator())
    assert values(method.shrink(OLD, Space(Budget(mem_size=4), 2 * UNIT, 2), scene)) == [1, 2, 51, 52]
    assert method.by_class
    assert method.state_dict() == {}
    method.load_state_dict({"of another": "method"})
    assert method.state_dict() == {}
