"""Networks, all with one ``embed`` contract, built from the configuration by :func:`build_network`."""

from collections.abc import Callable

import torch

from iid_cl.config import NetworkConfig
from iid_cl.errors import UserError
from iid_cl.nets.base import Network, initialize
from iid_cl.nets.convnet import ConvNet
from iid_cl.nets.resnet import ResNet18

__all__ = ["NETWORKS", "ConvNet", "Network", "ResNet18", "build_network", "initialize"]


def _convnet(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Network:
    if min(shape[1:]) >> config.depth < 1:
        raise UserError(
            f"depth: {config.depth} ConvNet blocks halve {shape[1]}x{shape[2]} images to nothing; "
            f"use at most {min(shape[1:]).bit_length() - 1}."
        )
    return ConvNet(shape, classes, width=config.width, depth=config.depth, norm=config.norm)


def _resnet18(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Network:
    if config.norm == "instance" and min(shape[1:]) < 16:
        raise UserError(
            f"norm: 'instance' in ResNet-18 has nothing to normalise on {shape[1]}x{shape[2]} images, which its "
            "last stage shrinks to one position; use 'group' or 'batch', or images of at least 16x16."
        )
    return ResNet18(shape, classes, norm=config.norm)


NETWORKS: dict[str, Callable[[NetworkConfig, tuple[int, int, int], int], Network]] = {
    "convnet": _convnet,
    "resnet18": _resnet18,
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
        UserError: the network is too deep for the images.
    """
    with torch.device("meta"):
        network = NETWORKS[config.name](config, shape, classes)
    network = network.to_empty(device="cpu")
    initialize(network, generator)
    return network.to(device).to(memory_format=torch.channels_last)  # the faster layout on CPUs and GPUs
