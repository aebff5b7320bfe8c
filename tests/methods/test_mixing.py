"""Mixtures of distilled and real images."""

import pytest
import torch

from iid_cl.budget import Budget
from iid_cl.data.classes import Classes
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.jpeg import JpegError, decode, encode, header_length
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Jpeg, Whole
from iid_cl.methods.mixing import mixture


def flat(*values, side=8):
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, side, side).contiguous()


def values(memory):
    return memory.images[:, 0, 0, 0].tolist()


def space(room, paying=0):
    return Space(Budget(class_bytes=room), room, paying)


# --- whole

UNIT = 64 + 2  # a grey image of 8x8 and its label
SIX = {3: flat(30, 31, 32, 33, 34, 35), 1: flat(10, 11, 12, 13, 14, 15)}


def whole(share, *, room=5 * UNIT, factor=1, soft_width=0, real=SIX):
    """Images of value 200 and more in place of distilled ones; and how many of each class were asked for, from what."""
    asked = []

    def distil(classes, count):
        asked.append((count, classes.start))
        return ExemplarSet.from_classes({c: flat(*range(200, 200 + count)) for c in classes.images}, {}, factor)

    memory = mixture(
        Classes(real), space(room), Whole(factor), share, distil=distil, soft_width=soft_width,
        ordering=lambda: lambda label, count: torch.arange(5, 5 - count, -1),
    )  # fmt: skip
    return memory, asked


@pytest.mark.parametrize(
    ("share", "some", "expected"),
    [
        (0.0, None, [15, 14, 13, 12, 11]),
        (0.09, None, [15, 14, 13, 12, 11]),  # a share of less than half an image
        (0.2, 1, [15, 14, 200, 13, 12]),
        (0.4, 2, [15, 200, 14, 201, 13]),
        (0.5, 2, [15, 200, 14, 201, 13]),  # half of five
        (0.89, 4, [200, 201, 15, 202, 203]),
        (0.9, 4, [200, 201, 15, 202, 203]),
        (0.91, 5, [200, 201, 202, 203, 204]),
        (1.0, 5, [200, 201, 202, 203, 204]),
    ],
)
def test_whole_images_are_mixed_by_hand(share, some, expected):
    memory, asked = whole(share)
    assert asked == ([] if some is None else [(some, None)])  # whole images start from chance
    assert values(memory)[:5] == expected
    assert memory.labels.tolist() == [1] * 5 + [3] * 5


def test_soft_labels_leave_room_for_fewer_whole_images():
    # a row of 2 * 6 bytes a class; of five images at 66 bytes there are (5 * 66 - 12) // (66 + 3) = 4
    memory, asked = whole(0.5, soft_width=6)
    assert asked == [(2, None)]
    assert values(memory)[:4] == [200, 15, 201, 14]
    assert len(memory) == 8
    assert len(whole(0.0, soft_width=6)[0]) == 8


def test_grids_of_both_kinds_share_the_bytes():
    memory, asked = whole(0.5, room=2 * UNIT, factor=2)
    assert asked == [(1, None)]
    assert memory.partition == 2
    grids = [image[0, ::4, ::4].flatten().tolist() for image in memory.by_class()[1]]
    assert grids == [[200] * 4, [15, 14, 13, 12]]


def test_without_an_order_of_real_images_one_is_distilled_at_least():
    asked = []

    def distil(classes, count):
        asked.append(count)
        return ExemplarSet.from_classes({c: flat(*range(count)) for c in classes.images})

    for room, count in ((UNIT, 1), (3 * UNIT, 3)):
        memory = mixture(Classes(SIX), space(room), Whole(), 1.0, distil=distil, ordering=None)
        assert asked.pop() == count
        assert len(memory) == 2 * count
    with pytest.raises(UserError, match=r"^memory\.class_bytes: 65 leaves 65 bytes to a class"):
        mixture(Classes(SIX), space(UNIT - 1), Whole(), 1.0, distil=distil, ordering=None)


# --- as JPEG


