"""Random transforms of whole batches, drawn for each image: torchvision's, without its loop over images.

They take any type of pixel and give the same one; on bytes, before normalisation, they are fastest.
"""

import torch
from torch import Tensor
from torch.nn import functional


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Moves each image by up to ``padding`` pixels either way, with zeros moving in.

    Drawn like torchvision's ``RandomCrop(size, padding)`` on images of that size: every offset alike.

    Args:
        images: (N, C, H, W).
        padding: at least 0.
        generator: on the CPU.

    Returns:
        (N, C, H, W).
    """
    count, channels, height, width = images.shape
    if not count or not padding:
        return images
    offsets = torch.randint(2 * padding + 1, (2, count, 1, 1), generator=generator).to(images.device)
    padded = functional.pad(images, (padding,) * 4)
    rows, columns = padded.shape[2:]
    # all stretches of one row's length as overlapping rows of a matrix: the crop is then a selection of rows
    stretches = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    plane = torch.arange(count * channels, device=images.device).view(count, channels, 1) * (rows * columns)
    row = torch.arange(height, device=images.device) + offsets[0]
    chosen = plane + row * columns + offsets[1]
    return stretches.index_select(0, chosen.flatten()).view(images.shape)


def random_flip(images: Tensor, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Mirrors each image (N, C, H, W) left to right with ``probability``, like torchvision's RandomHorizontalFlip.

    Args:
        images: (N, C, H, W).
        generator: on the CPU.
        probability: in [0, 1].

    Returns:
        (N, C, H, W).
    """
    mirrored = (torch.rand(len(images), generator=generator) < probability).nonzero().squeeze(1).to(images.device)
    return images.index_copy(0, mirrored, images.index_select(0, mirrored).flip(-1))
