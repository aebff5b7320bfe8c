"""Which experience each image of a memory came with, and so how it is presented to the learner."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.utils import concat_datasets
from torch import Tensor

from iid_cl.data.images import LabelledImages
from iid_cl.data.mapped import in_memory
from iid_cl.methods.memory import LABEL_RANGE

from .presentation import Presentation
from .samples import Keys, Samples, merged


@dataclass(frozen=True)
class Origins:
    """How each image of a memory is presented.

    Attributes:
        presentations: the different ways.
        rows: (N',), which of them each decoded image of the memory has.
        task_labelled: whether samples of the last experience are (x, y, t).
    """

    presentations: list[Presentation]
    rows: Tensor
    task_labelled: bool

    @classmethod
    def all_like(cls, presentation: Presentation, count: int, task_labelled: bool) -> "Origins":
        """Those of ``count`` images that are all presented in one way."""
        return cls([presentation], torch.zeros(count, dtype=torch.int64), task_labelled)

    def first_of(self, before: LabelledImages, after: LabelledImages) -> "Origins":
        """Those of a memory that has been cut to the first images of each class."""
        kept: list[Tensor] = []
        for label in after.labels.unique():
            count = int((after.labels == label).sum())
            kept.append((before.labels == label).nonzero().squeeze(1)[:count])
        return replace(self, rows=self.rows[torch.cat(kept)])

    def as_avalanche(self, decoded: LabelledImages, keys: Keys, numbered: bool = False) -> AvalancheDataset:
        """The memory as an Avalanche data set.

        Args:
            decoded: its images.
            keys: class index and task label of each class. Samples (x, y, t) carry the task label.
            numbered: labels of samples carry the exemplar's number, see :class:`SoftLabelPlugin`.
        """
        of_sample = [keys[number] for number in decoded.labels.tolist()]
        targets = torch.tensor([label for label, _ in of_sample])
        tasks = torch.tensor([task for _, task in of_sample])
        labels = targets + LABEL_RANGE * torch.arange(1, len(targets) + 1) if numbered else targets
        parts: list[Any] = []
        members = [(self.rows == number).nonzero().squeeze(1) for number in range(len(self.presentations))]
        for presentation, own in zip(self.presentations, members, strict=True):
            of_tasks = tasks[own].tolist() if self.task_labelled else None
            parts.append(presentation.dataset(decoded.images[own], labels[own], targets[own].tolist(), of_tasks))
        if len(parts) == 1:
            return cast(AvalancheDataset, parts[0])
        return cast(AvalancheDataset, concat_datasets(parts).subset(torch.cat(members).argsort().tolist()))


@dataclass(frozen=True)
class Intake:
    """All images that an update of a memory draws on: the stored ones, and those that arrive.

    Args:
        stored: the memory's images with its class numbers; None before the first update.
        origins: how they are presented.
        keys: class index and task label of each class number.
        samples: the arriving images.
    """

    stored: LabelledImages | None
    origins: Origins | None
    keys: Keys
    samples: Samples

    @cached_property
    def _ways(self) -> tuple[list[Presentation], Tensor]:
        """All presentations, and which of them each image has, stored ones first."""
        if self.origins is None:
            return self.samples.presentations, self.samples.rows
        presentations, numbers = merged(self.origins.presentations, self.samples.presentations)
        return presentations, torch.cat([self.origins.rows, torch.tensor(numbers)[self.samples.rows]])

    @cached_property
    def _images(self) -> Tensor:
        arriving = self.samples.images.images
        return arriving if self.stored is None else torch.cat([self.stored.images, arriving])

    @cached_property
    def _classes(self) -> tuple[Tensor, Tensor]:
        """Class index and task label of each image."""
        labels, tasks = self.samples.images.labels, self.samples.tasks
        if self.stored is None:
            return labels, tasks
        before = torch.tensor([self.keys[number] for number in self.stored.labels.tolist()]).view(-1, 2)
        return torch.cat([before[:, 0], labels]), torch.cat([before[:, 1], tasks])

    @cached_property
    def _by_content(self) -> dict[bytes, int]:
        """Number of each image by its bytes; of copies, the last."""
        return {in_memory(image).numpy().tobytes(): number for number, image in enumerate(self._images)}

    def groups(self, images: Tensor) -> Iterator[tuple[Presentation, int, Tensor]]:
        """Some of the images (n, C, H, W) by presentation and task label, with their positions among ``images``."""
        presentations, rows = self._ways
        tasks = self._classes[1]
        if len(presentations) == 1 and len(tasks.unique()) == 1:
            yield presentations[0], int(tasks[0]), torch.arange(len(images))
            return
        last = len(rows) - 1
        numbers = torch.tensor(
            [self._by_content.get(in_memory(image).cpu().numpy().tobytes(), last) for image in images]
        )
        ways = torch.stack([rows[numbers], tasks[numbers]], 1)
        for way in ways.unique(dim=0):
            yield presentations[int(way[0])], int(way[1]), (ways == way).all(1).nonzero().squeeze(1)

    def of_memory(self, decoded: LabelledImages, keys: Keys) -> Origins:
        """How the images of the renewed memory are presented.

        An image takes the presentation of the same image of its class, or of the most similar one: what is stored may
        be distilled, or lossy. ``keys`` belongs to the renewed memory.
        """
        presentations, rows = self._ways
        task_labelled = self.samples.task_labelled
        if len(presentations) == 1:
            return Origins.all_like(presentations[0], len(decoded), task_labelled)
        labels, tasks = self._classes
        chosen = torch.empty(len(decoded), dtype=torch.int64)
        for number in decoded.labels.unique().tolist():
            members = decoded.labels == number
            label, task = keys[number]
            own = ((labels == label) & (tasks == task)).nonzero().squeeze(1)
            if len(rows[own].unique()) == 1:
                chosen[members] = rows[own[0]]
            else:
                chosen[members] = rows[own[_most_similar(decoded.images[members], self._images[own])]]
        used = chosen.unique()
        return Origins([presentations[int(n)] for n in used], torch.searchsorted(used, chosen), task_labelled)


def _most_similar(images: Tensor, candidates: Tensor) -> Tensor:
    """For each image the number of its copy among the candidates, or else of the nearest one by squared distance."""
    copies = {in_memory(image).numpy().tobytes(): number for number, image in enumerate(candidates)}
    numbers = torch.tensor([copies.get(image.numpy().tobytes(), -1) for image in images])
    others = (numbers < 0).nonzero().squeeze(1)
    if len(others):
        first, second = (part.flatten(1).to(torch.float32) for part in (images[others], candidates))
        numbers[others] = torch.cdist(first, second).argmin(1)
    return numbers
