"""How images are stored: grids of small ones and JPEG, in the order of the choice and within their bytes."""

import pytest
import torch

from iid_cl.budget import Budget
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.jpeg import JpegError, encode, header_length
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.memory.partition import join, reduce_bytes
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Jpeg, Whole

UNIT = 16 + 2  # a grey image of 4x4 and its label


def space(room, *, paying=0, old=None, **budget):
    """So many bytes for each class."""
    return Space(Budget(**(budget or {"class_bytes": room})), room, paying, old)


def flat(*values, side=4):
    """Images of one value each."""
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, side, side).contiguous()


def last_first(label, count):
    """A choice that takes the class's last images first; all classes here have seven."""
    return torch.arange(6, 6 - count, -1)


def in_order(label, count):
    """A choice that takes the class's first images."""
    return torch.arange(count)


SEVEN = {3: flat(10, 20, 30, 40, 50, 60, 70), 1: flat(1, 2, 3, 4, 5, 6, 7)}


def corners(image, partition=2):
    """The values of a grid's tiles, row by row."""
    return image[0, :: 4 // partition, :: 4 // partition].flatten().tolist()


def test_reduced_images_by_hand():
    image = torch.tensor([[0, 2, 10, 10], [4, 6, 10, 11], [255, 255, 0, 1], [255, 255, 0, 0]], dtype=torch.uint8)
    # means 3, 10.25, 255 and 0.25
    assert reduce_bytes(image[None, None], 2)[0, 0].tolist() == [[3, 10], [255, 0]]
    assert reduce_bytes(image[None, None], 4)[0, 0].tolist() == [[67]]  # 1073 / 16
    assert torch.equal(reduce_bytes(image[None, None], 1), image[None, None])


@pytest.mark.parametrize(("size", "shown"), [((5, 4), "5x4"), ((4, 7), "4x7")])
def test_odd_sides_are_refused(size, shown):
    with pytest.raises(UserError, match=rf"memory\.downscale: 2 does not divide images of {shown}"):
        reduce_bytes(torch.zeros(1, 1, *size, dtype=torch.uint8), 2)


def test_whole_images_are_stored_in_the_order_of_the_choice():
    memory = Whole().store(SEVEN, last_first, space(3 * UNIT + 1))
    assert memory.labels.tolist() == [1] * 3 + [3] * 3
    assert memory.images[:, 0, 0, 0].tolist() == [7, 6, 5, 70, 60, 50]
    assert memory.nbytes == 6 * UNIT


def test_four_small_images_share_the_bytes_of_one_in_the_order_of_the_choice():
    memory = Whole(2).store({3: SEVEN[3]}, last_first, space(UNIT))
    assert memory.partition == 2
    assert memory.nbytes == UNIT
    assert corners(memory.images[0]) == [70, 60, 50, 40]
    assert memory.decoded().images[:, 0, 1, 2].tolist() == [70, 60, 50, 40]


def test_the_last_grid_is_filled_up_with_the_best():
    memory = Whole(2).store({3: SEVEN[3]}, last_first, space(5 * UNIT))  # room for twenty of seven
    assert [corners(image) for image in memory.images] == [[70, 60, 50, 40], [30, 20, 10, 70]]


def test_one_image_fills_its_grid_alone():
    memory = Whole(2).store({5: flat(9)}, in_order, space(10 * UNIT))
    assert [corners(image) for image in memory.images] == [[9, 9, 9, 9]]


def test_tiles_stored_before_are_kept_to_the_byte():
    # a tile with structure would not survive being enlarged and reduced again
    tiles = torch.randint(256, (4, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    old = ExemplarSet.from_classes({3: join(tiles, 2), 8: flat(1)}, partition=2)
    images = torch.cat([old.decoded().by_class()[3], flat(200, 210)])
    assert not torch.equal(reduce_bytes(images, 2)[:4], tiles)
    memory = Whole(2).store({3: images}, lambda label, count: torch.tensor([4, 1, 3, 0])[:count], space(UNIT, old=old))
    assert torch.equal(memory.images[0], join(torch.stack([flat(200, side=2)[0], *tiles[[1, 3, 0]]]), 2)[0])
    assert memory.classes == [3]


# --- JPEG


def noise(count, seed=0, shape=(1, 24, 24)):
    return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("room", [900, 1100, 1500, 2600])
def test_jpeg_fills_its_room_and_no_more(room, classes):
    groups = {c: noise(8, c) for c in range(classes)}
    memory = Jpeg(50).store(groups, in_order, space(room, paying=classes))
    assert memory.nbytes <= classes * room
    for label, images in groups.items():
        files = encode(images, 50)
        header = header_length(files[0])
        kept = len(memory.files_by_class()[label])
        assert memory.files_by_class()[label] == files[:kept]
        with_one_more = sum(len(file) - header + 6 for file in files[: kept + 1])
        assert kept == 8 or with_one_more > room - -(-header // classes)


def test_files_stored_before_are_not_encoded_again():
    old = Jpeg(50).store({2: noise(3), 5: noise(1, 1)}, in_order, space(5000, paying=2))
    images = torch.cat([old.decoded().by_class()[2], noise(2, 7)])
    chosen = torch.tensor([3, 0, 2])
    memory = Jpeg(50).store({2: images}, lambda label, count: chosen[:count], space(5000, paying=1, old=old))
    files = old.files_by_class()[2]
    assert memory.files() == [encode(noise(2, 7), 50)[0], files[0], files[2]]


def test_a_class_of_which_no_image_fits_is_named():
    with pytest.raises(JpegError, match=r"memory\.jpeg: no image of class 4 fits into 300 bytes at quality 50"):
        Jpeg(50).store({4: noise(3)}, in_order, space(300, paying=1))


def test_other_channels_than_one_or_three_are_refused():
    with pytest.raises(JpegError, match="not 2 channels"):
        Jpeg(50).store({0: noise(1, shape=(2, 8, 8))}, in_order, space(5000, paying=1))


# --- what a storage says of itself


def test_whole_images_lose_nothing_and_a_grid_holds_several():
    for factor in (1, 2):
        storage = Whole(factor)
        assert (storage.partition, storage.lossy, storage.describe()) == (factor, None, {"downscale": factor})


def test_a_jpeg_file_is_one_image_of_its_quality():
    storage = Jpeg(40)
    assert (storage.partition, storage.lossy, storage.describe()) == (1, JpegFormat(40), {"jpeg": 40})


@pytest.mark.parametrize("quality", [0, 96, -3])
def test_another_quality_is_refused(quality):
    with pytest.raises(UserError, match=rf"^memory\.jpeg: {quality} must be a quality from 1 to 95\.$"):
        Jpeg(quality)


# --- how many images fit


@pytest.mark.parametrize(
    ("factor", "soft_width", "expected"),
    [
        (1, 0, 5),  # 100 // 18
        (2, 0, 5),  # a grid takes the bytes of an image
        (1, 3, 4),  # each image has 2 bytes of soft labels, the class 6: (100 - 6) // (18 + 2)
        (2, 3, 3),  # four rows of soft labels to a grid: (100 - 6) // (18 + 8)
    ],
)
def test_whole_images_that_fit_are_counted_with_their_soft_labels(factor, soft_width, expected):
    assert Whole(factor).count(SEVEN, space(100), soft_width) == expected


@pytest.mark.parametrize("budget", [{"ipc": 5}, {"mem_size": 10}])
def test_budgets_in_images_leave_soft_labels_out_of_account(budget):
    assert Whole().count(SEVEN, space(5 * UNIT, **budget), 3) == 5
    stored = Whole().store(SEVEN, in_order, space(5 * UNIT, **budget), 3)
    assert stored.labels.tolist() == [1] * 5 + [3] * 5


def test_real_images_leave_room_for_soft_labels_where_bytes_are_counted():
    assert Whole().store(SEVEN, in_order, space(100), 3).labels.tolist() == [1] * 4 + [3] * 4
    # four rows of soft labels to a grid: (58 - 6) // (18 + 8) = 2 grids, and one at 57 bytes
    assert Whole(2).store(SEVEN, in_order, space(58), 3).labels.tolist() == [1] * 2 + [3] * 2
    assert Whole(2).store(SEVEN, in_order, space(57), 3).labels.tolist() == [1, 3]


def test_too_few_bytes_for_an_image_with_its_soft_labels_are_refused():
    assert Whole().count(SEVEN, space(26), 3) == 1
    with pytest.raises(UserError, match=r"^memory\.class_bytes: 25 leaves 25 bytes to a class, too little for an "):
        Whole().count(SEVEN, space(25), 3)


def sizes(images, quality=50):
    """Bytes of the files' header, and of each file without it, with an end and a label."""
    files = encode(images, quality)
    header = header_length(files[0])
    return header, [len(file) - header + 4 + 2 for file in files]


@pytest.mark.parametrize(("paying", "soft_width"), [(0, 0), (1, 0), (2, 0), (2, 5)])
def test_files_that_fit_are_counted_by_the_mean_of_the_heaviest_class(paying, soft_width):
    images = {0: noise(8), 1: flat(*range(8), side=24)}
    header, each = sizes(images[0])
    left = 2000 - (-(-header // paying) if paying else 0) - 2 * soft_width
    expected = int(left / (sum(each) / 8 + -(-soft_width // 2)))
    assert Jpeg(50).count(images, space(2000, paying=paying), soft_width) == expected > 1
    # budgets in images are filled up with files, too, so soft labels are charged
    assert Jpeg(50).count(images, space(2000, paying=paying, ipc=3), soft_width) == expected


def test_soft_labels_leave_room_for_fewer_files():
    header, each = sizes(noise(8))
    for soft_width in (0, 40):
        memory = Jpeg(50).store({0: noise(8)}, in_order, space(2000, paying=1), soft_width)
        fitting = (torch.tensor(each) + soft_width // 2).cumsum(0) <= 2000 - header - 2 * soft_width
        assert len(memory) == int(fitting.sum())


# --- distilled images


def test_distilled_images_stay_whole_as_they_are():
    distilled = ExemplarSet.from_classes({0: flat(1, 2)}, {"made": "here"})
    assert Whole().keep(distilled, space(UNIT)) is distilled  # they were made at the number that fits


def test_distilled_images_as_jpeg_are_the_first_that_fit_and_keep_what_they_say_of_themselves():
    images = noise(8, 3)
    distilled = ExemplarSet.from_classes({7: images, 2: images.flip(0)}, {"made": "here"})
    # what the memory held before is not theirs
    old = Jpeg(50).store({7: noise(2, 9)}, in_order, space(9999, paying=1))
    memory = Jpeg(50).keep(distilled, space(1500, paying=2, old=old))
    for label, members in ((7, images), (2, images.flip(0))):
        header, each = sizes(members)
        count = int((torch.tensor(each).cumsum(0) <= 1500 - -(-header // 2)).sum())
        assert 0 < count < 8
        assert memory.files_by_class()[label] == encode(members[:count], 50)
    assert memory.metadata == {"made": "here"}


def values(memory):
    return memory.images[:, 0, 0, 0].tolist()


def test_kinds_alternate_by_hand():
    distilled = ExemplarSet.from_classes({3: flat(1, 2), 1: flat(8, 9)}, {"method": "distilled"})
    # room for five stored images, of which two are distilled and two are asked for
    mixed = Whole().join(distilled, SEVEN, last_first, 2, space(5 * UNIT), 0)
    assert mixed.labels.tolist() == [1] * 4 + [3] * 4
    assert values(mixed) == [8, 7, 9, 6, 1, 70, 2, 60]
    assert mixed.metadata == {"method": "distilled"}


@pytest.mark.parametrize(("some", "others"), [(1, 9), (3, 7), (5, 5), (8, 2), (4, 1)])
def test_the_first_images_keep_the_share(some, others):
    distilled = ExemplarSet.from_classes({0: flat(*[1] * some)})
    mixed = values(Whole().join(distilled, {0: flat(*[2] * 10)}, in_order, others, space(0, ipc=1), 0))
    assert len(mixed) == some + others
    for length in range(1, len(mixed) + 1):
        assert abs(mixed[:length].count(1) - length * some / (some + others)) <= 1


def test_real_images_beside_grids_of_distilled_ones_are_stored_as_grids():
    distilled = ExemplarSet.from_classes({3: flat(1)}, partition=2)
    mixed = Whole(2).join(distilled, {3: SEVEN[3]}, last_first, 1, space(2 * UNIT), 0)
    assert [corners(image) for image in mixed.images] == [[1, 1, 1, 1], [70, 60, 50, 40]]
    assert mixed.partition == 2


def test_soft_labels_of_the_real_part_are_no_part_of_its_bytes():
    """The number of stored images has left room for them already."""
    distilled = ExemplarSet.from_classes({3: flat(1)})
    assert values(Whole().join(distilled, {3: SEVEN[3]}, in_order, 2, space(100), 3)) == [10, 1, 20]


def test_files_of_distilled_images_come_first_and_then_real_ones_that_no_distilled_one_started_from():
    real, made = noise(4, 1), noise(2, 2)
    distilled = ExemplarSet.from_classes({5: made}, {"made": "here"})
    memory = Jpeg(50).join(distilled, {5: real}, lambda _, count: torch.tensor([3, 1, 0, 2])[:count], 0,
                           space(10**5, paying=1), 0)  # fmt: skip
    assert memory.files() == encode(torch.cat([made, real[[0, 2, 3, 1]]]), 50)  # 3 and 1 were started from
    assert memory.metadata == {"made": "here"}
