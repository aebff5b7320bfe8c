"""Images as uint8 tensors: normalisation there and back, labels, and the validation split."""

import numpy as np
import pytest
import torch

from iid_cl.data.images import (
    ImageDataset,
    LabelledImages,
    Normalization,
    first_classes,
    limit_images,
    validation_split,
)
from iid_cl.errors import UserError

CIFAR10 = Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def all_values(channels=3):
    """Every channel holds all 256 values."""
    return torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, channels, 16, 16)


@pytest.mark.parametrize(
    "normalization",
    [CIFAR10, Normalization((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)), Normalization((0.0,) * 3, (1.0,) * 3)],
)
def test_all_256_values_come_back(normalization):
    images = all_values()
    back = normalization.invert(normalization.apply(images))
    assert back.dtype == torch.uint8
    assert torch.equal(back, images)


def test_apply_computes_per_channel():
    images = all_values()
    expected = np.zeros((2, 3, 16, 16))
    for c, (mean, std) in enumerate(zip(CIFAR10.mean, CIFAR10.std, strict=True)):
        expected[:, c] = (images[:, c].numpy().astype(np.float64) / 255 - mean) / std
    applied = CIFAR10.apply(images)
    assert applied.dtype == torch.float32
    np.testing.assert_allclose(applied.numpy(), expected, atol=1e-5)


def test_apply_by_hand():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    assert Normalization((0.5,), (0.25,)).apply(images).flatten().tolist() == [-2.0, 2.0]


def test_any_leading_shape_is_normalised_alike():
    images = all_values().reshape(2, 3, 16, 16)
    grouped = images[:, None, None].expand(2, 4, 5, 3, 16, 16)
    torch.testing.assert_close(CIFAR10.apply(grouped)[1, 2, 3], CIFAR10.apply(images)[1])
    torch.testing.assert_close(CIFAR10.apply(images[0]), CIFAR10.apply(images)[0])


def test_images_given_are_not_changed():
    images = all_values().contiguous()
    CIFAR10.apply(images)
    assert torch.equal(images, all_values())
    normalised = CIFAR10.apply(images)
    before = normalised.clone()
    CIFAR10.invert(normalised)
    assert torch.equal(normalised, before)


def test_invert_rounds_to_the_nearest_value():
    plain = Normalization((0.0,), (1.0,))
    values = torch.tensor([10.4, 10.6, 11.49, 11.51, 0.49, 254.6]) / 255
    assert plain.invert(values.view(6, 1, 1, 1)).flatten().tolist() == [10, 11, 11, 12, 0, 255]


def test_invert_clamps_what_lies_outside():
    plain = Normalization((0.5,), (0.25,))
    values = torch.tensor([-9.0, -2.1, 2.1, 1e6]).view(4, 1, 1, 1)
    assert plain.invert(values).flatten().tolist() == [0, 0, 255, 255]


def test_limits_are_black_and_white():
    black, white = CIFAR10.limits("cpu")
    assert black.shape == white.shape == (3, 1, 1)
    np.testing.assert_allclose(
        black.flatten().numpy(), [-0.4914 / 0.2023, -0.4822 / 0.1994, -0.4465 / 0.2010], rtol=1e-6
    )
    np.testing.assert_allclose(white.flatten().numpy(), [0.5086 / 0.2023, 0.5178 / 0.1994, 0.5535 / 0.2010], rtol=1e-6)
    applied = CIFAR10.apply(all_values())
    torch.testing.assert_close(applied.amin((0, 2, 3)), black.flatten())
    torch.testing.assert_close(applied.amax((0, 2, 3)), white.flatten())


# --- labelled images


def labelled(*labels):
    """Images of one pixel that hold their own position."""
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    return LabelledImages(images, torch.tensor(labels, dtype=torch.int64))


def positions(images):
    return images.flatten().tolist()


def test_of_classes_keeps_the_order():
    chosen = labelled(3, 1, 2, 3, 1).of_classes([3, 1])
    assert chosen.labels.tolist() == [3, 1, 3, 1]
    assert positions(chosen.images) == [0, 1, 3, 4]


def test_of_classes_that_are_not_there_is_empty():
    assert len(labelled(3, 1).of_classes([7])) == 0


def test_by_class_is_sorted_and_complete():
    groups = labelled(3, 1, 2, 3, 1).by_class()
    assert {c: positions(x) for c, x in groups.items()} == {1: [1, 4], 2: [2], 3: [0, 3]}
    assert list(groups) == [1, 2, 3]


def test_floats_and_lists_become_bytes_and_numbers():
    images = LabelledImages(torch.tensor([0.0, 0.2, 1.0]).view(3, 1, 1, 1), [4, 4, 1])
    assert (images.images.dtype, images.images.flatten().tolist()) == (torch.uint8, [0, 51, 255])
    assert (images.labels.dtype, images.labels.tolist()) == (torch.int64, [4, 4, 1])


def test_images_of_another_type_are_refused():
    with pytest.raises(UserError, match=r"images: has images of int64"):
        LabelledImages(torch.zeros(1, 1, 2, 2, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))


def test_images_without_channels_are_refused():
    with pytest.raises(UserError, match=r"\(1, 2, 2\)"):
        LabelledImages(torch.zeros(1, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))


