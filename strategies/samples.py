"""From Avalanche's data sets to uint8 tensors, and back.

A memory must pass through the same transforms as real data, whatever these expect (PIL images, uint8 or float tensors).
So images are read before the experience's transform groups. Exemplars get the same form and the same groups.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from avalanche.benchmarks.utils import AvalancheDataset, TransformGroups, as_classification_dataset
from avalanche.benchmarks.utils.classification_dataset import (
    ClassificationDataset,
    _make_taskaware_classification_dataset,
)
from PIL import Image
from torch import Tensor

from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.methods.memory import LABEL_RANGE

from .reading import parts_of, read

Form = Literal["pil", "array", "bytes", "unit", "normalized"]


def read_experience(dataset: AvalancheDataset, normalization: Normalization | None) -> tuple[LabelledImages, Form]:
    """An experience's images before its transforms, as uint8, and the form that they came in.

    Forms: ``pil`` images, ``array`` (uint8, H x W [x C]), ``bytes`` (uint8 tensors), ``unit`` (float tensors in
    [0, 1]) and ``normalized`` (float tensors that ``normalization`` brings back to [0, 1]).

    Raises:
        UserError: images of several shapes, of another type, or of floats outside [0, 1] that ``normalization`` does
            not explain.
    """
    if not len(dataset):
        raise UserError("the experience holds no images.")
    (images, labels, *_), kind = read(parts_of(dataset))
    if kind != "tensor":
        if images.dtype != torch.uint8:
            raise UserError(f"images are arrays of {images.dtype}; a memory needs uint8 or float tensors.")
        return LabelledImages(images, labels.to(torch.int64)), kind
    images, labels = images.cpu(), labels.cpu().to(torch.int64)
    images = images[:, None] if images.ndim == 3 else images
    if images.dtype == torch.uint8:
        return LabelledImages(images, labels), "bytes"
    return _from_floats(images, labels, normalization)


def _from_floats(tensors: Tensor, labels: Tensor, normalization: Normalization | None) -> tuple[LabelledImages, Form]:
    identity = Normalization((0.0,) * tensors.shape[1], (1.0,) * tensors.shape[1])
    tolerance = 1e-3
    candidates: list[tuple[Normalization | None, Form]] = [(identity, "unit"), (normalization, "normalized")]
    for space, form in candidates:
        if space is not None:
            black, white = space.limits(tensors.device)
            if bool(((tensors >= black - tolerance) & (tensors <= white + tolerance)).all()):
                return LabelledImages(space.invert(tensors), labels), form
    raise UserError(
        f"images are floats between {float(tensors.min()):.3g} and {float(tensors.max()):.3g}; give images in "
        "[0, 1] and normalise in the transform, or name the normalisation that they already have "
        "(normalization=Normalization(mean, std))."
    )


class _Pictures(TensorImages):
    """Exemplars as PIL images or as arrays, H x W [x C]."""

    def __init__(self, form: Form, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._form = form

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = super().__getitem__(index)
        array = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
        return Image.fromarray(array) if self._form == "pil" else array, label


def _exemplars(
    decoded: LabelledImages, form: Form, normalization: Normalization | None, numbered: bool, tensor_labels: bool
) -> TensorImages:
    """A memory's images in the form of an experience's raw samples."""
    images, labels, targets = decoded.images, decoded.labels, decoded.labels.tolist()
    if numbered:
        labels = labels + LABEL_RANGE * torch.arange(1, len(labels) + 1)
    if form in ("pil", "array"):
        return _Pictures(form, images, labels, targets, tensor_labels)
    if form == "unit":
        images = images.to(torch.float32) / 255
    elif form == "normalized":
        assert normalization is not None
        images = normalization.apply(images)
    return TensorImages(images, labels, targets, tensor_labels)


def as_avalanche(
    memory: Exemplars,
    like: AvalancheDataset,
    form: Form,
    normalization: Normalization | None,
    keys: Mapping[int, tuple[int, int]],
    numbered: bool = False,
) -> AvalancheDataset:
    """The memory as an Avalanche data set of the same arity and with the same transforms as ``like``.

    Args:
        memory: the exemplars.
        like: an experience's data set. Samples are (x, y) or (x, y, t) like its samples.
        form: the form of its raw samples, see :func:`read_experience`.
        keys: class index and task label of each class of the memory. Samples (x, y, t) carry the task label.
        numbered: labels of samples carry the exemplar's number, see :class:`SoftLabelPlugin`.
    """
    part = parts_of(like)[0]
    tensor_labels = isinstance(part.sample(0)[1], Tensor)  # a mini-batch cannot join them with numbers
    decoded = memory.decoded()
    of_sample = [keys[number] for number in decoded.labels.tolist()]
    labelled = LabelledImages(decoded.images, torch.tensor([label for label, _ in of_sample]))
    exemplars = _exemplars(labelled, form, normalization, numbered, tensor_labels)
    if hasattr(like, "targets_task_labels"):
        tasks = [task for _, task in of_sample]
        dataset = _make_taskaware_classification_dataset(exemplars, targets=exemplars.targets, task_labels=tasks)
    else:
        dataset = as_classification_dataset(exemplars)
        if not isinstance(dataset, ClassificationDataset):
            raise TypeError(f"Avalanche built a {type(dataset).__name__}")
    for groups in part.groups():
        dataset = type(dataset)([dataset], transform_groups=TransformGroups(dict(groups.transform_groups)))
    return dataset
