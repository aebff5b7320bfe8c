"""What a machine can do at best: measured ceilings, and the floor they put under an iteration of the engine."""

import resource
import time
from collections.abc import Callable

import torch

from iid_cl.config.distill import NetworkConfig


def synchronize(device: torch.device) -> None:
    """Waits for the device's queue, so that a clock read afterwards counts the work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """The shortest of some runs after a warm-up."""
    work()
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations per second of a square matrix product."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, device)


def bandwidth(device: torch.device, megabytes: int) -> float:
    """Bytes per second read and written by a copy that no cache holds."""
    source = torch.ones(megabytes << 18, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), device)


def convnet_traffic(network: NetworkConfig, shape: tuple[int, int, int], bytes_per_value: int) -> int:
    """Bytes that a forward pass of one image moves at least, if every layer goes through memory once.

    Each block: the convolution reads its input and writes its output; the norm reads that for its statistics and,
    fused with activation and pooling, once more, and writes the pooled map.
    """
    channels, height, width = shape
    values = 0
    for _ in range(network.blocks(height, width)):
        output = network.width * height * width
        values += channels * height * width + 3 * output + output // 4
        channels, height, width = network.width, height // 2, width // 2
    return bytes_per_value * values


def peak_memory(device: torch.device) -> float:
    """GiB: of the process so far on a CPU, of tensors on a GPU."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
