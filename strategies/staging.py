"""Online streams: images that arrive in small experiences are set aside until their task ends.

A class is condensed best from all its images at once. So sub-experiences are collected where the stream tells where a
task ends. Otherwise each is condensed by itself.
"""

from functools import reduce
from typing import Any

from .samples import Samples


class Staging:
    """Collects the sub-experiences of an online stream."""

    def __init__(self) -> None:
        self._parts: list[Samples] = []
        self._arrived = 0  # sub-experiences since the task began

    @property
    def nbytes(self) -> int:
        """Bytes of the images set aside, with two bytes per label as in a memory."""
        return sum(part.images.images.nbytes + 2 * len(part) for part in self._parts)

    def collect(self, experience: Any, samples: Samples) -> Samples | None:
        """Adds an experience's samples; returns what to condense now.

        That is None while the task goes on. At its end, and for an experience without task boundaries, it is all that
        was set aside and these. Samples stay set aside until :meth:`clear`, so that the last part of a task can come
        again if condensing it fails.
        """
        arrived = self._arrived_with(experience)
        # counted, as Avalanche 0.6 marks no sub-experience as the last if the size divides the experience
        if arrived and not (experience.is_last_subexp or arrived == experience.sub_stream_length):
            self._parts.append(samples)
            self._arrived = arrived
            return None
        return reduce(Samples.join, [*self._parts, samples])

    def clear(self) -> None:
        """Forgets the images set aside, which the memory has condensed."""
        self._parts = []
        self._arrived = 0

    def _arrived_with(self, experience: Any) -> int:
        """Number of sub-experiences of the task so far, with this experience; 0 without task boundaries."""
        if not getattr(experience, "access_task_boundaries", False):
            return 0
        return 1 if experience.is_first_subexp else self._arrived + 1
