"""LeNet-5 with ReLU and max pooling."""

from torch import Tensor, nn

from iid_cl.config.distill import NetworkConfig
from iid_cl.nets.base import Network, require_side


class LeNet(Network):
    """Two 5x5 convolutions and three linear layers (LeCun et al. 1998, with ReLU and max pooling as in DC, ICLR 2021).

    Args:
        shape: (channels, height, width) of the images; height and width at least 12.
        classes: number of outputs.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, wide = shape
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        positions = ((height // 2 - 4) // 2) * ((wide // 2 - 4) // 2)
        self.hidden = nn.Sequential(nn.Linear(16 * positions, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU())
        self.classifier = nn.Linear(84, classes)

    def embed(self, images: Tensor) -> Tensor:
        """(N, c, H, W) to (N, 16, H / 4 - 2, W / 4 - 2)."""
        features: Tensor = self.layers(images)
        return features

    def pool(self, features: Tensor) -> Tensor:
        """The two hidden linear layers: (N, 84)."""
        hidden: Tensor = self.hidden(features.flatten(1))
        return hidden


def build_lenet(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> LeNet:
    """The network; its configuration has no keys.

    Raises:
        UserError: images of fewer than 12 pixels a side.
    """
    require_side("lenet", 12, shape)
    return LeNet(shape, classes)
