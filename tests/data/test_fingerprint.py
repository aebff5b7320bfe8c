"""Digests of images and of data sets."""

import hashlib
from dataclasses import replace

import pytest
import torch

from iid_cl.data.fingerprint import digests, fingerprint
from iid_cl.data.images import ImageDataset, LabelledImages, Normalization


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (count, 3, 4, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def dataset() -> ImageDataset:
    train = LabelledImages(images(4), torch.tensor([0, 1, 0, 1]))
    test = LabelledImages(images(2, seed=1), torch.tensor([0, 1]))
    return ImageDataset("made", train, test, ("a", "b"), Normalization((0.5,) * 3, (0.5,) * 3), ())


def test_a_digest_is_of_an_images_bytes() -> None:
    batch = images(3)
    expected = [hashlib.blake2b(bytes(image.flatten().tolist()), digest_size=16).digest() for image in batch]
    assert digests(batch) == expected


def test_how_images_lie_in_memory_does_not_matter() -> None:
    batch = images(3)
    assert digests(batch.contiguous(memory_format=torch.channels_last)) == digests(batch)
    assert digests(batch[::2]) == digests(batch)[::2]


def test_no_image_has_no_digest() -> None:
    assert digests(images(0)) == []


def test_the_same_data_have_the_same_fingerprint() -> None:
    found = fingerprint(dataset())
    assert fingerprint(dataset()) == found
    assert len(found) == 64
    assert int(found, 16)


def other_pixel(images: torch.Tensor) -> torch.Tensor:
    changed = images.clone()
    changed[-1, -1, -1, -1] ^= 1
    return changed


ONE = dataset()
CHANGED = {
    "a training pixel": replace(ONE, train=LabelledImages(other_pixel(ONE.train.images), ONE.train.labels)),
    "a test pixel": replace(ONE, test=LabelledImages(other_pixel(ONE.test.images), ONE.test.labels)),
    "a training label": replace(ONE, train=LabelledImages(ONE.train.images, torch.tensor([0, 1, 0, 0]))),
    "a test label": replace(ONE, test=LabelledImages(ONE.test.images, torch.tensor([1, 1]))),
    "a name": replace(ONE, class_names=("a", "c")),
    "where names part": replace(ONE, class_names=("ab", "")),
    "the order": replace(ONE, train=LabelledImages(ONE.train.images.flip(0), ONE.train.labels.flip(0))),
    "the shape": replace(ONE, train=LabelledImages(ONE.train.images.reshape(4, 3, 2, 4), ONE.train.labels)),
    "an image less": replace(ONE, test=LabelledImages(ONE.test.images[:1], ONE.test.labels[:1])),
}


@pytest.mark.parametrize("what", CHANGED)
def test_whatever_changes_changes_the_fingerprint(what: str) -> None:
    assert fingerprint(CHANGED[what]) != fingerprint(ONE)


def test_all_of_them_differ() -> None:
    assert len({fingerprint(each) for each in CHANGED.values()}) == len(CHANGED)
