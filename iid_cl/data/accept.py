"""What programs may give as images and class indices, and the uint8 images that the toolkit makes of it.

Floats from 0 to 1, PyTorch's usual form, are the same images as uint8 from 0 to 255. Everything else is refused, as a
guess would give other images in silence.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iid_cl.errors import UserError, shown

GIVE = "give uint8 images from 0 to 255, or floats from 0 to 1"
TOLERANCE = 1e-3  # of floats below 0 and above 1: a quarter of a grey level, which rounding to 8 bits removes
FEWEST_LEVELS = 16  # grey levels that floats must span where 8 bits don't hold them exactly
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LARGEST_CLASS = torch.iinfo(torch.int16).max  # memories keep class indices in 16 bits


def as_images(images: Any, what: str = "images") -> Tensor:
    """Images as uint8 (N, C, H, W): a tensor or array of that shape, or a sequence of such images (C, H, W).

    Args:
        images: uint8, or floating point from 0 to 1, which is multiplied by 255 and rounded.
        what: whose images, for messages.

    Raises:
        UserError: another type, shape or range, values that are not finite, or floats that 8 bits don't hold.

    >>> as_images(np.array([[[[0.0, 0.2, 1.0]]]]))
    tensor([[[[  0,  51, 255]]]], dtype=torch.uint8)
    """
    tensor = _shaped(images, what)
    if tensor.dtype == torch.uint8:
        return tensor
    done = unit_bytes(tensor, what)
    _check_levels([tensor], what)
    return done


def as_classes(images_by_class: Any, what: str = "images_by_class") -> dict[int, Tensor]:
    """Images of several classes, see :func:`as_images`, all of one shape; a class may be empty.

    Raises:
        UserError: no mapping, class indices that are not whole numbers from 0 to 32767, or images that are refused.

    >>> {label: images.shape for label, images in as_classes({3: torch.zeros(2, 1, 4, 4)}).items()}
    {3: torch.Size([2, 1, 4, 4])}
    """
    if not isinstance(images_by_class, Mapping):
        raise UserError(
            f"{what}: {_kind(images_by_class)} where each class index needs its images; give a dict such as "
            "{0: images, 1: images}."
        )
    tensors = {as_class(label, what): _shaped(images, f"class {label}") for label, images in images_by_class.items()}
    shapes = {label: tuple(tensor.shape[1:]) for label, tensor in tensors.items()}
    for label, shape in shapes.items():
        first = next(iter(shapes))
        if shape != shapes[first]:
            raise UserError(
                f"class {label}: its images are of shape {shape} but those of class {first} of {shapes[first]}; resize "
                "them to one shape (C, H, W)."
            )
    done = {
        label: tensor if tensor.dtype == torch.uint8 else unit_bytes(tensor, f"class {label}")
        for label, tensor in tensors.items()
    }
    _check_levels([tensor for tensor in tensors.values() if tensor.is_floating_point()], what)
    return done


def as_class(label: Any, what: str) -> int:
    """A class index.

    Raises:
        UserError: no whole number from 0 to 32767.

    >>> as_class("cat", "images_by_class")
    Traceback (most recent call last):
    iid_cl.errors.UserError: images_by_class: 'cat' is no class index; number the classes from 0 to 32767.
    """
    whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
    if not whole or not 0 <= label <= LARGEST_CLASS:
        raise UserError(f"{what}: {shown(label)} is no class index; number the classes from 0 to {LARGEST_CLASS}.")
    return int(label)


def as_labels(labels: Any, count: int, what: str = "labels") -> Tensor:
    """A whole number for each of ``count`` images, as int64 (count,).

    Raises:
        UserError: other numbers or none, or another count.

    >>> as_labels(["cat", "dog"], 2)
    Traceback (most recent call last):
    iid_cl.errors.UserError: labels: are of type str; give a whole number for each image, as int64 (N,).
    """
    give = "give a whole number for each image, as int64 (N,)"
    if not isinstance(labels, Tensor):
        try:
            array = np.asarray(labels)
        except ValueError:  # of several lengths
            raise UserError(f"{what}: are nested unevenly; {give}.") from None
        if array.dtype.kind not in "iu" and array.size:
            first = array.flat[0]
            raise UserError(f"{what}: are of type {type(getattr(first, 'item', lambda: first)()).__name__}; {give}.")
        labels = torch.from_numpy(array.astype(np.int64))
    tensor: Tensor = labels.detach()
    if tensor.numel() and (tensor.dtype == torch.bool or tensor.is_floating_point() or tensor.is_complex()):
        raise UserError(f"{what}: are {tensor.dtype}; {give}.")
    if tuple(tensor.shape) != (count,):
        raise UserError(f"{what}: are of shape {tuple(tensor.shape)} for {count} images; {give}.")
    return tensor.to(torch.int64)


def unit_bytes(images: Tensor, what: str) -> Tensor:
    """Floating point from 0 to 1, of any shape, as the nearest uint8 from 0 to 255.

    Raises:
        UserError: values outside that range or not finite.

    >>> unit_bytes(torch.tensor([0.0, 0.5, 1.0]), "images")
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    _check_range(images, what)
    fine = images if images.dtype == torch.float64 else images.to(torch.float32)
    return (fine.detach() * 255).round_().clamp_(0, 255).to(torch.uint8)


