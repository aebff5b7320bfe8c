"""AlexNet for small images."""

from torch import Tensor, nn

from iid_cl.config.distill import NetworkConfig
from iid_cl.nets.base import NORMS, Network, require_side

STAGES = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))  # channels, kernel, pooled


class AlexNet(Network):
    """Five convolutions, each with norm and ReLU, and three 2x2 max poolings (DC, ICLR 2021).

    The published network pads 1-channel images to 32x32; here the padding keeps every image's size.

    Args:
        shape: (channels, height, width) of the images; height and width at least 8.
        classes: number of outputs.
        norm: ``instance``, ``group`` and ``none`` act per sample; ``batch`` ties the samples together.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, norm: str = "instance") -> None:
        super().__init__()
        channels, height, wide = shape
        layers: list[nn.Module] = []
        for width, kernel, pooled in STAGES:
            layers += [nn.Conv2d(channels, width, kernel, padding=kernel // 2), NORMS[norm](width), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pooled else []
            channels = width
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels * (height >> 3) * (wide >> 3), classes)

    def embed(self, images: Tensor) -> Tensor:
        """(N, c, H, W) to (N, 192, H / 8, W / 8)."""
        features: Tensor = self.layers(images)
        return features


def build_alexnet(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> AlexNet:
    """The configured network.

    Raises:
        UserError: images of fewer than 8 pixels a side.
    """
    require_side("alexnet", 8, shape)
    return AlexNet(shape, classes, norm=config.norm)
