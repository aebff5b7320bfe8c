"""How images are presented to a learner: as raw samples of a form, through the transforms of their experience."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.utils import TransformGroups, as_classification_dataset
from avalanche.benchmarks.utils.classification_dataset import (
    ClassificationDataset,
    _make_taskaware_classification_dataset,
)
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.transforms import Compose, Normalize

from iid_cl.data.images import Normalization
from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError

from .forms import Form
from .reading import Part, Step, same, stack, steps_of


@dataclass(frozen=True)
class Presentation:
    """How the samples of one source come to a learner; a memory's images take the same way.

    Attributes:
        form: of the raw samples.
        groups: the transform groups of the data set, innermost first.
        tensor_labels: whether a sample's label is a tensor, and not an int.
        trained: the label that the learner is trained with, by the label of the raw sample. None where the two are the
            same, or where the transform does not make class indices; then it belongs to ``groups``.
    """

    form: Form
    groups: tuple[TransformGroups, ...]
    tensor_labels: bool
    trained: Mapping[int, int] | None = None

    __hash__ = None  # type: ignore[assignment]  # transforms have no hash in common

    @classmethod
    def of(cls, part: Part, form: Form, labels: Tensor) -> "Presentation":
        """How a part of a data set is presented; ``labels`` (n,) are those of its raw samples."""
        tensor_labels = isinstance(part.sample(0)[1], Tensor)
        groups, trained = tuple(part.groups()), _trained(part, labels, tensor_labels)
        if trained is not None:
            groups = tuple(_of_images(group) for group in groups)
        return cls(form, groups, tensor_labels, trained)

    @classmethod
    def like(cls, part: Part, form: Form) -> "Presentation":
        """The same for images of another form, all of whose labels are those that the learner is trained with."""
        label = part.sample(0)[1]
        own = cls.of(part, form, torch.as_tensor([int(label)]))
        return replace(own, trained=None)

    def __eq__(self, other: object) -> bool:
        """Whether samples come in the same way; transforms are compared, not the groups that hold them."""
        if not isinstance(other, Presentation):
            return NotImplemented
        mine, theirs = ((p.form, p.tensor_labels, _key(p.groups)) for p in (self, other))
        return mine == theirs

    def labels(self, raw: Tensor) -> Tensor:
        """The labels (n,) that the learner is trained with."""
        trained = self.trained
        return raw if trained is None else torch.tensor([trained[label] for label in raw.tolist()])

    def dataset(self, images: Tensor, labels: Tensor, targets: Sequence[int], tasks: Sequence[int] | None) -> Any:
        """uint8 images (n, C, H, W) as an Avalanche data set whose samples are presented in this way.

        Args:
            images: the images.
            labels: (n,), what samples have as labels.
            targets: their class indices.
            tasks: their task labels, which are then part of each sample.
        """
        rest = labels, list(targets), self.tensor_labels
        samples = (
            TensorImages(self.form.samples(images), *rest)
            if self.form.kind == "tensor"
            else FormedImages(self.form, images, *rest)
        )
        dataset: Any
        if tasks is not None:
            dataset = _make_taskaware_classification_dataset(samples, targets=samples.targets, task_labels=list(tasks))
        else:
            dataset = as_classification_dataset(samples)
            if not isinstance(dataset, ClassificationDataset):
                raise TypeError(f"Avalanche built a {type(dataset).__name__}")
        for groups in self.groups:
            dataset = type(dataset)([dataset], transform_groups=TransformGroups(dict(groups.transform_groups)))
        return dataset

    def inputs(self, images: Tensor) -> Tensor:
        """uint8 images (n, C, H, W) as a network's input in evaluation.

        Raises:
            UserError: a transform takes image and label together, or makes no tensors.
        """
        steps = self._steps()
        stacked = self.form.samples(images)
        if self.form.kind == "tensor" and all(takes_batches(transform) for _, transform in steps):
            batch: Tensor = _applied(steps, stacked)
            return batch
        shown = [_applied(steps, self.form.sample(sample)) for sample in stacked]
        if not all(isinstance(image, Tensor | np.ndarray) for image in shown):
            raise UserError(
                f"the eval transforms make images of type {type(shown[0]).__name__}, which no network takes, so that "
                "no features can be computed; pass `features`."
            )
        joined: Tensor = default_collate(shown)
        return joined

    def check(self, image: Any) -> None:
        """Makes sure that a raw image comes back from memory as it went in.

        Raises:
            UserError: the eval transforms make something else of the memory's copy.
        """
        try:
            steps = self._steps()
            before = [_applied(steps, image) for _ in range(2)]
        except Exception:  # not the memory's: the learner will meet it
            return
        copy = self.form.samples(self.form.to_bytes(stack([image])[0]))[0]
        try:
            after = _applied(steps, self.form.sample(copy))
            alike = _looks(after) == _looks(before[0])
        except Exception:
            alike = False
        if alike and self.form.space is None and same(*before):  # 8 bits hold the image, and nothing is random
            alike = same(before[0], after)
        if not alike:
            what = f"PIL pictures of mode {image.mode!r}" if self.form.kind == "pil" else f"{self.form.kind}s"
            raise UserError(
                f"images are {what}, of which the transforms make something else than of the memory's copies; convert "
                "them to grey ('L') or colour ('RGB') in the data set."
            )

    def _steps(self) -> list[Step]:
        """The transforms of images in evaluation, in order.

        Raises:
            UserError: a transform takes image and label together.
        """
        steps = [step for groups in self.groups for step in steps_of(groups["eval"]) if step[0] in (0, None)]
        if any(item is None for item, _ in steps):
            raise UserError("an eval transform takes image and label together, so features cannot be computed; pass "
                            "`features`.")  # fmt: skip
        return steps


class FormedImages(TensorImages):
    """Images kept as uint8 and handed out as PIL images or arrays.

    Args:
        form: of the samples.
        arguments: see :class:`iid_cl.data.tensors.TensorImages`.
    """

    def __init__(self, form: Form, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._form = form

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = super().__getitem__(index)
        return self._form.sample(self._form.samples(image[None])[0]), label


def _trained(part: Part, labels: Tensor, tensor_labels: bool) -> dict[int, int] | None:
    """The class index that the transforms make of each raw label; None if they change nothing or make none."""
    steps = [step for step in part.steps[1] if step[0] in (1, None)]
    if not steps or any(item is None for item, _ in steps):
        return None
    trained: dict[int, int] = {}
    for label in labels.unique():
        raw = label if tensor_labels else int(label)
        values = {_class_index(_applied(steps, raw)) for _ in range(2)}  # more than one: at random
        value = values.pop()
        if values or value is None:
            return None
        trained[int(label)] = value
    return trained


def _class_index(value: Any) -> int | None:
    if isinstance(value, Tensor) and (value.ndim or value.dtype.is_floating_point or value.dtype.is_complex):
        return None
    return int(value) if isinstance(value, int | np.integer | Tensor) else None


def _of_images(groups: TransformGroups) -> TransformGroups:
    """The same groups without their transforms of labels."""
    of_images: dict[str, Any] = {}
    for name, group in groups.transform_groups.items():
        transforms = [transform for item, transform in steps_of(group) if item == 0]
        of_images[name] = Compose(transforms) if transforms else None
    return TransformGroups(of_images)


def _key(groups: Sequence[TransformGroups]) -> list[dict[str, list[Step]]]:
    return [{name: steps_of(group) for name, group in each.transform_groups.items()} for each in groups]


def _applied(steps: Sequence[Step], value: Any) -> Any:
    for _, transform in steps:
        value = transform(value)
    return value


def _looks(image: Any) -> tuple[Any, ...]:
    if isinstance(image, Tensor | np.ndarray):
        return type(image), image.dtype, tuple(image.shape)
    return type(image), getattr(image, "size", None)


def takes_batches(transform: Callable[..., Any]) -> bool:
    """Whether a transform works on batches (N, C, H, W)."""
    return (
        getattr(transform, "batched", False) is True
        or isinstance(getattr(transform, "__self__", None), Normalization)
        or type(transform) is Normalize
    )
