"""A multilayer perceptron."""

from torch import Tensor, nn

from iid_cl.config.distill import NetworkConfig
from iid_cl.nets.base import Network

WIDTH = 128


class MLP(Network):
    """Three linear layers with ReLU between them, on the image's pixels (DC, ICLR 2021).

    Args:
        shape: (channels, height, width) of the images.
        classes: number of outputs.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, wide = shape
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * height * wide, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.classifier = nn.Linear(WIDTH, classes)

    def embed(self, images: Tensor) -> Tensor:
        """(N, c, H, W) to the second hidden layer's output as a map of one position, (N, 128, 1, 1)."""
        features: Tensor = self.layers(images)
        return features[:, :, None, None]


def build_mlp(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> MLP:
    """The network; its configuration has no keys."""
    return MLP(shape, classes)
