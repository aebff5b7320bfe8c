"""Differentiable siamese augmentation (DSA, ICML 2021), batched over groups that share their parameters.

A group is a class during distillation (its real and synthetic images move together) and a single image
during training. Each group undergoes exactly one of the named transformations. Ranges are DSA's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

UNIFORMS = 6  # random numbers that one group's parameters are made of


@dataclass(frozen=True)
class Parameters:
    """One transformation per group; ``G`` groups. Transformations not chosen are at their identity."""

    brightness: Tensor  # (G,) added
    saturation: Tensor  # (G,) factor on the distance to the pixel's grey value
    contrast: Tensor  # (G,) factor on the distance to the image's mean
    affine: Tensor  # (G, 2, 3) from output to input coordinates in [-1, 1]
    cutout: Tensor  # (G, 4) top, left, bottom, right in pixels; empty where not chosen

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What they are made of, in the constructor's order."""
        return self.brightness, self.saturation, self.contrast, self.affine, self.cutout

    def to(self, device: torch.device | str) -> "Parameters":
        """The same parameters on another device."""
        return Parameters(*(tensor.to(device, non_blocking=True) for tensor in self.tensors))

    def __getitem__(self, index: int | slice) -> "Parameters":
        """Those of some groups; or of one step, where drawn for several at once, (T, G, ...)."""
        return Parameters(*(tensor[index] for tensor in self.tensors))


def make_parameters(uniforms: Tensor, names: Sequence[str], size: tuple[int, int]) -> Parameters:
    """Turns uniform random numbers into parameters; ``names`` lists the transformations to choose from.

    Args:
        uniforms: (..., UNIFORMS) in [0, 1).
        names: of color, crop, cutout, flip, scale, rotate; empty for none.
        size: (height, width) of the images.

    Returns:
        Parameters with the leading shape of ``uniforms``.
    """
    choice, *u = uniforms.unbind(-1)
    chosen = (choice * len(names)).long() if names else torch.full_like(choice, -1, dtype=torch.long)
    height, width = size

    def pick(name: str, value: Tensor, otherwise: float) -> Tensor:
        here = chosen == names.index(name) if name in names else torch.zeros_like(chosen, dtype=torch.bool)
        return torch.where(here, value, otherwise)

    def shift(number: Tensor, side: int) -> Tensor:  # whole pixels, up to an eighth of the side
        reach = math.floor(side / 8 + 0.5)
        return 2 / side * ((number * (2 * reach + 1)).floor() - reach)

    def zoom(number: Tensor) -> Tensor:
        return 1 / 1.2 + number * (1.2 - 1 / 1.2)

    angle = pick("rotate", (u[0] * 2 - 1) * math.radians(15), 0.0)
    mirror = pick("flip", torch.where(u[0] < 0.5, -1.0, 1.0), 1.0)
    # coordinates run from -1 to 1 along either side, so turning a picture that is no square takes its aspect
    turn_x, turn_y = -angle.sin() * (height / width), angle.sin() * (width / height)
    row_x = (angle.cos() * mirror * pick("scale", zoom(u[0]), 1.0), turn_x, pick("crop", shift(u[0], width), 0.0))
    row_y = (turn_y, angle.cos() * pick("scale", zoom(u[1]), 1.0), pick("crop", shift(u[1], height), 0.0))
    affine = torch.stack([torch.stack(row_x, -1), torch.stack(row_y, -1)], -2)

    hole = (math.floor(height / 2 + 0.5), math.floor(width / 2 + 0.5))
    top = pick("cutout", (u[0] * (height + 1)).floor() - hole[0] // 2, float(height))
    left = pick("cutout", (u[1] * (width + 1)).floor() - hole[1] // 2, float(width))
    return Parameters(
        brightness=pick("color", u[0] - 0.5, 0.0),
        saturation=pick("color", u[1] * 2, 1.0),
        contrast=pick("color", u[2] + 0.5, 1.0),
        affine=affine,
        cutout=torch.stack([top, left, top + hole[0], left + hole[1]], -1),
    )


def augment(images: Tensor, parameters: Parameters) -> Tensor:
    """Applies each group's transformation; differentiable in the images.

    Args:
        images: (G, n, C, H, W) normalised images, n of each group.
        parameters: of G groups, on the same device.

    Returns:
        (G, n, C, H, W).
    """
    groups, count, channels, height, width = images.shape

    def per_group(values: Tensor) -> Tensor:
        return values.view(groups, 1, 1, 1, 1)

    # With g an image's grey picture and l its mean: brightness x + b, then saturation g + s (x - g), then contrast
    # l + c (x - l) make c s x + c (1 - s) g + (1 - c) l + b. Written so, the images are gone over twice.
    saturation, contrast = per_group(parameters.saturation), per_group(parameters.contrast)
    grey = images.mean(2, keepdim=True)
    offset = (1 - contrast) * grey.mean((2, 3, 4), keepdim=True) + per_group(parameters.brightness)
    images = torch.addcmul(offset + contrast * (1 - saturation) * grey, images, contrast * saturation)

    grid = functional.affine_grid(parameters.affine, [groups, 1, height, width], align_corners=False)
    # images of a group share the grid, so they travel as channels of one picture
    moved = functional.grid_sample(images.reshape(groups, count * channels, height, width), grid, align_corners=False)

    top, left, bottom, right = parameters.cutout.unbind(1)
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    in_rows = (row >= top[:, None]) & (row < bottom[:, None])
    in_columns = (column >= left[:, None]) & (column < right[:, None])
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return moved.masked_fill(hole, 0.0).view(groups, count, channels, height, width)


def draw_each(
    count: int, names: Sequence[str], size: tuple[int, int], generator: torch.Generator, device: torch.device
) -> Parameters:
    """Parameters of a transformation of its own for each of ``count`` images of ``size``, on ``device``."""
    uniforms = torch.rand(count, UNIFORMS, generator=generator, device=generator.device)
    return make_parameters(uniforms, names, size).to(device)


def augment_each(images: Tensor, names: Sequence[str], generator: torch.Generator) -> Tensor:
    """Augments each image (N, C, H, W) by a transformation of its own, as when training on a memory."""
    if not names:
        return images
    size = (images.shape[2], images.shape[3])
    return augment(images[:, None], draw_each(len(images), names, size, generator, images.device))[:, 0]
