"""How many images fit as coefficients, and the step that fills the bytes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from iid_cl.budget import Budget
from iid_cl.errors import UserError
from iid_cl.memory.dct import DctSet
from iid_cl.memory.dct_format import exact, quantise
from iid_cl.memory.dct_storage import Dct, fill
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.space import Space

SHAPE = (3, 32, 32)


def smooth(count: int, seed: int) -> Tensor:
    """Images like photographs: most of what they show is in low frequencies."""
    draws = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))
    coarse = interpolate(avg_pool2d(draws, 8), scale_factor=8, mode="bilinear")
    return ((coarse - 0.5) * 900 + draws * 30 + 110).clamp(0, 255).to(torch.uint8)


IMAGES = {3: smooth(90, 1), 8: smooth(60, 2)}


def space(room: int) -> Space:
    return Space(Budget(class_bytes=room), room, len(IMAGES))


def first(label: int, count: int) -> Tensor:
    return torch.arange(count)


@pytest.mark.parametrize("room", [300, 600, 1000])
def test_bytes_are_filled_and_never_exceeded(room: int) -> None:
    memory = Dct(60.0).store(IMAGES, first, space(room))
    for one in memory.coded().values():
        assert room - 0.03 * room - 16 < one.nbytes <= room
        assert one.step == pytest.approx(60.0, rel=0.25)


def test_count_tells_what_fits_of_every_class() -> None:
    count = Dct(60.0).count(IMAGES, space(1000))
    stored = Dct(60.0).store(IMAGES, first, space(1000)).coded()
    assert count == sum(one.count for one in stored.values()) // 2


def test_a_class_with_few_images_has_them_in_better_quality() -> None:
    few = {c: images[:6] for c, images in IMAGES.items()}
    memory = Dct(60.0).store(few, first, space(1500))
    assert {one.count for one in memory.coded().values()} == {6}
    assert max(one.step for one in memory.coded().values()) < 20
    lossless_enough = Dct(60.0).store(few, first, space(10**6))
    assert {one.step for one in lossless_enough.coded().values()} == {1.0}


def test_one_image_is_stored_coarsely_where_none_fits_at_the_step() -> None:
    memory = Dct(20.0).store(IMAGES, first, space(75))
    assert {one.count for one in memory.coded().values()} == {1}
    assert min(one.step for one in memory.coded().values()) > 20
    assert memory.nbytes <= 2 * 75


def test_too_little_for_any_image_is_refused() -> None:
    for call in (Dct(60.0).count, lambda images, room: Dct(60.0).store(images, first, room)):
        with pytest.raises(UserError, match="class_bytes: 20"):
            call(IMAGES, space(20))


def test_the_best_images_are_stored_in_their_order() -> None:
    memory = Dct(60.0).store(IMAGES, lambda label, count: torch.arange(count).flip(0) + 10, space(1000))
    for label, one in memory.coded().items():
        expected = IMAGES[label][torch.arange(one.count).flip(0) + 10]
        assert torch.equal(memory.coefficients()[label].double(), quantise(exact(expected), one.step))


def test_distilled_images_are_all_kept_at_the_finest_step_that_fits() -> None:
    distilled = ExemplarSet.from_classes({c: images[:20] for c, images in IMAGES.items()}, {"iterations": 5})
    memory = Dct(200.0).keep(distilled, space(1000))
    assert ({one.count for one in memory.coded().values()}, memory.metadata) == ({20}, {"iterations": 5})
    for label, one in memory.coded().items():
        finer = quantise(exact(IMAGES[label][:20]), one.step * 0.97)
        assert one.nbytes <= 1000 < DctSet.from_classes({label: replace(one)}, SHAPE).nbytes + 40
        assert torch.count_nonzero(finer) > torch.count_nonzero(memory.coefficients()[label])


def test_soft_labels_take_their_share() -> None:
    assert Dct(60.0).count(IMAGES, space(1000), soft_width=10) < Dct(60.0).count(IMAGES, space(1000))
    memory = Dct(60.0).store(IMAGES, first, space(1000), soft_width=10)
    soft = memory.with_soft_labels(torch.full((len(memory), 10), 0.1), list(range(10)))
    assert 1900 < soft.nbytes <= 2000


def test_distilled_images_come_before_the_real_ones_they_do_not_start_from() -> None:
    distilled = ExemplarSet.from_classes({c: smooth(4, 5) for c in IMAGES})
    memory = Dct(60.0).join(distilled, IMAGES, first, 6, space(900), 0)
    for label, one in memory.coded().items():
        expected = torch.cat([smooth(4, 5), IMAGES[label][4:10]])
        assert torch.equal(memory.coefficients()[label].double(), quantise(exact(expected), one.step))


def test_a_class_that_comes_back_keeps_what_is_stored_of_it() -> None:
    old = Dct(60.0).store({3: IMAGES[3][:40]}, first, space(1000))
    kept = old.by_class()[3]
    arrived = {3: torch.cat([kept, IMAGES[3][40:]])}
    again = replace(space(1000), old=old)
    memory = Dct(60.0).store(arrived, lambda label, count: torch.arange(0, 2 * count, 2), again)
    count = memory.coded()[3].count
    old_ones = len(torch.arange(0, len(kept), 2))
    assert count > old_ones
    assert torch.equal(memory.coefficients()[3][:old_ones], old.coefficients()[3][::2])
    assert memory.coded()[3].step == old.coded()[3].step


def test_fill_uses_the_whole_room() -> None:
    coded = fill(exact(IMAGES[3]), space(2000))
    assert coded.count == 90
    assert 1940 < coded.nbytes <= 2000


@pytest.mark.parametrize("step", [0.5, 5000.0])
def test_a_step_out_of_range_is_refused(step: float) -> None:
    with pytest.raises(UserError, match=r"memory\.dct"):
        Dct(step)
