"""What :func:`iid_cl.distill.distill` was given, checked before any work."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from iid_cl.compute.devices import resolve_device
from iid_cl.config.distill import Augmentation, DistillConfig
from iid_cl.data.accept import as_classes
from iid_cl.data.classes import Classes
from iid_cl.data.images import Normalization
from iid_cl.errors import UserError, shown


def accepted_classes(images_by_class: Any, weights: Any, start: Any) -> Classes:
    """The classes with their weights and the images to start from, see :func:`iid_cl.data.accept.as_classes`.

    Raises:
        UserError: images, weights or a start that cannot be used.
    """
    images = as_classes(images_by_class)
    if weights is not None and not isinstance(weights, Mapping):
        raise UserError(f"weights: {shown(weights)} must be a dict of each class's weights (n_c,).")
    checked = {label: _weights(label, given, images) for label, given in (weights or {}).items()}
    return Classes(images, checked, None if start is None else as_classes(start, "start"))


def _weights(label: Any, given: Any, images: Mapping[int, Tensor]) -> Tensor:
    if label not in images:
        raise UserError(f"weights: class {shown(label)} has weights but no images; remove them.")
    try:
        floats = isinstance(given, Tensor) and given.is_floating_point()
        weights = given if floats else torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"weights: class {label} has {shown(given)}; give a number for each of its images.") from None
    fits = tuple(weights.shape) == (len(images[label]),)
    if not fits or not bool((weights.isfinite() & (weights >= 0)).all()) or not float(weights.sum()) > 0:
        raise UserError(
            f"weights: class {label} needs {len(images[label])} numbers from 0, not all 0, and has "
            f"{weights.numel()} of shape {tuple(weights.shape)}; give one for each image."
        )
    return weights.detach()


def check_arguments(
    config: Any, ipc: Any, generator: Any, normalization: Any, augmentations: Any, classes: Classes
) -> None:
    """Refuses arguments of another type, or that don't fit the images.

    Raises:
        UserError: names the argument, its value and the way out.
    """
    if not isinstance(config, DistillConfig):
        raise UserError(f"config: {shown(config)} is no DistillConfig; give DistillConfig(iterations=100), say.")
    if isinstance(ipc, bool) or not isinstance(ipc, int | np.integer) or ipc < 1:
        raise UserError(f"ipc: {shown(ipc)} must be a whole number of images per class, from 1.")
    if not isinstance(generator, torch.Generator):
        raise UserError(
            f"generator: {shown(generator)} is no torch.Generator; give torch.Generator().manual_seed(0), say."
        )
    if isinstance(augmentations, str) or not isinstance(augmentations, Sequence):
        raise UserError(f"augmentations: {shown(augmentations)} must be a list of names, such as ['crop', 'flip'].")
    for name in augmentations:
        if name not in get_args(Augmentation):
            known = ", ".join(get_args(Augmentation))
            raise UserError(f"augmentations: {shown(name)} is unknown; use some of {known}.")
    _check_normalization(normalization, classes)


def _check_normalization(normalization: Any, classes: Classes) -> None:
    if not isinstance(normalization, Normalization):
        raise UserError(
            f"normalization: {shown(normalization)} is no Normalization; give Normalization((0.5,), (0.25,)), say."
        )
    channels = classes.shape[0] if classes.images else 1
    for name, values in (("mean", normalization.mean), ("std", normalization.std)):
        if len(values) not in (1, channels) or not all(math.isfinite(value) for value in values):
            raise UserError(
                f"normalization: a {name} of {shown(values)} does not fit images of {channels} channels; give a number "
                "for each channel."
            )
    if not all(value > 0 for value in normalization.std):
        raise UserError(f"normalization: a std of {shown(normalization.std)} must be above 0.")


def accepted_device(device: Any) -> torch.device:
    """The device.

    Raises:
        UserError: no device of this machine.
    """
    return resolve_device(str(device))
