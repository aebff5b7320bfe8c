"""How images are stored: grids of small ones and JPEG, in the order of the choice and within their bytes."""

import pytest
import torch

from iid_cl.budget import Budget
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.jpeg import JpegError, JpegSet, decode, encode, header_length
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
