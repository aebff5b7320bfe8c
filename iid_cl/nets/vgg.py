"""VGG-11 for small images."""

from torch import Tensor, nn

from iid_cl.config.distill import NetworkConfig
from iid_cl.errors import UserError
from iid_cl.nets.base import NORMS, Network

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # channels of the convolutions before each pooling


class VGG11(Network):
    """Eight 3x3 convolutions, each with norm and ReLU, 2x2 max poolings and one linear layer (DC, ICLR 2021).

    A pooling is left out once the map is a single row or column, so that every image size is possible. The fifth
    pooling follows the last norm, so that instance norm has at least 2x2 positions on images of at least 32x32.

    Args:
        shape: (channels, height, width) of the images; height and width at least 32 with ``instance``.
        classes: number of outputs.
        norm: ``instance``, ``group`` and ``none`` act per sample; ``batch`` ties the samples together.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, norm: str = "instance") -> None:
        super().__init__()
        channels, height, wide = shape
        layers: list[nn.Module] = []
        for stage in STAGES:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), NORMS[norm](width), nn.ReLU()]
                channels = width
            if min(height, wide) > 1:
                layers.append(nn.MaxPool2d(2))
                height, wide = height // 2, wide // 2
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels * height * wide, classes)

    def embed(self, images: Tensor) -> Tensor:
        """(N, c, H, W) to (N, 512, H / 32, W / 32); sides are halved while both are greater than 1."""
        features: Tensor = self.layers(images)
        return features


def build_vgg11(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> VGG11:
    """The configured network.

    Raises:
        UserError: instance norm on images of fewer than 32 pixels a side.
    """
    if config.norm == "instance" and min(shape[1:]) < 32:
        raise UserError(
            f"norm: 'instance' in VGG-11 has nothing to normalise on {shape[1]}x{shape[2]} images, which its "
            "last stage shrinks to one row or column; use 'group' or 'batch', or images of at least 32x32."
        )
    return VGG11(shape, classes, norm=config.norm)
