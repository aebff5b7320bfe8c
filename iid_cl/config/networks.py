"""The networks by name, and which keys each one takes.

A new network is an entry here and one in :data:`iid_cl.nets.NETWORKS`. Imports no torch.
"""

from dataclasses import dataclass
from typing import Literal

NetworkName = Literal["convnet", "alexnet", "vgg11", "resnet18", "mlp", "lenet"]


@dataclass(frozen=True)
class NetworkInfo:
    """An architecture.

    Attributes:
        name: in the configuration.
        keys: of :class:`iid_cl.config.distill.NetworkConfig` that it takes besides its name.
    """

    name: NetworkName
    keys: tuple[str, ...] = ()


NETWORK_INFO: dict[NetworkName, NetworkInfo] = {
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
