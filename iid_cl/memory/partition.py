"""Partition and expand (IDM, arXiv 2307.09742): a stored image is a grid of smaller ones.

With factor f, an image holds f x f smaller images in row-major order. Before use it is cut and each part is
enlarged to full size, so that the bytes of one image serve as f * f training images.
"""

import torch
from torch import Tensor
from torch.nn import functional

from iid_cl.errors import UserError

MOST_AT_ONCE = 2**24  # values of expanded images


def cut(images: Tensor, factor: int) -> Tensor:
    """The parts of each image: (N, C, H, W) to (N * f * f, C, H / f, W / f), image by image; undone by :func:`join`.

    Raises:
        UserError: ``factor`` does not divide the images' sides.
    """
    _check_sides(images, factor, "distill.partition")
    count, channels, height, width = images.shape
    grid = images.reshape(count, channels, factor, height // factor, factor, width // factor)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(count * factor**2, channels, height // factor, width // factor)


def join(parts: Tensor, factor: int) -> Tensor:
    """Grids of parts: (N * f * f, C, h, w) to (N, C, h * f, w * f), the exact inverse of :func:`cut`."""
    rows, channels, height, width = parts.shape
    grid = parts.reshape(rows // factor**2, factor, factor, channels, height, width)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, height * factor, width * factor)


def expand(images: Tensor, factor: int) -> Tensor:
    """Parts at full size: float (N, C, H, W) to (N * f * f, C, H, W), bilinear; differentiable."""
    if factor == 1:
        return images
    size = (images.shape[2], images.shape[3])
    return functional.interpolate(cut(images, factor), size=size, mode="bilinear", align_corners=False)


def pack(images: Tensor, factor: int) -> Tensor:
    """Float images (N * f * f, C, H, W), each shrunk to 1 / f of its side by area, as N grids (N, C, H, W).

    Raises:
        UserError: ``factor`` does not divide the images' sides.
    """
    _check_sides(images, factor, "distill.partition")
    return images if factor == 1 else join(functional.avg_pool2d(images, factor), factor)


def expand_bytes(images: Tensor, factor: int) -> Tensor:
    """:func:`expand` of uint8 images, rounded to uint8; a few at a time, as floats take several times the bytes."""
    if factor == 1:
        return images
    each = max(1, MOST_AT_ONCE // max(1, images[:1].numel() * factor**2))
    parts = [
        expand(part.to(torch.float32), factor).round_().clamp_(0, 255).to(torch.uint8) for part in images.split(each)
    ]
    return torch.cat(parts)


def reduce_bytes(images: Tensor, factor: int) -> Tensor:
    """uint8 images (N, C, H, W) at 1 / f of their side by area, rounded: (N, C, H / f, W / f).

    Raises:
        UserError: ``factor`` does not divide the images' sides.
    """
    if factor == 1:
        return images
    _check_sides(images, factor, "memory.downscale")
    return functional.avg_pool2d(images.to(torch.float32), factor).round().to(torch.uint8)


def _check_sides(images: Tensor, factor: int, key: str) -> None:
    height, width = images.shape[2:]
    if height % factor or width % factor:
        raise UserError(f"{key}: {factor} does not divide images of {height}x{width}; use a factor of both sides.")
