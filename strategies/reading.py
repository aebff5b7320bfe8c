"""Avalanche's data sets as tensors: all samples at once, before the data set's transforms.

A sample's way through a data set is private to Avalanche 0.6, so this module alone knows it. It leads from the data set
that holds the sample through concatenations and subsets, each with a frozen and an ordinary group of transforms.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from avalanche.benchmarks.utils import AvalancheDataset, TransformGroups
from avalanche.benchmarks.utils.classification_dataset import _TensorClassificationDataset
from avalanche.benchmarks.utils.data import _FlatDataWithTransform
from avalanche.benchmarks.utils.flat_data import FlatData
from avalanche.benchmarks.utils.transforms import MultiParamCompose, TupleTransform
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset, default_collate
from torchvision.transforms import Compose, Lambda

from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError

Kind = Literal["pil", "array", "tensor"]
Step = tuple[int | None, Callable[..., Any]]  # the item of the sample that changes (None: several), and the transform
Level = tuple[TransformGroups, TransformGroups]  # frozen and ordinary

SAME_AS = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "RGBX": "RGB"}
"""The plain mode of each other mode of PIL that converts to one."""


@dataclass(frozen=True)
class Part:
    """Samples of an Avalanche data set that come from the same source by the same way.

    Attributes:
        source: the data set that holds the samples, below Avalanche's data sets.
        indices: (n,), their rows in the source.
        positions: (n,), their rows in the Avalanche data set.
        levels: the transform groups on the way, innermost first.
        group: the name of the group that applies.
    """

    source: Any
    indices: np.ndarray[Any, Any]
    positions: np.ndarray[Any, Any]
    levels: tuple[Level, ...]
    group: str

    @cached_property
    def steps(self) -> tuple[list[Step], list[Step]]:
        """The transforms of the raw sample and the transforms of the data set, in order.

        Frozen transforms, and what comes before them, belong to the raw sample.
        """
        steps = [
            (step, frozen)
            for level in self.levels
            for frozen, groups in zip((True, False), level, strict=True)
            for step in steps_of(groups[self.group])
        ]

        def fixed(number: int) -> bool:
            item = steps[number][0][0]
            return any(frozen and (item is None or step[0] in (item, None)) for step, frozen in steps[number:])

        raw, ordinary = ([step for n, (step, _) in enumerate(steps) if fixed(n) is side] for side in (True, False))
        return raw, ordinary

    def sample(self, number: int) -> list[Any]:
        """A raw sample, from 0 to n - 1."""
        items = self.source[int(self.indices[number])]
        if not isinstance(items, tuple | list) or len(items) < 2:
            raise UserError(f"samples are of type {type(items).__name__}; use pairs of an image and its class index.")
        items = list(items)
        for item, transform in self.steps[0]:
            if item is None:
                items = list(transform(*items))
            else:
                items[item] = transform(items[item])
        return items

    def holds_tensors(self) -> bool:
        """Whether the raw samples are rows of the source's ``tensors``, except for fixed transforms of labels."""
        getter = getattr(type(self.source), "__getitem__", None)  # a subclass may do anything with the tensors
        getters = (TensorDataset.__getitem__, _TensorClassificationDataset.__getitem__, TensorImages.__getitem__)
        return getter in getters and all(item == 1 for item, _ in self.steps[0])

    def groups(self) -> list[TransformGroups]:
        """The ordinary transform groups that are not empty, innermost first, from the last frozen image transform."""
        frozen = [any(item in (0, None) for item, _ in steps_of(level[0][self.group])) for level in self.levels]
        first = max((number for number, flag in enumerate(frozen) if flag), default=0)
        return [groups for _, groups in self.levels[first:] if any(groups.transform_groups.values())]


def parts_of(dataset: AvalancheDataset) -> list[Part]:
    """The data set's samples by source and way; together they are all of its samples."""
    flat = dataset._flat_data
    rows = np.arange(len(dataset))
    return list(_parts(flat, rows, rows, (), flat._transform_groups.current_group))


