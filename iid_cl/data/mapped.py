"""Images that stay on disk: a tensor of memory-mapped rows, read when an operation needs their values."""

import mmap
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

CHUNK = 2**24  # bytes of images that are looked at together
RESIDENT = 2**28  # bytes that are read from a file before its pages leave this process


class Block:
    """Images (n, C, H, W) that lie together: in memory, or in a mapped file.

    Pages of a file that were read count as the process's memory until they are given back. The system's page cache
    keeps them, so they are soon there again.
    """

    def __init__(self, images: Tensor, pages: mmap.mmap | None = None) -> None:
        self.images, self._pages, self._read = images, pages, 0

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """A copy of some rows (n,), in ``out`` if it is given."""
        chosen = torch.index_select(self.images, 0, rows, out=out)
        self._read += chosen.nbytes
        if self._pages is not None and self._read > RESIDENT:
            self._pages.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return chosen


class Mapped(Tensor):
    """Rows of images in files, as a tensor.

    Choosing, splitting and joining rows changes their numbers only. Any other operation reads the rows and computes
    with an ordinary tensor. So a class or an experience of any size takes eight bytes an image until a batch is used.

    >>> images = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    >>> mapped = Mapped.over(images)[torch.tensor([2, 0])]
    >>> type(mapped).__name__, tuple(mapped.shape), (mapped + 1)[0].flatten().tolist()
    ('Mapped', (2, 1, 2, 2), [9, 10, 11, 12])
    """

    _blocks: tuple[Block, ...]
    _rows: Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as PyTorch has it

    @staticmethod
    def __new__(cls, blocks: Sequence[Block], rows: Tensor) -> "Mapped":
        """The rows (...) of images in several blocks, which are counted through."""
        images = blocks[0].images
        mapped: Mapped = torch.Tensor._make_wrapper_subclass(cls, (*rows.shape, *images.shape[1:]), dtype=images.dtype)
        mapped._blocks, mapped._rows = tuple(blocks), rows
        return mapped

    @classmethod
    def over(cls, images: Tensor, pages: mmap.mmap | None = None) -> "Mapped":
        """All images (n, C, H, W) of a tensor, which may lie in a mapped file."""
        return cls([Block(images, pages)], torch.arange(len(images)))

    @classmethod
    def of_array(cls, images: "np.memmap[Any, Any]") -> "Mapped":
        """The images (n, C, H, W) of an array that NumPy has mapped."""
        pages = None if images.mode == "c" else images._mmap  # type: ignore[attr-defined]  # c: changes would go, too
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PyTorch knows no read-only tensors; only copies leave here
            return cls.over(torch.from_numpy(images), pages)

    @classmethod
    def of_file(cls, path: Path, shape: tuple[int, ...]) -> "Mapped":
        """The uint8 images (n, C, H, W) that a file holds one after the other."""
        return cls.of_array(np.memmap(path, np.uint8, "r", shape=shape))

    def read(self) -> Tensor:
        """A copy in memory."""
        rows = self._rows.flatten()
        if len(self._blocks) == 1:
            return self._blocks[0].take(rows).view(self.shape)
        images = torch.empty(len(rows), *self.shape[self._rows.ndim :], dtype=self.dtype)
        first = 0
        for block in self._blocks:
            own = ((rows >= first) & (rows < first + len(block))).nonzero().squeeze(1)
            images[own] = block.take(rows[own] - first)
            first += len(block)
        return images.view(self.shape)

    def _of(self, rows: Tensor) -> "Mapped":
        return Mapped(self._blocks, rows)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Mapped(shape={tuple(self.shape)}, dtype={self.dtype})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # a class method, as PyTorch asks
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        choose = _CHOICES.get(func)
        chosen = None if choose is None else choose(*args, **(kwargs or {}))
        if chosen is not None:
            return chosen
        if func._schema.name.endswith("_") and isinstance(args[0], Mapped):
            raise RuntimeError("images on disk cannot be changed")
        read_args, read_kwargs = tree_map_only(Mapped, Mapped.read, (args, kwargs or {}))
        return func(*read_args, **read_kwargs)


