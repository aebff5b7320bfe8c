"""torchvision's random transforms for whole batches, drawn for each image without a loop over images.

They take and return any pixel type. They are fastest on bytes, before normalisation.
"""

import torch
from torch import Tensor
from torch.nn import functional


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Moves each image of (N, C, H, W) by up to ``padding`` pixels in each direction and fills with zeros.

    All offsets are equally likely, as in torchvision's ``RandomCrop(size, padding)``. The generator is on the CPU.
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
    starts = plane + row * columns + offsets[1]
    return stretches.index_select(0, starts.flatten()).view(images.shape)


def random_flip(images: Tensor, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Mirrors each image of (N, C, H, W) left to right with ``probability``, like torchvision's RandomHorizontalFlip.

    The generator is on the CPU.
    """
    rows = (torch.rand(len(images), generator=generator) < probability).nonzero().squeeze(1).to(images.device)
    return images.index_copy(0, rows, images.index_select(0, rows).flip(-1))
