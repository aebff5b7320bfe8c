"""Networks, all with one ``embed`` contract, built from the configuration by :func:`build_network`."""

from collections.abc import Callable

import torch

from iid_cl.config.distill import EmbedderConfig, NetworkConfig
from iid_cl.errors import UserError
from iid_cl.nets.alexnet import AlexNet
from iid_cl.nets.base import Network, initialize
from iid_cl.nets.convnet import ConvNet
from iid_cl.nets.custom import NamedLayer
from iid_cl.nets.lenet import LeNet
from iid_cl.nets.mlp import MLP
from iid_cl.nets.resnet import ResNet18
from iid_cl.nets.vgg import VGG11

__all__ = [
    "MLP",
    "NETWORKS",
    "VGG11",
    "AlexNet",
    "ConvNet",
    "LeNet",
    "NamedLayer",
    "Network",
    "ResNet18",
    "build_network",
    "initialize",
]


def _convnet(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Network:
    _, height, width = shape
    depth = config.blocks(height, width)
    if min(height, width) >> depth < 1:
        raise UserError(
            f"depth: {depth} ConvNet blocks halve {height}x{width} images to nothing; "
            f"use at most {min(height, width).bit_length() - 1}."
        )
    # found by trying: what is distilled by one position of a normalised map (8 to 32 pixels) teaches far less
    if isinstance(config, EmbedderConfig) and config.norm != "none" and (height >> depth) * (width >> depth) == 1:
        raise UserError(
            f"depth: {depth} ConvNet blocks leave one position of {height}x{width} images, whose normalised features "
            f"distil to noise; use at most {max(height, width).bit_length() - 2}, or norm 'none'."
        )
    return ConvNet(
        shape,
        classes,
        width=config.width,
        depth=depth,
        norm=config.norm,
        activation=config.activation,
        pooling=config.pooling,
    )


def _alexnet(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Network:
    _require_side("alexnet", 8, shape)
    return AlexNet(shape, classes, norm=config.norm)


def _vgg11(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Network:
    if config.norm == "instance" and min(shape[1:]) < 32:
        raise UserError(
            f"norm: 'instance' in VGG-11 has nothing to normalise on {shape[1]}x{shape[2]} images, which its "
            "last stage shrinks to one row or column; use 'group' or 'batch', or images of at least 32x32."
        )
    return VGG11(shape, classes, norm=config.norm)


def _resnet18(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Network:
    if config.norm == "instance" and min(shape[1:]) < 16:
        raise UserError(
            f"norm: 'instance' in ResNet-18 has nothing to normalise on {shape[1]}x{shape[2]} images, which its "
            "last stage shrinks to one position; use 'group' or 'batch', or images of at least 16x16."
        )
    return ResNet18(shape, classes, norm=config.norm)


def _mlp(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Network:
    return MLP(shape, classes)


def _lenet(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Network:
    _require_side("lenet", 12, shape)
    return LeNet(shape, classes)


def _require_side(name: str, least: int, shape: tuple[int, int, int]) -> None:
    if min(shape[1:]) < least:
        raise UserError(
            f"name: {name!r} shrinks {shape[1]}x{shape[2]} images to nothing; use images of at least {least}x{least}, "
            "or 'convnet' of a lower depth, or 'mlp'."
        )


NETWORKS: dict[str, Callable[[NetworkConfig, tuple[int, int, int], int], Network]] = {
    "convnet": _convnet,
    "alexnet": _alexnet,
    "vgg11": _vgg11,
    "resnet18": _resnet18,
    "mlp": _mlp,
    "lenet": _lenet,
}


def build_network(
    config: NetworkConfig,
    shape: tuple[int, int, int],
    classes: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Network:
    """Builds and initialises a network without touching global random state.

    Args:
        config: architecture.
        shape: (channels, height, width) of its input.
        classes: number of outputs.
        generator: draws the initial weights, on the CPU, so that they don't depend on the device.
        device: where the network lives.

    Raises:
        UserError: the images are too small for the network, or for its norm.
    """
    with torch.device("meta"):
        network = NETWORKS[config.name](config, shape, classes)
    network = network.to_empty(device="cpu")
    initialize(network, generator)
    return network.to(device).to(memory_format=torch.channels_last)  # the faster layout on CPUs and GPUs
