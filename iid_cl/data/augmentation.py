"""Differentiable siamese augmentation (DSA, ICML 2021), batched over groups that share their parameters.

In distillation a group is a class: its real and synthetic images are transformed alike. In training a group is one
image. Each group gets exactly one of the named transformations, in DSA's ranges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

UNIFORMS = 6  # random numbers per group


@dataclass(frozen=True)
class Parameters:
    """One transformation for each of G groups; all other transformations are the identity."""

    brightness: Tensor  # (G,) added
    saturation: Tensor  # (G,) factor on the distance to the pixel's grey value
    contrast: Tensor  # (G,) factor on the distance to the image's mean
    affine: Tensor  # (G, 2, 3) from output to input coordinates in [-1, 1]
    cutout: Tensor  # (G, 4) top, left, bottom, right in pixels; empty if not chosen

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All five, in the constructor's order."""
        return self.brightness, self.saturation, self.contrast, self.affine, self.cutout

    def to(self, device: torch.device | str) -> "Parameters":
        """The same parameters on another device."""
        return Parameters(*(tensor.to(device, non_blocking=True) for tensor in self.tensors))

    def __getitem__(self, index: int | slice) -> "Parameters":
        """The parameters of some groups, or of one step if they were drawn for several steps: (T, G, ...)."""
        return Parameters(*(tensor[index] for tensor in self.tensors))


def make_parameters(uniforms: Tensor, names: Sequence[str], size: tuple[int, int]) -> Parameters:
    """Turns uniform random numbers into parameters.

    Args:
        uniforms: (..., UNIFORMS) in [0, 1).
        names: transformations to choose from, among color, crop, cutout, flip, scale and rotate; empty for none.
        size: (height, width) of the images.

    Returns:
        Parameters with the leading shape of ``uniforms``.
    """
    draw, *u = uniforms.unbind(-1)
    choice = (draw * len(names)).long()
    height, width = size

    def pick(name: str, value: Tensor, otherwise: float) -> Tensor:
        groups = choice == names.index(name) if name in names else torch.zeros_like(choice, dtype=torch.bool)
        return torch.where(groups, value, otherwise)

    def shift(number: Tensor, side: int) -> Tensor:  # whole pixels, up to an eighth of the side
        reach = math.floor(side / 8 + 0.5)
        return 2 / side * ((number * (2 * reach + 1)).floor() - reach)

    def zoom(number: Tensor) -> Tensor:
        return 1 / 1.2 + number * (1.2 - 1 / 1.2)

    angle = pick("rotate", (u[0] * 2 - 1) * math.radians(15), 0.0)
    mirror = pick("flip", torch.where(u[0] < 0.5, -1.0, 1.0), 1.0)
    # coordinates run from -1 to 1 along either side, so a rotation needs the aspect ratio
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
    """Applies each group's transformation to normalised images (G, n, C, H, W); differentiable in the images."""
    groups, count, channels, height, width = images.shape

    def per_group(values: Tensor) -> Tensor:
        return values.view(groups, 1, 1, 1, 1)

    # Brightness x + b, saturation g + s (x - g) and contrast l + c (x - l), with g the image's grey picture and l its
    # mean, give c s x + c (1 - s) g + (1 - c) l + b. In this form the images are read only twice.
    saturation, contrast = per_group(parameters.saturation), per_group(parameters.contrast)
    grey = images.mean(2, keepdim=True)
    offset = (1 - contrast) * grey.mean((2, 3, 4), keepdim=True) + per_group(parameters.brightness)
    images = torch.addcmul(offset + contrast * (1 - saturation) * grey, images, contrast * saturation)

    grid = functional.affine_grid(parameters.affine, [groups, 1, height, width], align_corners=False)
    # the images of a group share the grid, so they are moved as the channels of one picture
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
    """Parameters of one random transformation for each of ``count`` images of ``size``, on ``device``."""
    uniforms = torch.rand(count, UNIFORMS, generator=generator, device=generator.device)
    return make_parameters(uniforms, names, size).to(device)


def augment_each(images: Tensor, names: Sequence[str], generator: torch.Generator) -> Tensor:
    """Augments each image of (N, C, H, W) by a separate random transformation, as in training on a memory."""
    if not names:
        return images
    size = (images.shape[2], images.shape[3])
    return augment(images[:, None], draw_each(len(images), names, size, generator, images.device))[:, 0]
