"""The ConvNet of the dataset-distillation literature."""

from torch import Tensor, nn

from iid_cl.config.distill import EmbedderConfig, NetworkConfig
from iid_cl.errors import UserError
from iid_cl.nets.base import NORMS, Network


class ConvNet(Network):
    """``depth`` blocks of 3x3 convolution, norm, ReLU and 2x2 mean pooling (DC, ICLR 2021).

    Args:
        shape: (channels, height, width) of the images; height and width at least 2**depth.
        classes: number of outputs.
        width: channels of each block (published: 128).
        depth: number of blocks (published: 3 for 32x32 images, 4 for 64x64).
        norm: ``instance``, ``group`` and ``none`` act per sample; ``batch`` ties the samples together.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        width: int = 128,
        depth: int = 3,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        channels, height, wide = shape
        blocks: list[nn.Module] = []
        for _ in range(depth):
            blocks += [nn.Conv2d(channels, width, 3, padding=1), NORMS[norm](width), nn.ReLU(), nn.AvgPool2d(2)]
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width * (height >> depth) * (wide >> depth), classes)

    def embed(self, images: Tensor) -> Tensor:
        """(N, c, H, W) to (N, width, H / 2**depth, W / 2**depth)."""
        features: Tensor = self.blocks(images)
        return features


def build_convnet(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> ConvNet:
    """The configured network; a depth of None becomes the default for images of this shape.

    Raises:
        UserError: the depth leaves nothing of the images, or leaves an embedder one position to normalise over.
    """
    _, height, width = shape
    depth = config.blocks(height, width)
    if min(height, width) >> depth < 1:
        raise UserError(
            f"depth: {depth} ConvNet blocks halve {height}x{width} images to nothing; "
            f"use at most {min(height, width).bit_length() - 1}."
        )
    # measured on 8 to 32 pixels: images distilled by one position of a normalised map teach far less
    if isinstance(config, EmbedderConfig) and config.norm != "none" and (height >> depth) * (width >> depth) == 1:
        raise UserError(
            f"depth: {depth} ConvNet blocks leave one position of {height}x{width} images, whose normalised features "
            f"distil to noise; use at most {max(height, width).bit_length() - 2}, or norm 'none'."
        )
    return ConvNet(shape, classes, width=config.width, depth=depth, norm=config.norm)
