"""Images that stay on disk: a tensor of memory-mapped rows, read when an operation needs their values."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

CHUNK = 2**24  # bytes of images that are looked at together


class Mapped(Tensor):
    """Rows of images in files, as a tensor.

    Choosing, splitting and joining rows changes their numbers only. Any other operation reads the rows and computes
    with an ordinary tensor. So a class or an experience of any size takes eight bytes an image until a batch is used.

    >>> images = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    >>> mapped = Mapped.over(images)[torch.tensor([2, 0])]
    >>> type(mapped).__name__, tuple(mapped.shape), (mapped + 1)[0].flatten().tolist()
    ('Mapped', (2, 1, 2, 2), [9, 10, 11, 12])
    """

    _files: tuple[Tensor, ...]
    _rows: Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as PyTorch has it

    @staticmethod
    def __new__(cls, files: Sequence[Tensor], rows: Tensor) -> "Mapped":
        """The rows (...) of images (n, C, H, W) in several files, which are counted through."""
        size = (*rows.shape, *files[0].shape[1:])
        mapped: Mapped = torch.Tensor._make_wrapper_subclass(cls, size, dtype=files[0].dtype)
        mapped._files, mapped._rows = tuple(files), rows
        return mapped

    @classmethod
    def over(cls, images: Tensor) -> "Mapped":
        """All images (n, C, H, W) of a file."""
        return cls([images], torch.arange(len(images)))

    @classmethod
    def of_file(cls, path: Path, shape: tuple[int, ...]) -> "Mapped":
        """The uint8 images (n, C, H, W) that a file holds one after the other."""
        pixels: np.memmap[Any, Any] = np.memmap(path, np.uint8, "r", shape=shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PyTorch knows no read-only tensors; only copies leave here
            return cls.over(torch.from_numpy(pixels))

    def read(self) -> Tensor:
        """A copy in memory."""
        rows = self._rows.flatten()
        if len(self._files) == 1:
            return self._files[0].index_select(0, rows).view(self.shape)
        images = torch.empty(len(rows), *self.shape[self._rows.ndim :], dtype=self.dtype)
        first = 0
        for file in self._files:
            own = ((rows >= first) & (rows < first + len(file))).nonzero().squeeze(1)
            images[own] = file.index_select(0, rows[own] - first)
            first += len(file)
        return images.view(self.shape)

    def _of(self, rows: Tensor) -> "Mapped":
        return Mapped(self._files, rows)

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
    if len(images._files) > 1:
        return out.copy_(images._of(chosen).read())
    return torch.index_select(images._files[0], 0, chosen, out=out)


def _slice(images: Mapped, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Mapped | None:
    return None if dim or not images._rows.ndim else images._of(images._rows[start:end:step])


def _select(images: Mapped, dim: int, index: int) -> Mapped | None:
    return None if dim or not images._rows.ndim else images._of(images._rows[index])


def _split(images: Mapped, size: Any, dim: int = 0) -> list[Mapped] | None:
    return None if dim or not images._rows.ndim else [images._of(rows) for rows in images._rows.split(size)]


def _unbind(images: Mapped, dim: int = 0) -> list[Mapped] | None:
    return None if dim or not images._rows.ndim else [images._of(rows) for rows in images._rows.unbind()]


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Mapped | None:
    """Joins rows of several files, and images in memory, which count as a file."""
    kinds = {(tensor.shape[1:], tensor.dtype, tensor.device) for tensor in tensors}
    if dim or len(kinds) > 1 or any(isinstance(tensor, Mapped) and tensor._rows.ndim != 1 for tensor in tensors):
        return None
    files: list[Tensor] = []
    starts: dict[int, int] = {}  # by the identity of a file
    parts = []
    for mapped in (tensor if isinstance(tensor, Mapped) else Mapped.over(tensor) for tensor in tensors):
        rows, first = mapped._rows.clone(), 0
        for file in mapped._files:
            if id(file) not in starts:
                starts[id(file)] = sum(map(len, files))
                files.append(file)
            own = (mapped._rows >= first) & (mapped._rows < first + len(file))
            rows[own] += starts[id(file)] - first
            first += len(file)
        parts.append(rows)
    return Mapped(files, torch.cat(parts))


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
    _aten.new_empty.default: lambda images, size, **options: images._files[0].new_empty(size, **options),
    _aten.clone.default: lambda images, **_: images.read(),
}
"""What is done without reading; a function returns None where it cannot do that."""