def _parts(
    node: Any, indices: np.ndarray[Any, Any], positions: np.ndarray[Any, Any], levels: tuple[Level, ...], group: str
) -> Iterator[Part]:
    """The samples are rows ``indices`` of ``node``; ``levels`` are the transform groups above it."""
    if isinstance(node, FlatData):
        if node._indices is not None:
            indices = np.fromiter(node._indices, np.int64, len(node._indices))[indices]
        if isinstance(node, _FlatDataWithTransform):
            levels = ((node._frozen_transform_groups, node._transform_groups), *levels)
        children, ends = node._datasets, node._cumulative_sizes
    elif type(node) is Subset:
        yield from _parts(node.dataset, np.asarray(node.indices)[indices], positions, levels, group)
        return
    elif type(node) is ConcatDataset:
        children, ends = node.datasets, node.cumulative_sizes
    else:
        yield Part(node, indices, positions, levels, group)
        return
    which = np.searchsorted(ends, indices, side="right")
    for number in np.unique(which):
        in_child = which == number
        start = ends[number - 1] if number else 0
        yield from _parts(children[number], indices[in_child] - start, positions[in_child], levels, group)


def steps_of(transform: Any, item: int = 0) -> list[Step]:
    """The parts of a transform, in order."""
    if transform is None:
        return []
    if isinstance(transform, TupleTransform):
        return [step for item, part in enumerate(transform.transforms) for step in steps_of(part, item)]
    if isinstance(transform, MultiParamCompose):
        pairs = zip(transform.transforms, transform.param_def, strict=True)
        return [
            step
            for part, (_, most) in pairs
            for step in (steps_of(part) if most == 1 or isinstance(part, TupleTransform) else [(None, part)])
        ]
    if isinstance(transform, Compose):
        return [step for part in transform.transforms for step in steps_of(part, item)]
    return [(item, transform.lambd if isinstance(transform, Lambda) else transform)]


def read(parts: Sequence[Part], repeatable: bool = False) -> tuple[list[Tensor], Kind]:
    """All samples before the data set's transforms, in its order.

    Args:
        parts: of a data set that is not empty, see :func:`parts_of`.
        repeatable: refuse sources whose samples change from reading to reading.

    Returns:
        The samples' items, each (N, ...), images, labels and further items, without Avalanche's task labels; and their
        kind. Images of kind ``pil`` and ``array`` are uint8 (N, C, H, W); tensors, and arrays of another type, are not
        changed. Items may be the source's tensors, not copies.

    Raises:
        UserError: images of an unusable type, or of several types or shapes; a source that changes.
    """
    (first, kind), *rest = (_read(part, repeatable) for part in parts)
    for (images, *_), other in rest:
        check_shapes([tuple(first[0].shape[1:]), tuple(images.shape[1:])])
        if images.dtype != first[0].dtype or other != kind:
            raise UserError(
                f"images differ in type ({kind} of {first[0].dtype} and {other} of {images.dtype}); give data sets "
                "of one kind."
            )
    if not rest:
        return first, kind
    order = in_order(parts)
    columns = zip(first, *(items for items, _ in rest), strict=True)
    return [torch.cat(column).index_select(0, order) for column in columns], kind


def in_order(parts: Sequence[Part]) -> Tensor:
    """Where each sample of the data set stands when its parts are joined one after the other."""
    return torch.from_numpy(np.argsort(np.concatenate([part.positions for part in parts])))


def _read(part: Part, repeatable: bool) -> tuple[list[Tensor], Kind]:
    """As :func:`raw`, with uint8 images from PIL and NumPy as (n, C, H, W)."""
    if repeatable:
        check_repeatable(part, "leave InMemoryPlugin out")
    items, kind = raw(part)
    images = items[0]
    if kind != "tensor" and images.dtype == torch.uint8 and images.ndim in (3, 4):
        items[0] = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return items, kind


def raw(part: Part) -> tuple[list[Tensor], Kind]:
    """A part's samples with the axes that they have: images (n, ...), labels and further items; and the images' kind.

    Raises:
        UserError: samples that are no pairs of image and label; images of an unusable type, or of several shapes.
    """
    if part.holds_tensors():
        return _select(part.source, part.indices, [transform for _, transform in part.steps[0]]), "tensor"
    samples = [part.sample(index) for index in range(len(part.indices))]
    images, kind = stack([items[0] for items in samples])
    items = [images]
    for number, column in enumerate(list(zip(*samples, strict=True))[1:]):
        joined = default_collate(list(column))
        if not isinstance(joined, Tensor):
            what = "labels" if number == 0 else "further items of samples"
            raise UserError(f"{what} are of type {type(column[0]).__name__}; use numbers.")
        items.append(joined)
    return items, kind