def noise(count, seed=0):
    return torch.randint(256, (count, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


REAL = {4: noise(12, 1), 1: noise(12, 2)}


def last_first():
    return lambda label, count: torch.arange(11, 11 - count, -1)


def as_jpeg(room, share, ordering=last_first, real=REAL, quality=30):
    """With flat images in place of distilled ones; and how many of each class were asked for."""
    asked = []

    def distil(classes, count):
        asked.append(count)
        return ExemplarSet.from_classes({c: flat(*range(count), side=16) for c in classes.images}, {"made": "here"})

    memory = mixture(Classes(real), space(room, len(real)), Jpeg(quality), share, distil=distil, ordering=ordering)
    return memory, asked


def read(files, shape=(1, 16, 16)):
    return torch.stack([decode(file, shape) for file in files])


def sizes(images, quality=30):
    files = encode(images, quality)
    return header_length(files[0]), [len(file) - header_length(file) + 6 for file in files]


def test_as_many_are_distilled_as_fit_of_the_class_that_weighs_most():
    room = 1200
    header, _ = sizes(REAL[4])
    expected = min((room - -(-header // 2)) / (sum(sizes(images)[1]) / 12) for images in REAL.values())
    memory, asked = as_jpeg(room, 1.0, None)
    assert asked == [int(expected)]
    assert 3 < asked[0] < 12
    flat_ones = read(encode(flat(*range(asked[0]), side=16), 30))
    for images in memory.by_class().values():  # which weigh less than noise, so all fit
        assert torch.equal(images, flat_ones)
    assert memory.metadata == {"made": "here"}


def test_real_ones_fill_what_is_left_in_their_order():
    room = 1200
    for share in (0.5, 1.0):
        memory, asked = as_jpeg(room, share)
        count = asked[0]
        header, flat_sizes = sizes(flat(*range(count), side=16))
        for label, images in memory.by_class().items():
            assert torch.equal(images[:count], read(encode(flat(*range(count), side=16), 30)))
            behind = REAL[label].flip(0).roll(-count, 0)  # distilled ones start from the first, which come last
            rest = read(encode(behind, 30))[: len(images) - count]
            assert torch.equal(images[count:], rest)
            left = room - -(-header // 2) - sum(flat_sizes)
            fitting = torch.tensor(sizes(behind)[1]).cumsum(0)
            assert len(rest) == int((fitting <= left).sum()) > 0


@pytest.mark.parametrize("ordering", [last_first, None])
def test_distilled_ones_start_from_the_first_in_the_order_of_real_ones(ordering):
    given = []

    def distil(classes, count):
        given.append((count, classes.start))
        return ExemplarSet.from_classes({c: flat(*range(count), side=16) for c in classes.images})

    mixture(Classes(REAL), space(1200, 2), Jpeg(30), 1.0, distil=distil, ordering=ordering)
    ((count, start),) = given
    if ordering is None:
        assert start is None
    else:
        assert 3 < count < 12
        assert {c: images.tolist() for c, images in start.items()} == {
            c: images.flip(0)[:count].tolist() for c, images in REAL.items()
        }


def test_a_class_that_fits_twice_is_stored_distilled_and_then_real():
    """Flat images weigh so little that every one is distilled; then real ones have room as well."""
    real = {0: flat(*range(3), side=16)}
    made = flat(100, 110, 120, side=16)
    memory = mixture(
        Classes(real), space(5000, 1), Jpeg(30), 1.0,
        distil=lambda classes, count: ExemplarSet.from_classes({0: made[: min(count, 3)]}),
        ordering=lambda: lambda label, count: torch.tensor([2, 0, 1])[:count],
    )  # fmt: skip
    assert torch.equal(memory.by_class()[0], read(encode(torch.cat([made, real[0][[2, 0, 1]]]), 30)))


def test_a_share_of_none_is_real_and_nothing_is_distilled():
    memory, asked = as_jpeg(1200, 0.0)
    assert asked == []
    for label, images in memory.by_class().items():
        assert torch.equal(images, read(encode(REAL[label].flip(0), 30))[: len(images)])


def test_what_weighs_more_than_expected_is_left_out():
    real = {0: flat(*range(30), side=16)}  # a few bytes each
    heavy = mixture(
        Classes(real), space(900, 1), Jpeg(30), 1.0, ordering=None,
        distil=lambda classes, count: ExemplarSet.from_classes({0: noise(count, 3)}),
    )  # fmt: skip
    assert 0 < len(heavy) < 30
    assert heavy.nbytes <= 900
    assert torch.equal(heavy.by_class()[0], read(encode(noise(30, 3), 30))[: len(heavy)])


def test_one_is_distilled_where_none_is_expected_to_fit():
    header, one = sizes(flat(0, side=16))
    fits = -(-header // 2) + one[0]
    memory, asked = as_jpeg(fits, 1.0, None)
    assert (asked, len(memory)) == ([1], 2)
    with pytest.raises(JpegError, match="no image of class"):
        as_jpeg(fits - 1, 1.0, None)
