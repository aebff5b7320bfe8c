"""Between Avalanche's data sets and uint8 tensors: what a sample looks like before its transforms, and back.

A memory must pass through the same transforms as real data, whatever those expect (PIL images, uint8 or
float tensors). So images are read before the experience's transform groups, and exemplars are handed out
in the same form, below the same groups.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from avalanche.benchmarks.utils import AvalancheDataset, TransformGroups, as_classification_dataset
from avalanche.benchmarks.utils.classification_dataset import (
    ClassificationDataset,
    _make_taskaware_classification_dataset,
)
from avalanche.benchmarks.utils.data import _FlatDataWithTransform
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet

LABEL_RANGE = 2**15  # memories keep class indices in 16 bits, with sign

Form = Literal["pil", "array", "bytes", "unit", "normalized"]


def read_experience(dataset: AvalancheDataset, normalization: Normalization | None) -> tuple[LabelledImages, Form]:
    """An experience's images before its transforms, as uint8, and the form they came in.

    Forms: ``pil`` images, ``array`` (uint8, H x W [x C]), ``bytes`` (uint8 tensors), ``unit`` (float tensors in
    [0, 1]) and ``normalized`` (float tensors that ``normalization`` brings back to [0, 1]).

    Raises:
        UserError: the images differ in shape, are of another type, or are floats outside [0, 1] that
            ``normalization`` does not explain.
    """
    raw = dataset.remove_current_transform_group()
    samples = [raw[i] for i in range(len(raw))]
    if not samples:
        raise UserError("the experience holds no images.")
    labels = torch.tensor([int(sample[1]) for sample in samples])
    first = samples[0][0]
    if isinstance(first, Image.Image | np.ndarray):
        arrays = [np.asarray(sample[0]) for sample in samples]
        _one_shape([array.shape for array in arrays])
        if arrays[0].dtype != np.uint8:
            raise UserError(f"images are arrays of {arrays[0].dtype}; a memory needs uint8 or float tensors.")
        stacked = torch.from_numpy(np.stack(arrays))
        images = stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2).contiguous()
        return LabelledImages(images, labels), "pil" if isinstance(first, Image.Image) else "array"
    if not isinstance(first, Tensor):
        raise UserError(f"images are of type {type(first).__name__}; a memory needs PIL images, arrays or tensors.")
    _one_shape([tuple(sample[0].shape) for sample in samples])
    tensors = torch.stack([sample[0].detach().cpu() for sample in samples])
    tensors = tensors[:, None] if tensors.ndim == 3 else tensors
    if tensors.dtype == torch.uint8:
        return LabelledImages(tensors, labels), "bytes"
    return _from_floats(tensors, labels, normalization)


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
        "[0, 1] and normalise in the transform, or name the normalisation they already have "
        "(normalization=Normalization(mean, std))."
    )


def _one_shape(shapes: list[tuple[int, ...]]) -> None:
    odd = next((shape for shape in shapes if shape != shapes[0]), None)
    if odd is not None:
        raise UserError(
            f"images differ in shape ({shapes[0]} and {odd}); resize them before the transforms, in the data set."
        )


class _Exemplars(Dataset[tuple[Any, int]]):
    """An exemplar set's images in the form of the experience's raw samples."""

    def __init__(
        self, memory: ExemplarSet, form: Form, normalization: Normalization | None, numbered: bool = False
    ) -> None:
        decoded = memory.decoded()
        self._images = decoded.images
        self.targets = decoded.labels.tolist()
        self._form = form
        self._normalization = normalization
        self._numbered = numbered

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        number = LABEL_RANGE * (index + 1) if self._numbered else 0
        return self._present(self._images[index]), self.targets[index] + number

    def _present(self, image: Tensor) -> Any:
        if self._form == "bytes":
            return image
        if self._form == "unit":
            return image.to(torch.float32) / 255
        if self._form == "normalized":
            assert self._normalization is not None
            return self._normalization.apply(image)
        array = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
        return Image.fromarray(array) if self._form == "pil" else array


def as_avalanche(
    memory: ExemplarSet,
    like: AvalancheDataset,
    form: Form,
    normalization: Normalization | None,
    task_of_class: Mapping[int, int],
    numbered: bool = False,
) -> AvalancheDataset:
    """The memory as an Avalanche data set of the same arity and with the same transforms as ``like``.

    Args:
        memory: the exemplars.
        like: an experience's data set; samples are (x, y) or (x, y, t) as its are.
        form: how its raw samples look, see :func:`read_experience`.
        task_of_class: task label of each class, used where samples carry one.
        numbered: labels of samples carry the exemplar's number, see :class:`SoftLabelPlugin`.
    """
    exemplars = _Exemplars(memory, form, normalization, numbered)
    if hasattr(like, "targets_task_labels"):
        tasks = [task_of_class[label] for label in exemplars.targets]
        dataset = _make_taskaware_classification_dataset(exemplars, targets=exemplars.targets, task_labels=tasks)
    else:
        dataset = as_classification_dataset(exemplars)
        if not isinstance(dataset, ClassificationDataset):
            raise TypeError(f"Avalanche built a {type(dataset).__name__}")
    for groups in _transform_groups(like):
        dataset = type(dataset)([dataset], transform_groups=groups)
    return dataset


def _transform_groups(dataset: AvalancheDataset) -> list[TransformGroups]:
    """The transform groups a sample passes through, innermost first.

    Avalanche has no public way to read them; frozen groups stay out because a raw sample has them applied.
    """
    groups: list[TransformGroups] = []
    level = dataset._flat_data
    index = 0
    while isinstance(level, _FlatDataWithTransform):
        groups.insert(0, level._transform_groups)
        which, index = level._get_idx(index)
        level = level._datasets[which]
    return [TransformGroups(dict(group.transform_groups)) for group in groups if any(group.transform_groups.values())]