def same(first: Any, second: Any) -> bool:
    """Whether two images are equal in type, shape and values."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        alike = (first.dtype, first.shape, first.layout, first.device) == (
            second.dtype,
            second.shape,
            second.layout,
            second.device,
        )
        if first.layout != torch.strided or first.is_meta:
            return alike  # refused by what it is
        bytes_ = (tensor.detach().cpu().contiguous().flatten().view(torch.uint8) for tensor in (first, second))
        return alike and torch.equal(*bytes_)  # bytes, as NaN differs from itself
    if not isinstance(first, Image.Image | np.ndarray) or (isinstance(first, np.ndarray) and first.dtype.hasobject):
        return type(first) is type(second)
    return type(first) is type(second) and np.asarray(first).tobytes() == np.asarray(second).tobytes()


def check_repeatable(part: Part, way_out: str) -> None:
    """Refuses a source that gives another image each time it is read.

    Raises:
        UserError: it does so; ``way_out`` is what a user may do besides moving the random transform.
    """
    if part.holds_tensors():
        return
    for index in range(min(16, len(part.indices))):
        if not same(part.sample(index)[0], part.sample(index)[0]):
            raise UserError(
                f"the data set {type(part.source).__name__} gives another image each time it is read, so its images "
                f"cannot be kept in memory; move its random transforms to the train transform, or {way_out}."
            )


def _select(source: Any, indices: np.ndarray[Any, Any], label_transforms: list[Callable[..., Any]]) -> list[Tensor]:
    """Rows of a source's tensors; the tensors themselves for all rows in order."""
    items: list[Tensor] = [tensor.detach() for tensor in source.tensors]
    if not np.array_equal(indices, np.arange(len(items[0]))):
        rows = torch.from_numpy(indices)
        items = [item.index_select(0, rows.to(item.device)) for item in items]
    plain = type(source).__getitem__ is TensorDataset.__getitem__  # with labels as tensors, otherwise numbers
    if label_transforms or not plain:
        labels = list(items[1]) if plain else items[1].tolist()
        for transform in label_transforms:
            labels = [transform(label) for label in labels]
        items[1] = default_collate(labels)
    return items


def stack(images: list[Any]) -> tuple[Tensor, Kind]:
    """Images with the axes that they have, (n, ...)."""
    first = images[0]
    kind = next((known for known in (Tensor, np.ndarray, Image.Image) if isinstance(first, known)), None)
    if kind is None:
        raise UserError(f"images are of type {type(first).__name__}; use PIL images, arrays or tensors.")
    for image in images:
        if not isinstance(image, kind) or getattr(image, "dtype", None) != getattr(first, "dtype", None):
            raise UserError(f"images are of types {_type(first)} and {_type(image)}; use one.")
    if isinstance(first, Tensor):
        check_shapes([tuple(image.shape) for image in images])
        if first.layout != torch.strided or first.is_meta:
            raise UserError("images are sparse tensors, or tensors without values; use ordinary ones.")
        return torch.stack([image.detach() for image in images]), "tensor"
    arrays = [np.asarray(_eight_bits(image) if isinstance(image, Image.Image) else image) for image in images]
    check_shapes([array.shape for array in arrays])
    try:
        stacked = torch.from_numpy(np.stack(arrays))
    except TypeError:
        raise UserError(f"images are {arrays[0].dtype} arrays; use uint8, or floats in [0, 1].") from None
    return stacked, "array" if isinstance(first, np.ndarray) else "pil"


def _type(image: Any) -> str:
    name = type(image).__name__
    return f"{name} of {image.dtype}" if hasattr(image, "dtype") else name


def _eight_bits(image: Image.Image) -> Image.Image:
    """The picture in a mode whose bytes are grey levels, colours or transparency.

    Raises:
        UserError: a mode without such a counterpart.
    """
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image
    if image.mode not in SAME_AS:
        raise UserError(
            f"images are PIL pictures of mode {image.mode!r}; convert them to grey ('L') or colour ('RGB') in the "
            "data set."
        )
    return image.convert(SAME_AS[image.mode])


def check_shapes(shapes: list[tuple[int, ...]]) -> None:
    """Raises UserError if images differ in shape."""
    for shape in shapes:
        if shape != shapes[0]:
            raise UserError(
                f"images differ in shape ({shapes[0]} and {shape}); resize them before the transforms, in the data set."
            )
