"""The classes that a memory condenses: their images and weights."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Classes:
    """Images of several classes, all of one shape.

    Attributes:
        images: uint8 images (n_c, C, H, W) of each class index.
        weights: number of images that each image stands for, floating point (n_c,) of each class index. Without an
            entry, each image of a class counts once. A class that comes back includes its stored exemplars, each of
            which stands for several images.
        start: initial values of distilled images, uint8 (m_c, C, H, W) of each class; None: random images of the class.
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
        """The classes with these labels; ``start`` stays whole."""
        wanted = set(labels)
        images, weights = (
            {label: tensor for label, tensor in by_class.items() if label in wanted}
            for by_class in (self.images, self.weights)
        )
        return Classes(images, weights, self.start)
