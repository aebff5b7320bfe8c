"""Networks with one ``embed`` contract, built from the configuration by :func:`build_network`."""

from collections.abc import Callable

import torch

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.networks import info_of, is_address
from iid_cl.errors import UserError
from iid_cl.nets.alexnet import AlexNet, build_alexnet
from iid_cl.nets.base import Network, initialize
from iid_cl.nets.convnet import ConvNet, build_convnet
from iid_cl.nets.custom import NamedLayer
from iid_cl.nets.lenet import LeNet, build_lenet
from iid_cl.nets.libraries import build_backbone
from iid_cl.nets.mlp import MLP, build_mlp
from iid_cl.nets.resnet import ResNet18, build_resnet18
from iid_cl.nets.vgg import VGG11, build_vgg11
from iid_cl.nets.weights import load_features, read_weights

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

NETWORKS: dict[str, Callable[[NetworkConfig, tuple[int, int, int], int], Network]] = {
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
        if config.pretrained or is_address(config.name):  # weights have to be there, a library has to know the network
            build_network(config, shape, classes, torch.Generator())
        else:
            _without_weights(config, shape, classes)
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
        config: the architecture, and its weights if they are trained.
        shape: (channels, height, width) of the images.
        classes: number of outputs.
        generator: draws the initial weights on the CPU, so that they don't depend on the device. With trained weights
            it draws those of the head alone.
        device: the network's device.

    Raises:
        UserError: the images are too small for the network or its norm, or trained weights cannot be had.
    """
    if is_address(config.name):
        network: Network = build_backbone(config, shape, classes, generator)
        initialize(network.classifier, generator)
    else:
        network = _without_weights(config, shape, classes).to_empty(device="cpu")
        initialize(network, generator)
        if config.pretrained:
            _load(network, config)
    network = network.to(device)
    if config.freeze == "features":
        network.freeze()
    # on a CPU group norm, which serves as instance norm, is slow in this layout; all else is faster
    grouped = config.norm in ("instance", "group") and not is_address(config.name)
    contiguous = torch.device(device).type == "cpu" and grouped
    return network if contiguous else network.to(memory_format=torch.channels_last)


def _without_weights(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Network:
    with torch.device("meta"):
        return NETWORKS[config.name](config, shape, classes)


def _load(network: Network, config: NetworkConfig) -> None:
    """Loads all but the head from a file.

    Raises:
        UserError: it holds another network.
    """
    tensors, about = read_weights(config.weights)
    for key in ("name", *info_of(config.name).keys):
        if about is not None and key in ("name", "width", "depth", "norm") and about.get(key) != getattr(config, key):
            raise UserError(
                f"weights: {config.weights}: holds a network of {key} {about.get(key)}, not "
                f"{getattr(config, key)}; set {key}: {about.get(key)}."
            )
    load_features(network, tensors, ("classifier",), config.weights)
