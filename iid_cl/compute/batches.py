"""Sizes of the mini-batches of a pass over images."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_sizes(count: int, size: int, network: nn.Module | None = None) -> list[int]:
    """Sizes of the mini-batches of a pass over ``count`` images: ``size`` each, and the rest last.

    Batch norm fails on a single image whose features have one position, and has no statistics of any. So a rest of one
    image joins the mini-batch before it, if ``network`` has batch norm.

    >>> batch_sizes(65, 32), batch_sizes(65, 32, nn.BatchNorm2d(3))
    ([32, 32, 1], [32, 33])
    """
    full, rest = divmod(count, size)
    if rest == 1 and full and network is not None and has_batch_norm(network):
        return [size] * (full - 1) + [size + 1]
    return [size] * full + [rest] * (rest > 0)


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a network normalises by statistics of a mini-batch.

    >>> has_batch_norm(nn.Linear(4, 2)), has_batch_norm(nn.Sequential(nn.BatchNorm1d(4)))
    (False, True)
    """
    return any(isinstance(module, _BatchNorm) for module in network.modules())
