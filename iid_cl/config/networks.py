"""The networks by name, and which keys each one takes.

A new network is an entry here and one in :data:`iid_cl.nets.NETWORKS`. Imports no torch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class NetworkInfo:
    """An architecture.

    Attributes:
        name: name in the configuration.
        keys: keys of :class:`iid_cl.config.distill.NetworkConfig` that it takes besides ``name``.
    """

    name: str
    keys: tuple[str, ...] = ()


NETWORK_INFO: dict[str, NetworkInfo] = {
    info.name: info
    for info in (
        NetworkInfo("convnet", ("width", "depth", "norm")),
        NetworkInfo("alexnet", ("norm",)),
        NetworkInfo("vgg11", ("norm",)),
        NetworkInfo("resnet18", ("norm",)),
        NetworkInfo("mlp"),
        NetworkInfo("lenet"),
    )
}

if TYPE_CHECKING:
    NetworkName = str
else:
    NetworkName = Literal[tuple(NETWORK_INFO)]  # what a configuration accepts, and the schema lists
