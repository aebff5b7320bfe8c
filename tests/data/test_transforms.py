"""Batched random transforms: what they make of an image, and that they draw as torchvision's do."""

from collections import Counter

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomCrop, RandomHorizontalFlip

from iid_cl.data.transforms import random_crop, random_flip

every_dtype = pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)


def numbered(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Images whose pixels all differ and none of which is 0."""
    size = channels * height * width
    return torch.arange(1, size + 1).view(1, channels, height, width).repeat(count, 1, 1, 1)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """An image (C, H, W) that has moved, with zeros behind it."""
    result = np.zeros_like(image)
    _, height, width = image.shape
    for i, j in np.ndindex(height, width):
        if 0 <= i - down < height and 0 <= j - right < width:
            result[:, i, j] = image[:, i - down, j - right]
    return result


@every_dtype
@pytest.mark.parametrize("shape", [(2, 4, 6), (1, 5, 3)], ids=str)
def test_a_crop_moves_every_pixel_of_an_image_alike(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    images = numbered(200, *shape).to(dtype)
    moved = random_crop(images, 2, draws())
    assert moved.dtype == dtype
    assert moved.shape == images.shape
    possible = {
        shifted(images[0].numpy(), down, right).tobytes(): (down, right)
        for down in range(-2, 3)
        for right in range(-2, 3)
    }
    found = [possible[image.numpy().tobytes()] for image in moved]
    assert set(found) == set(possible.values())


def test_crops_draw_from_each_image_of_their_own() -> None:
    """Images of one constant each stay apart: none takes pixels of its neighbour."""
    images = torch.arange(1, 51, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 3, 5, 5)
    for image, value in zip(random_crop(images, 3, draws()), range(1, 51), strict=True):
        assert set(image.unique().tolist()) <= {0, value}
        assert image.max() == value


def offsets(images: torch.Tensor, side: int) -> Counter[tuple[int, int]]:
    """Where the single lit pixel in the middle went."""
    return Counter((int(i) - side // 2, int(j) - side // 2) for i, j in (image[0].nonzero()[0] for image in images))


def test_crops_are_distributed_like_torchvisions() -> None:
    count, side = 4000, 5
    images = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    images[:, :, 2, 2] = 255
    ours = offsets(random_crop(images, 2, draws()), side)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crop = RandomCrop(side, padding=2)
        theirs = offsets(torch.stack([crop(image) for image in images]), side)
    assert set(ours) == set(theirs)
    assert len(ours) == 25
    for found in (ours, theirs):  # 160 of each expected, standard deviation 12.4
        assert min(found.values()) > 110
        assert max(found.values()) < 210


def test_no_padding_and_no_images_are_left_alone() -> None:
    images = numbered(3, 1, 4, 4)
    assert torch.equal(random_crop(images, 0, draws()), images)
    assert random_crop(images[:0], 2, draws()).shape == (0, 1, 4, 4)
    assert random_flip(images[:0], draws()).shape == (0, 1, 4, 4)


@every_dtype
def test_a_flip_mirrors_whole_images_or_none(dtype: torch.dtype) -> None:
    images = numbered(400, 2, 3, 4).to(dtype)
    flipped = random_flip(images, draws())
    assert flipped.dtype == dtype
    mirrored = [torch.equal(image, images[0].flip(-1)) for image in flipped]
    same = [torch.equal(image, images[0]) for image in flipped]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 160 < sum(mirrored) < 240  # four standard deviations


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0), (0.25, 250), (1.0, 1000)])
def test_a_flip_has_torchvisions_probability(probability: float, expected: int) -> None:
    images = numbered(1000, 1, 2, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flip = RandomHorizontalFlip(probability)
        theirs = torch.stack([flip(image) for image in images])
    for flipped in (random_flip(images, draws(), probability), theirs):
        count = sum(not torch.equal(image, images[0]) for image in flipped)
        assert count == pytest.approx(expected, abs=60 if 0 < probability < 1 else 0)


@pytest.mark.parametrize(
    "transform", [lambda x, g: random_crop(x, 2, g), random_flip], ids=["random_crop", "random_flip"]
)
def test_draws_come_from_the_generator_alone_and_images_stay(transform: object) -> None:
    images = numbered(64, 1, 4, 4)
    before, state = images.clone(), torch.get_rng_state()
    first, again, other = (transform(images, draws(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)
    generator = draws(1)
    assert torch.equal(transform(images, generator), first)
    assert not torch.equal(transform(images, generator), first)  # drawn afresh for each batch