def test_labels_of_another_length_are_refused():
    with pytest.raises(UserError, match=r"labels: are of shape \(3,\) for 2 images"):
        LabelledImages(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


# --- the validation split


def dataset(*counts, classes=None):
    """Classes of so many one-pixel images, interleaved, each image with a number of its own."""
    labels = [c for i in range(max(counts)) for c, n in enumerate(counts) if i < n]
    names = tuple("abcdefgh"[: classes or len(counts)])
    test = LabelledImages(torch.full((4, 1, 1, 1), 255, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    return ImageDataset("toy", labelled(*labels), test, names, CIFAR10, ("crop",))


def split(data, fraction, seed=0):
    return validation_split(data, fraction, torch.Generator().manual_seed(seed))


def test_the_validation_split_divides_the_training_images():
    data = dataset(20, 10, 30)
    held = split(data, 0.3)
    train, test = set(positions(held.train.images)), set(positions(held.test.images))
    assert not train & test
    assert train | test == set(range(60))


def test_the_validation_split_takes_the_fraction_of_each_class():
    held = split(dataset(20, 10, 30), 0.3)
    assert held.test.labels.bincount().tolist() == [6, 3, 9]
    assert held.train.labels.bincount().tolist() == [14, 7, 21]


def test_the_validation_split_keeps_labels_with_images_and_order():
    data = dataset(20, 10, 30)
    for part in (split(data, 0.3).train, split(data, 0.3).test):
        numbers = positions(part.images)
        assert numbers == sorted(numbers)
        assert part.labels.tolist() == data.train.labels[numbers].tolist()


def test_the_validation_split_leaves_the_test_set_out_altogether():
    held = split(dataset(20, 10), 0.5)
    assert 255 not in positions(held.train.images) + positions(held.test.images)


def test_the_validation_split_keeps_what_describes_the_data():
    data = dataset(20, 10)
    held = split(data, 0.5)
    assert (held.name, held.class_names, held.normalization, held.augmentations, held.shape) == (
        "toy", ("a", "b"), CIFAR10, ("crop",), (1, 1, 1),
    )  # fmt: skip


def test_the_validation_split_draws_from_the_generator_only():
    data = dataset(40, 40)
    before = torch.get_rng_state()
    first, again, other = (positions(split(data, 0.5, seed).test.images) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert torch.equal(torch.get_rng_state(), before)


def test_the_validation_split_does_not_take_the_first_images():
    taken = positions(split(dataset(40), 0.25).test.images)
    assert taken != list(range(10))


def test_the_validation_split_leaves_the_given_data_set_alone():
    data = dataset(20, 10)
    split(data, 0.5)
    assert len(data.train) == 30
    assert len(data.test) == 4


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_the_validation_split_that_leaves_a_side_empty_is_a_users_error(fraction):
    with pytest.raises(UserError, match=rf"^stream\.validation: {fraction} of the 4 images of class 'b' leaves one"):
        split(dataset(400, 4), fraction)


def test_the_validation_split_of_a_class_without_images_is_a_users_error():
    with pytest.raises(UserError, match="of the 0 images of class 'c'"):
        split(dataset(9, 9, classes=3), 0.5)


def numbered(counts):
    """Classes of ``counts`` images, mixed; each pixel is the image's number."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    return LabelledImages(images, labels)


def numbered_dataset():
    names = ("a", "b", "c")
    return ImageDataset(
        "set", numbered([9, 4, 12]), numbered([3, 2, 5]), names, Normalization((0.5,), (0.5,)), ("flip",)
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_first_classes_are_kept_whole(count):
    dataset, part = numbered_dataset(), first_classes(numbered_dataset(), count)
    assert part.class_names == ("a", "b", "c")[:count]
    assert part.name == f"set, first {count} classes"
    for side in ("train", "test"):
        images, kept = getattr(dataset, side), getattr(part, side)
        assert kept.labels.tolist() == [label for label in images.labels.tolist() if label < count]
        assert kept.images[:, 0, 0, 0].tolist() == [
            i for i, label in enumerate(images.labels.tolist()) if label < count
        ]
    assert (part.normalization, part.augmentations) == (dataset.normalization, dataset.augmentations)


def test_more_classes_than_there_are_are_refused():
    with pytest.raises(UserError, match=r"^stream\.first_classes: 4 is more than the 3 classes of 'set'"):
        first_classes(numbered_dataset(), 4)


def test_limits_hold_for_each_class():
    dataset, part = numbered_dataset(), limit_images(numbered_dataset(), 5, 2)
    assert part.train.labels.bincount().tolist() == [5, 4, 5]  # "b" has no more
    assert part.test.labels.bincount().tolist() == [2, 2, 2]
    assert part.name == "set, at most 5 training and 2 evaluation images per class"
    for side in ("train", "test"):
        images, kept = getattr(dataset, side), getattr(part, side)
        numbers = kept.images[:, 0, 0, 0].tolist()
        assert numbers == sorted(set(numbers))
        assert kept.labels.tolist() == images.labels[numbers].tolist()


def test_a_limit_of_one_side_leaves_the_other():
    part = limit_images(numbered_dataset(), None, 1)
    assert part.train.labels.bincount().tolist() == [9, 4, 12]
    assert part.test.labels.bincount().tolist() == [1, 1, 1]
    assert part.name == "set, at most 1 evaluation images per class"


def test_limits_draw_the_same_images_each_time_and_grow_by_adding():
    few, again, more = (
        set(limit_images(numbered_dataset(), n, None).train.images[:, 0, 0, 0].tolist()) for n in (3, 3, 6)
    )
    assert few == again < more
    firsts = {
        number for label in range(3) for number in (numbered([9, 4, 12]).labels == label).nonzero()[:3, 0].tolist()
    }
    assert few != firsts  # files are often sorted by something; the first ones are no sample
