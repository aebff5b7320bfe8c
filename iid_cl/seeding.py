"""Independent random streams from one seed, so that no draw uses global state or the clock."""

import zlib

import numpy as np
import torch


def derive_seed(seed: int, *stream: int | str) -> int:
    """A 63-bit seed for the named stream of ``seed``. Two streams of one seed are independent."""
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in stream]
    state = np.random.SeedSequence([len(words), *words, seed]).generate_state(1, np.uint64)[0]
    return int(state) >> 1


def make_generator(seed: int, *stream: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A ``torch.Generator`` on ``device`` for the named stream of ``seed``."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *stream))


def draw_seed(generator: torch.Generator) -> int:
    """Draws a 63-bit seed from ``generator``, the start of an independent stream."""
    return int(torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device).item())
