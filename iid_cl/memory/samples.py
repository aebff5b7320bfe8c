"""A memory's images as a PyTorch data set: to train on, at full size."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError

Transform = Callable[[Tensor], Any]


class MemorySamples(Dataset[tuple[Any, Any]]):
    """Images as floats (C, H, W) from 0 to 1 with their class index, as from torchvision's ``ToTensor``.

    An index may be a whole number, or anything that selects several rows of a tensor, such as a slice. Several samples
    come as tensors (n, C, H, W) and (n,).

    Args:
        images: uint8 images with labels.
        transform: called with each image, such as one of torchvision's; its results are stacked for several samples.
        device: where samples are, before their transform.

    >>> stored = LabelledImages(torch.full((2, 1, 1, 1), 51, dtype=torch.uint8), [0, 7])
    >>> MemorySamples(stored)[1]
    (tensor([[[0.2000]]]), 7)
    >>> MemorySamples(stored, torch.Tensor.item)[:]
    (tensor([0.2000, 0.2000]), tensor([0, 7]))
    """

    def __init__(
        self, images: LabelledImages, transform: Transform | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self._images, self._labels = images.images.to(device), images.labels.to(device)
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images)"

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        images = self._images[index].to(torch.float32) / 255
        if images.ndim == 3:
            return self._transformed(images), int(self._labels[index])
        if self._transform is None or not len(images):
            return images, self._labels[index]
        return torch.stack([torch.as_tensor(self._transformed(image)) for image in images]), self._labels[index]

    def _transformed(self, image: Tensor) -> Any:
        return image if self._transform is None else self._transform(image)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Any, Any]:
        """Samples drawn uniformly; none comes again before all have come.

        Raises:
            UserError: a count below 1, or no images.
        """
        if count < 1 or not len(self):
            raise UserError(f"a batch of {count} from a memory of {len(self)} images; give a count of at least 1.")
        passes = -(-count // len(self))
        rows = torch.cat([torch.randperm(len(self), generator=generator) for _ in range(passes)])
        return self[rows[:count].to(self._labels.device)]
