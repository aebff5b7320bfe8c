"""Online streams: images that arrive in small experiences, set aside until the experience they were cut from ends.

A class is condensed best from all of its images at once. Where the stream tells where a task ends, its
sub-experiences are therefore collected; where it does not, each is condensed by itself.
"""

from typing import Any

import torch

from iid_cl.data.images import LabelledImages


class Staging:
    """Collects the sub-experiences of an online stream.

    Attributes:
        nbytes: bytes of the images set aside, and of two-byte labels as a memory keeps them.
    """

    def __init__(self) -> None:
        self._images: list[LabelledImages] = []
        self._tasks: list[int] = []
        self._arrived = 0  # sub-experiences since the task began

    @property
    def nbytes(self) -> int:
        return sum(part.images.nbytes + 2 * len(part.labels) for part in self._images)

    def collect(
        self, experience: Any, images: LabelledImages, tasks: list[int] | None
    ) -> tuple[LabelledImages, list[int] | None] | None:
        """Adds an experience's images and says what is to be condensed now.

        Args:
            experience: what the images came with.
            images: its images, uint8 (N, C, H, W).
            tasks: N task labels, or None where samples carry none; the same kind throughout a stream.

        Returns:
            All images set aside and these, with their task labels, at the end of a task and for an experience that
            says nothing of tasks; None while the task goes on.
        """
        goes_on = self._task_goes_on(experience)
        if not goes_on and not self._images:
            return images, tasks
        self._images.append(images)
        self._tasks += tasks or []
        if goes_on:
            return None
        joined = LabelledImages(
            torch.cat([part.images for part in self._images]), torch.cat([part.labels for part in self._images])
        )
        labels = self._tasks if tasks is not None else None
        self._images, self._tasks = [], []
        return joined, labels

    def _task_goes_on(self, experience: Any) -> bool:
        if not getattr(experience, "access_task_boundaries", False):
            return False
        self._arrived = 1 if experience.is_first_subexp else self._arrived + 1
        # Avalanche 0.6 marks no sub-experience as the last where the size divides the experience, so they are counted
        return not (experience.is_last_subexp or self._arrived == experience.sub_stream_length)
