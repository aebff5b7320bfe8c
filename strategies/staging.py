"""Online streams: images that arrive in small experiences, set aside until the experience they were cut from ends.

A class is condensed best from all of its images at once. Where the stream tells where a task ends, its
sub-experiences are therefore collected; where it does not, each is condensed by itself.
"""

from typing import Any

import torch
from torch import Tensor

from iid_cl.data.images import LabelledImages


class Staging:
    """Collects the sub-experiences of an online stream."""

    def __init__(self) -> None:
        self._parts: list[tuple[LabelledImages, Tensor]] = []
        self._arrived = 0  # sub-experiences since the task began

    @property
    def nbytes(self) -> int:
        """Bytes of the images set aside, with two bytes per label as in a memory."""
        return sum(images.images.nbytes + 2 * len(images) for images, _ in self._parts)

    def collect(self, experience: Any, images: LabelledImages, tasks: Tensor) -> tuple[LabelledImages, Tensor] | None:
        """Adds an experience's images and says what is to be condensed now.

        Args:
            experience: what the images came with.
            images: its images, uint8 (N, C, H, W).
            tasks: their task labels (N,).

        Returns:
            All images set aside and these, with their task labels, at the end of a task and for an experience that
            says nothing of tasks; None while the task goes on. Images set aside stay so until :meth:`clear`, so that
            the last part of a task can come again where condensing it failed.
        """
        arrived = self._arrived_with(experience)
        # Avalanche 0.6 marks no sub-experience as the last where the size divides the experience, so they are counted
        if arrived and not (experience.is_last_subexp or arrived == experience.sub_stream_length):
            self._parts.append((images, tasks))
            self._arrived = arrived
            return None
        parts = [*self._parts, (images, tasks)]
        if len(parts) == 1:
            return parts[0]
        joined = LabelledImages(
            torch.cat([one.images for one, _ in parts]),
            torch.cat([one.labels for one, _ in parts]),
        )
        return joined, torch.cat([labels for _, labels in parts])

    def clear(self) -> None:
        """Forgets the images set aside: the memory has what it needs of them."""
        self._parts = []
        self._arrived = 0

    def _arrived_with(self, experience: Any) -> int:
        """Sub-experiences of the task, this one included; 0 where nothing is known of tasks."""
        if not getattr(experience, "access_task_boundaries", False):
            return 0
        return 1 if experience.is_first_subexp else self._arrived + 1
