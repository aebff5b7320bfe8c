"""From Avalanche's data sets to uint8 tensors.

A memory must pass through the same transforms as real data, whatever these expect (PIL images, uint8 or float tensors).
So images are read before the experience's transform groups. Exemplars get the form and the groups of the experience
that they came with, see :mod:`iid_cl.strategies.presentation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor

from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.errors import UserError

from .forms import Form
from .presentation import Presentation
from .reading import Part, check_repeatable, check_shapes, in_order, parts_of, raw

Keys = Mapping[int, tuple[int, int]]
"""Class index and task label of each class of a memory."""


@dataclass(frozen=True)
class Samples:
    """An experience's samples as a memory takes them.

    Attributes:
        images: before the transforms, with the class indices that the learner is trained with.
        tasks: task labels (N,).
        rows: (N,), which of ``presentations`` each sample has.
        presentations: how samples come to the learner.
        task_labelled: whether samples are (x, y, t).
        positions: (N,), their rows in the data set.
    """

    images: LabelledImages
    tasks: Tensor
    rows: Tensor
    presentations: list[Presentation]
    task_labelled: bool
    positions: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def join(self, later: "Samples") -> "Samples":
        """These samples and later ones."""
        images = LabelledImages(
            torch.cat([self.images.images, later.images.images]), torch.cat([self.images.labels, later.images.labels])
        )
        presentations, numbers = merged(self.presentations, later.presentations)
        rows = torch.cat([self.rows, torch.tensor(numbers)[later.rows]])
        tasks, positions = (torch.cat(pair) for pair in ((self.tasks, later.tasks), (self.positions, later.positions)))
        return Samples(images, tasks, rows, presentations, later.task_labelled, positions)


def merged(before: Sequence[Presentation], new: Sequence[Presentation]) -> tuple[list[Presentation], list[int]]:
    """The different ones of both, and the number of each of ``new`` among them."""
    together, numbers = list(before), []
    for presentation in new:
        if presentation not in together:
            together.append(presentation)
        numbers.append(together.index(presentation))
    return together, numbers


def read_experience(dataset: AvalancheDataset, normalization: Normalization | None, few: int | None = None) -> Samples:
    """An experience's images before its transforms, as uint8, and how they come to the learner.

    Args:
        dataset: PIL images, uint8 or float arrays, uint8 tensors, float tensors in [0, 1], or float tensors that
            ``normalization`` brings back to [0, 1].
        normalization: the one that float images may have already.
        few: read this many samples of each source only, spread evenly; None reads all. Sources of tensors are read
            whole.

    Raises:
        UserError: samples that are not pairs of an image and a class index; images of several shapes, of another type,
            or of floats outside [0, 1] that ``normalization`` does not explain; images that differ from reading to
            reading, or that the transforms treat differently when they come from a memory.
    """
    if not len(dataset):
        raise UserError("the experience holds no images.")
    parts = [part if few is None or part.holds_tensors() else _thinned(part, few) for part in parts_of(dataset)]
    read = [_read(part, normalization) for part in parts]
    for images, _, _ in read:
        check_shapes([tuple(read[0][0].shape[1:]), tuple(images.shape[1:])])
    presentations, numbers = merged([], [presentation for *_, presentation in read])
    rows = torch.cat([torch.full((len(images),), number) for (images, *_), number in zip(read, numbers, strict=True)])
    joined = [torch.cat([images for images, *_ in read]), torch.cat([labels for _, labels, _ in read]), rows]
    if len(parts) > 1:
        order = in_order(parts)
        joined = [column.index_select(0, order) for column in joined]
    images, labels, rows = joined
    task_labels = getattr(dataset, "targets_task_labels", None)
    positions = torch.from_numpy(np.sort(np.concatenate([part.positions for part in parts])))
    tasks = torch.zeros_like(labels)
    if task_labels is not None:
        tasks = torch.tensor([int(task_labels[position]) for position in positions.tolist()])
    labelled = LabelledImages(images, labels)
    return Samples(labelled, tasks, rows, presentations, task_labels is not None, positions)


def classes_of(dataset: AvalancheDataset, few: Samples) -> set[tuple[int, int]]:
    """Class index and task label of each class of a data set of which a few samples were read.

    Only the classes of these samples, where the data set's ``targets`` say something else than its samples.
    """
    seen = set(zip(few.images.labels.tolist(), few.tasks.tolist(), strict=True))
    targets = [int(target) for target in getattr(dataset, "targets", ())]
    tasks = [int(task) for task in getattr(dataset, "targets_task_labels", [0] * len(targets))]
    agree = [targets[p] == label for p, label in zip(few.positions.tolist(), few.images.labels.tolist(), strict=True)]
    return seen | set(zip(targets, tasks, strict=True)) if targets and all(agree) else seen


def _thinned(part: Part, few: int) -> Part:
    rows = np.unique(np.linspace(0, len(part.indices) - 1, few).round().astype(np.int64))
    return replace(part, indices=part.indices[rows], positions=part.positions[rows])


def _read(part: Part, normalization: Normalization | None) -> tuple[Tensor, Tensor, Presentation]:
    """A part's images as uint8 (n, C, H, W), their class indices (n,), and how they are presented."""
    if len(part.sample(0)) > 2:
        raise UserError(
            f"samples hold {len(part.sample(0))} items; a memory keeps an image and its class index, so leave the "
            "others out of the data set."
        )
    check_repeatable(part, "give the memory another data set")
    (images, labels), kind = raw(part)
    if labels.ndim != 1 or labels.dtype.is_floating_point or labels.dtype.is_complex:
        raise UserError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape[1:])}; a memory needs one class index an image."
        )
    images, labels = images.cpu(), labels.cpu().to(torch.int64)
    form = Form.of(kind, images, normalization)
    presentation = Presentation.of(part, form, labels)
    presentation.check(part.sample(0)[0])
    return form.to_bytes(images), presentation.labels(labels), presentation