def in_memory(images: Tensor) -> Tensor:
    """The images as an ordinary tensor."""
    return images.read() if isinstance(images, Mapped) else images


def held_on(images: Tensor, device: torch.device) -> Tensor:
    """The images on a device; those on disk stay there."""
    return images if isinstance(images, Mapped) else images.to(device)


def chunks(images: Tensor) -> Iterator[Tensor]:
    """Images (N, C, H, W) a few at a time, in memory.

    >>> [len(part) for part in chunks(torch.zeros(3, 1, 2, 2))]
    [3]
    """
    yield from map(in_memory, images.split(max(1, CHUNK // max(1, images[:1].numel()))))


def _index(images: Mapped, indices: Sequence[Tensor | None]) -> Mapped | None:
    first = indices[0]
    if len(indices) > 1 or first is None or images._rows.ndim != 1 or (first.dtype == torch.bool and first.ndim > 1):
        return None
    return images._of(images._rows[first.cpu()])


def _index_select(images: Mapped, dim: int, rows: Tensor) -> Mapped | None:
    return None if dim or images._rows.ndim != 1 else images._of(images._rows.index_select(0, rows))


def _index_select_out(images: Tensor, dim: int, rows: Tensor, *, out: Tensor) -> Tensor | None:
    if dim or not isinstance(images, Mapped) or images._rows.ndim != 1:
        return None
    chosen = images._rows.index_select(0, rows)
    if len(images._blocks) > 1:
        return out.copy_(images._of(chosen).read())
    return images._blocks[0].take(chosen, out)


def _slice(images: Mapped, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Mapped | None:
    return None if dim or not images._rows.ndim else images._of(images._rows[start:end:step])


def _select(images: Mapped, dim: int, index: int) -> Mapped | None:
    return None if dim or not images._rows.ndim else images._of(images._rows[index])


def _split(images: Mapped, size: Any, dim: int = 0) -> list[Mapped] | None:
    return None if dim or not images._rows.ndim else [images._of(rows) for rows in images._rows.split(size)]


def _unbind(images: Mapped, dim: int = 0) -> list[Mapped] | None:
    return None if dim or not images._rows.ndim else [images._of(rows) for rows in images._rows.unbind()]


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Mapped | None:
    """Joins rows of several blocks, and of images in memory."""
    kinds = {(tensor.shape[1:], tensor.dtype, tensor.device) for tensor in tensors}
    if dim or len(kinds) > 1 or any(isinstance(tensor, Mapped) and tensor._rows.ndim != 1 for tensor in tensors):
        return None
    blocks: list[Block] = []
    starts: dict[Block, int] = {}
    parts = []
    for mapped in (tensor if isinstance(tensor, Mapped) else Mapped.over(tensor) for tensor in tensors):
        rows, first = mapped._rows.clone(), 0
        for block in mapped._blocks:
            if block not in starts:
                starts[block] = sum(map(len, blocks))
                blocks.append(block)
            own = (mapped._rows >= first) & (mapped._rows < first + len(block))
            rows[own] += starts[block] - first
            first += len(block)
        parts.append(rows)
    return Mapped(blocks, torch.cat(parts))


_aten = torch.ops.aten
_CHOICES: dict[Any, Callable[..., Any]] = {
    _aten.index.Tensor: _index,
    _aten.index_select.default: _index_select,
    _aten.index_select.out: _index_select_out,
    _aten.slice.Tensor: _slice,
    _aten.select.int: _select,
    _aten.split.Tensor: _split,
    _aten.split_with_sizes.default: _split,
    _aten.unbind.int: _unbind,
    _aten.cat.default: _cat,
    _aten.detach.default: lambda images: images._of(images._rows),
    _aten.new_empty.default: lambda images, size, **options: images._blocks[0].images.new_empty(size, **options),
    _aten.clone.default: lambda images, **_: images.read(),
}
"""What is done without reading; a function returns None where it cannot do that."""
