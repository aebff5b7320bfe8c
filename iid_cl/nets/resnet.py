"""ResNet-18 for small images."""

from torch import Tensor, nn

from iid_cl.config.distill import NetworkConfig
from iid_cl.errors import UserError
from iid_cl.nets.base import NORMS, Network


class ResNet18(Network):
    """torchvision's ResNet-18 with a 3x3 stem and without the first pooling, as usual for 32x32 images.

    Args:
        shape: (channels, height, width) of the images.
        classes: number of outputs.
        norm: ``instance`` for the networks of class centralization, ``batch`` for a learner.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, norm: str = "instance") -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock, ResNet  # imported late: it takes a second

        body = ResNet(BasicBlock, [2, 2, 2, 2], norm_layer=NORMS[norm])
        self.stem = nn.Sequential(nn.Conv2d(shape[0], 64, 3, padding=1, bias=False), NORMS[norm](64), nn.ReLU())
        self.stages = nn.Sequential(body.layer1, body.layer2, body.layer3, body.layer4)
        self.classifier = nn.Linear(512, classes)

    def embed(self, images: Tensor) -> Tensor:
        """(N, c, H, W) to (N, 512, H / 8, W / 8)."""
        features: Tensor = self.stages(self.stem(images))
        return features

    def pool(self, features: Tensor) -> Tensor:
        """The mean over positions, (N, 512)."""
        return features.mean((2, 3))


def build_resnet18(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> ResNet18:
    """The configured network.

    Raises:
        UserError: instance norm on images of fewer than 16 pixels a side.
    """
    if config.norm == "instance" and min(shape[1:]) < 16:
        raise UserError(
            f"norm: 'instance' in ResNet-18 has nothing to normalise on {shape[1]}x{shape[2]} images, which its "
            "last stage shrinks to one position; use 'group' or 'batch', or images of at least 16x16."
        )
    return ResNet18(shape, classes, norm=config.norm)
