"""Representative real batches: one image from each of many groups of similar images."""

import torch
from torch import Tensor
from torch.nn import functional

GRID = 4  # images are compared by the mean colours of a GRID x GRID mosaic


def similar_groups(images: Tensor, groups: int) -> list[Tensor]:
    """Splits a class into ``groups`` groups of similar images whose sizes differ by one at most.

    After the idea of DREAM (ICCV 2023, arXiv 2302.14416), which draws from clusters rather than from the whole
    class. Groups of one size let a batch take as much of each: the class is cut at right angles to its first
    principal component, then each part again.

    Args:
        images: uint8 (n, C, H, W), n at least ``groups``.

    Returns:
        Row numbers of each group.
    """
    mosaics = functional.adaptive_avg_pool2d(images.to("cpu", torch.float32), GRID).flatten(1)

    def split(rows: Tensor, parts: int) -> list[Tensor]:
        if parts == 1:
            return [rows]
        centred = mosaics[rows] - mosaics[rows].mean(0)
        direction = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
        rows = rows[(centred @ direction).argsort(stable=True)]
        half = parts // 2
        cut = len(rows) * half // parts
        return split(rows[:cut], half) + split(rows[cut:], parts - half)

    return split(torch.arange(len(images)), groups)
