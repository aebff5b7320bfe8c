"""Data sets with the same classes as the domains of one data set."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import rotate

from iid_cl.config.experiment import DomainConfig
from iid_cl.data.images import GREY, IMAGENET, Domain, ImageDataset, LabelledImages
from iid_cl.data.mapped import chunks
from iid_cl.errors import UserError
from iid_cl.seeding import make_generator


def join_domains(parts: Sequence[tuple[DomainConfig, ImageDataset]], image_size: int | None) -> ImageDataset:
    """The images of several data sets, one after the other, each changed as its domain says.

    Grey images among colour ones fill all channels. Where the normalisations differ, a usual one takes their place.
    Augmentations are those that suit all.

    Args:
        parts: the domains with their data sets.
        image_size: side in pixels to resize to; None keeps the size.

    Raises:
        UserError: data sets differ in their number of classes, or in the size of their images.
    """
    first = parts[0][1]
    channels = max(data.shape[0] for _, data in parts)
    sets = [[_changed(part, domain, channels, image_size) for part in (d.train, d.test)] for domain, d in parts]
    for (domain, data), (train, _) in zip(parts, sets, strict=True):
        if len(data.class_names) != len(first.class_names):
            raise UserError(
                f"stream.domains: {domain.label!r} has {len(data.class_names)} classes but {parts[0][0].label!r} has "
                f"{len(first.class_names)}; use data sets with the same classes, or first_classes."
            )
        if train.images.shape[2:] != sets[0][0].images.shape[2:]:
            (height, width), (first_height, first_width) = train.images.shape[2:], sets[0][0].images.shape[2:]
            raise UserError(
                f"stream.domains: {domain.label!r} has images of {width}x{height} pixels but {parts[0][0].label!r} of "
                f"{first_width}x{first_height}; set stream.image_size."
            )
    normalizations = {data.normalization for _, data in parts}
    domains = [Domain(d.label, len(train), len(test)) for (d, _), (train, test) in zip(parts, sets, strict=True)]
    usual = GREY if channels == 1 else IMAGENET
    return ImageDataset(
        ", ".join(f"{data.name}{domain.label.removeprefix(domain.dataset)}" for domain, data in parts),
        _joined([train for train, _ in sets]),
        _joined([test for _, test in sets]),
        first.class_names,
        first.normalization if len(normalizations) == 1 else usual,
        tuple(name for name in first.augmentations if all(name in data.augmentations for _, data in parts)),
        tuple(dict.fromkeys(remark for _, data in parts for remark in data.remarks)),
        tuple(domains),
    )


def _joined(parts: Sequence[LabelledImages]) -> LabelledImages:
    return LabelledImages(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def _changed(part: LabelledImages, domain: DomainConfig, channels: int, image_size: int | None) -> LabelledImages:
    images = part.images
    resized = image_size is not None and tuple(images.shape[2:]) != (image_size, image_size)
    if not (resized or images.shape[1] < channels or domain.rotate or domain.invert or domain.permute is not None):
        return part  # as it is, perhaps on disk

    def change(chunk: Tensor) -> Tensor:
        chunk = chunk.expand(-1, channels, -1, -1) if chunk.shape[1] < channels else chunk
        if resized:
            chunk = torch.stack([_resized(image, image_size) for image in chunk])
        if domain.rotate:
            chunk = rotate(chunk, domain.rotate, InterpolationMode.BILINEAR)
        if domain.permute is not None:
            pixels = chunk.shape[2] * chunk.shape[3]
            order = torch.randperm(pixels, generator=make_generator(domain.permute, "pixels"))
            chunk = chunk.flatten(2)[:, :, order].view(chunk.shape)
        return 255 - chunk if domain.invert else chunk

    return LabelledImages(torch.cat([change(chunk) for chunk in chunks(images)]), part.labels)


def _resized(image: Tensor, size: int | None) -> Tensor:
    """As :func:`iid_cl.data.pictures.decode_picture` resizes a file's picture."""
    assert size is not None  # it is only then called
    planes = [Image.fromarray(plane.numpy()).resize((size, size), Image.Resampling.BILINEAR) for plane in image]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))