def _shaped(images: Any, what: str) -> Tensor:
    """Images as a tensor (N, C, H, W) of uint8 or floating point; nothing is said about its values."""
    tensor = _tensor(images, what)
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        raise UserError(f"{what}: is a sparse, quantised or empty kind of tensor; {GIVE}, as an ordinary tensor.")
    if tensor.dtype not in (torch.uint8, *FLOATS):
        raise UserError(f"{what}: has images of {str(tensor.dtype).removeprefix('torch.')}; {GIVE}.")
    check_shape(tuple(tensor.shape), what)
    return tensor


def check_shape(shape: tuple[int, ...], what: str) -> None:
    """Refuses shapes that are no (N, C, H, W), or that hold the channels last.

    Raises:
        UserError: such a shape.

    >>> check_shape((50, 28, 28), "images")
    Traceback (most recent call last):
    iid_cl.errors.UserError: images: are of shape (50, 28, 28) and not (N, C, H, W); add the channels of grey images \
with images[:, None].
    """
    if len(shape) == 3:
        raise UserError(
            f"{what}: are of shape {shape} and not (N, C, H, W); add the channels of grey images with images[:, None]."
        )
    if len(shape) != 4:
        raise UserError(f"{what}: are of shape {shape}; give images of shape (N, C, H, W).")
    channels, height, width = shape[1:]
    if width in (1, 3, 4) and channels > 4 and height > 4:
        raise UserError(
            f"{what}: are of shape {shape}, with their channels last; give (N, C, H, W), as by "
            "np.moveaxis(images, -1, 1)."
        )
    if not (channels and height and width):
        raise UserError(f"{what}: are of shape {shape} and have no pixels; give images of at least 1x1.")


def _tensor(images: Any, what: str) -> Tensor:
    if isinstance(images, Tensor):
        return images
    if isinstance(images, np.ndarray):
        return _from_array(images, what)
    if isinstance(images, Sequence) and not isinstance(images, str | bytes):
        items = [_tensor(image, what) for image in images if isinstance(image, Tensor | np.ndarray)]
        if items and len(items) == len(images):
            return _stacked(items, what)
    raise UserError(f"{what}: {_kind(images)} where images are needed; give a tensor or array (N, C, H, W).")


def _stacked(items: list[Tensor], what: str) -> Tensor:
    for item in items:
        if item.shape != items[0].shape or item.dtype != items[0].dtype:
            raise UserError(
                f"{what}: has images of {items[0].dtype} {tuple(items[0].shape)} and of {item.dtype} "
                f"{tuple(item.shape)}; give all images in one type and shape (C, H, W)."
            )
    return torch.stack(items)


def _from_array(array: np.ndarray[Any, Any], what: str) -> Tensor:
    if array.dtype.kind not in "buif":
        raise UserError(f"{what}: has images of {array.dtype}; {GIVE}.")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # PyTorch has no longer ones
        array = array.astype(np.float64)
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    plain = native.flags.writeable and min(native.strides, default=0) >= 0  # an axis of one may run backwards
    return torch.from_numpy(native if plain else native.copy())


def _check_range(images: Tensor, what: str) -> None:
    if not images.numel():
        return
    low, high = _bounds(images)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(f"{what}: has values that are not finite, such as NaN; {GIVE}.")
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise UserError(f"{what}: has floats between {low:.3g} and {high:.3g}; {GIVE}.")


def _check_levels(images: Sequence[Tensor], what: str) -> None:
    """Refuses floats of so narrow a range that little is left of them in 8 bits."""
    bounds = [_bounds(part) for part in images if part.numel()]
    if not bounds:
        return
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    if not 0 < 255 * (high - low) < FEWEST_LEVELS:
        return
    levels = (part.detach().to(torch.float32) * 255 for part in images if part.numel())
    if any(float((part - part.round()).abs().max()) > 0.1 for part in levels):
        raise UserError(
            f"{what}: has floats between {low:.3g} and {high:.3g} only, of which 8 bits keep "
            f"{round(255 * high) - round(255 * low) + 1} grey levels; stretch them to the range from 0 to 1."
        )


def _bounds(images: Tensor) -> tuple[float, float]:
    low, high = images.detach().aminmax()
    return float(low), float(high)


def _kind(value: Any) -> str:
    return f"is of type {type(value).__name__}"
