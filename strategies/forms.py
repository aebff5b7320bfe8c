"""What raw samples look like, and how a memory's bytes become such samples again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from iid_cl.data.images import Normalization
from iid_cl.errors import UserError

from .reading import Kind

Axes = Literal["HW", "HWC", "CHW"]

CHANNELS = (1, 2, 3, 4)  # what tells an axis of channels from one of pixels
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SMALLEST = 4  # pixels: rows of a sample without channels; fewer are the channels of a series
COARSE = 0.05  # share of an image's deviation that rounding to 8 bits may take


@dataclass(frozen=True)
class Form:
    """What the raw samples of a data set look like.

    Attributes:
        kind: PIL images, arrays or tensors.
        axes: a sample's axes: height, width and channels.
        dtype: of a pixel.
        space: the normalisation that leads from [0, 1] to float pixels; None for uint8.
    """

    kind: Kind
    axes: Axes
    dtype: torch.dtype
    space: Normalization | None = None

    @classmethod
    def of(cls, kind: Kind, samples: Tensor, normalization: Normalization | None) -> "Form":
        """The form of stacked samples (N, ...); ``normalization`` is the one that float samples may have already.

        Raises:
            UserError: samples that are not images, of another type than uint8 or float, or floats whose black and white
                are unknown, or of which 8 bits would leave little.
        """
        axes, dtype = _axes(kind, tuple(samples.shape[1:])), samples.dtype
        if dtype == torch.uint8:
            return cls(kind, axes, dtype)
        if dtype not in FLOATS:
            what = f"{str(dtype).removeprefix('torch.')} {'arrays' if kind == 'array' else 'tensors'}"
            raise UserError(f"images are {what}; a memory needs uint8 or float tensors.")
        images = _channels_first(samples, axes).to(torch.promote_types(dtype, torch.float32))
        space = _space(images, dtype, normalization)
        _check_depth(images, space)
        return cls(kind, axes, dtype, space)

    def to_bytes(self, samples: Tensor) -> Tensor:
        """Stacked samples (N, ...) as uint8 images (N, C, H, W)."""
        images = _channels_first(samples, self.axes)
        return images if self.space is None else self.space.invert(images.to(torch.float32))

    def samples(self, images: Tensor) -> Tensor:
        """uint8 images (N, C, H, W) as stacked samples (N, ...)."""
        if self.space is not None:
            images = _normalised(images, self.space).to(self.dtype)
        if self.axes == "HW":
            return images[:, 0]
        return images.permute(0, 2, 3, 1) if self.axes == "HWC" else images

    def sample(self, stacked: Tensor) -> Any:
        """One of the stacked samples in its container."""
        if self.kind == "tensor":
            return stacked
        array = stacked.numpy()
        return Image.fromarray(array) if self.kind == "pil" else array

    def state(self) -> list[Any]:
        """The form as plain values."""
        space = None if self.space is None else [list(self.space.mean), list(self.space.std)]
        return [self.kind, self.axes, str(self.dtype).removeprefix("torch."), space]

    @classmethod
    def from_state(cls, state: Sequence[Any]) -> "Form":
        """The form that :meth:`state` has written down."""
        kind, axes, dtype, space = state
        seen_as = None if space is None else Normalization(tuple(space[0]), tuple(space[1]))
        return cls(kind, axes, getattr(torch, dtype), seen_as)


def _axes(kind: Kind, shape: tuple[int, ...]) -> Axes:
    if len(shape) == 2 and min(shape) >= SMALLEST:
        return "HW"
    if len(shape) == 3 and min(shape) > 0:
        first, last = shape[0] in CHANNELS, shape[2] in CHANNELS
        if kind == "tensor":
            return "HWC" if last and not first else "CHW"
        return "CHW" if first and not last else "HWC"
    raise UserError(f"samples of shape {shape} are not images; a memory keeps images of H x W or C x H x W pixels.")


def _channels_first(samples: Tensor, axes: Axes) -> Tensor:
    if axes == "HW":
        return samples[:, None]
    return samples.permute(0, 3, 1, 2).contiguous() if axes == "HWC" else samples


def _normalised(images: Tensor, space: Normalization) -> Tensor:
    identity = not any(space.mean) and all(std == 1 for std in space.std)
    return images.to(torch.float32) / 255 if identity else space.apply(images)


def _space(images: Tensor, dtype: torch.dtype, normalization: Normalization | None) -> Normalization:
    """The normalisation of float images (N, C, H, W): none at all, or the one that the user has named."""
    if not bool(images.isfinite().all()):
        raise UserError("images hold NaN or infinite values; repair them, or leave them out.")
    channels = images.shape[1]
    for space in (Normalization((0.0,) * channels, (1.0,) * channels), normalization):
        if space is not None and len(space.mean) == channels:
            black, white = space.limits(images.device)
            slack = torch.maximum(black.abs(), white.abs()) * torch.finfo(dtype).eps + 1e-3
            if bool(((images >= black - slack) & (images <= white + slack)).all()):
                return space
    raise UserError(
        f"images are floats between {float(images.min()):.3g} and {float(images.max()):.3g}; give images in "
        "[0, 1] and normalise in the transform, or name the normalisation that they already have "
        "(normalization=Normalization(mean, std))."
    )


def _check_depth(images: Tensor, space: Normalization) -> None:
    """Refuses float images (N, C, H, W) of so narrow a range that rounding to 8 bits would change them visibly."""
    for channel, (mean, std) in enumerate(zip(space.mean, space.std, strict=True)):
        unit = (images[:, channel] * std + mean).clamp(0, 1)
        levels = (unit * 255).round()
        error = (levels / 255 - unit).square().mean().sqrt()
        if error > COARSE * unit.std(correction=0) and len(unit.unique()) > 4 * len(levels.unique()):
            raise UserError(
                f"images take values between {float(unit.min()):.3g} and {float(unit.max()):.3g} of [0, 1], of which "
                f"the 8 bits of a memory would keep {len(levels.unique())} levels; scale them to [0, 1] in the data "
                "set."
            )
