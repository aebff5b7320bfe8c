"""Networks with one ``embed`` contract, built from the configuration by :func:`build_network`."""

from collections.abc import Callable

import torch

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.networks import NetworkName
from iid_cl.errors import UserError
from iid_cl.nets.alexnet import AlexNet, build_alexnet
from iid_cl.nets.base import Network, initialize
from iid_cl.nets.convnet import ConvNet, build_convnet
from iid_cl.nets.custom import NamedLayer
from iid_cl.nets.lenet import LeNet, build_lenet
from iid_cl.nets.mlp import MLP, build_mlp
from iid_cl.nets.resnet import ResNet18, build_resnet18
from iid_cl.nets.vgg import VGG11, build_vgg11

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

NETWORKS: dict[NetworkName, Callable[[NetworkConfig, tuple[int, int, int], int], Network]] = {
    "convnet": build_convnet,
    "alexnet": build_alexnet,
    "vgg11": build_vgg11,
    "resnet18": build_resnet18,
    "mlp": build_mlp,
    "lenet": build_lenet,
}
"""The builder of each network. It takes the network's configuration, the images' (channels, height, width) and the
number of classes, and raises a :class:`iid_cl.errors.UserError` if the images are too small."""


def require_fit(key: str, config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> None:
    """Builds the network once; ``key`` names its section of the configuration in the error.

    Raises:
        UserError: the images are too small for it.

    >>> from iid_cl.config.distill import EmbedderConfig
    >>> require_fit("model", EmbedderConfig(width=4), (1, 28, 28), 10)
    """
    try:
        build_network(config, shape, classes, torch.Generator())
    except UserError as error:
        raise UserError(f"{key}.{error}") from None


def build_network(
    config: NetworkConfig,
    shape: tuple[int, int, int],
    classes: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Network:
    """Builds and initialises a network without touching global random state.

    Args:
        config: the architecture.
        shape: (channels, height, width) of the images.
        classes: number of outputs.
        generator: draws the initial weights on the CPU, so that they don't depend on the device.
        device: the network's device.

    Raises:
        UserError: the images are too small for the network or its norm.
    """
    with torch.device("meta"):
        network = NETWORKS[config.name](config, shape, classes)
    network = network.to_empty(device="cpu")
    initialize(network, generator)
    network = network.to(device)
    # on a CPU group norm, which serves as instance norm, is slow in this layout; all else is faster
    contiguous = torch.device(device).type == "cpu" and config.norm in ("instance", "group")
    return network if contiguous else network.to(memory_format=torch.channels_last)
