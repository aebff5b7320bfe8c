"""Images in memory as a PyTorch data set."""

from typing import Any

from torch import Tensor
from torch.utils.data import Dataset


class TensorImages(Dataset[tuple[Any, Any]]):
    """Images with their labels; a sample is an image and its label.

    Args:
        images: (N, C, H, W).
        labels: (N,) int64, the samples' labels.
        targets: class indices, which Avalanche groups by; None takes the labels.
        tensor_labels: whether a sample's label is a tensor, as in a ``TensorDataset``, and not an int.

    Attributes:
        tensors: (images, labels) of all samples.
        targets: class indices as a list.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, targets: list[int] | None = None, tensor_labels: bool = False
    ) -> None:
        self.tensors = (images, labels)
        self.targets: list[int] = labels.tolist() if targets is None else targets
        self._labels = list(labels) if tensor_labels else labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.tensors[0][index], self._labels[index]
