"""The classes that a memory condenses: their images, and what these stand for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Classes:
    """Images of several classes, all of one shape.

    Attributes:
        images: uint8 images (n_c, C, H, W) of each class index.
        weights: how many images each one stands for, floating point (n_c,); the images of classes that are left out
            stand for themselves. A class that comes back holds the exemplars kept of it, each of which stands for
            several.
        start: what distilled images start from, uint8 (m_c, C, H, W) of each class; None: random images of the class.
    """

    images: Mapping[int, Tensor]
    weights: Mapping[int, Tensor] = field(default_factory=dict)
    start: Mapping[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = next(iter(self.images.values())).shape[1:]
        return channels, height, width

    def of(self, labels: Iterable[int]) -> "Classes":
        """Some of the classes."""
        chosen = set(labels)
        return Classes(_some(self.images, chosen), _some(self.weights, chosen), self.start)


def _some(by_class: Mapping[int, Tensor], labels: set[int]) -> dict[int, Tensor]:
    return {label: each for label, each in by_class.items() if label in labels}
