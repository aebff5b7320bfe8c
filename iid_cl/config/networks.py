"""The networks by name and by address, and which keys each one takes.

A new network is an entry here and one in :data:`iid_cl.nets.NETWORKS`. Imports no torch.
"""

import difflib
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from iid_cl.config.base import Line


@dataclass(frozen=True)
class NetworkInfo:
    """An architecture, or a library of them.

    Attributes:
        name: name in the configuration; for a library, what stands before the colon.
        keys: keys of :class:`iid_cl.config.distill.NetworkConfig` that it takes besides ``name``.
    """

    name: str
    keys: tuple[str, ...] = ()


_TRAINED = ("weights", "freeze")

NETWORK_INFO: dict[str, NetworkInfo] = {
    info.name: info
    for info in (
        NetworkInfo("convnet", ("width", "depth", "norm", *_TRAINED)),
        NetworkInfo("alexnet", ("norm", *_TRAINED)),
        NetworkInfo("vgg11", ("norm", *_TRAINED)),
        NetworkInfo("resnet18", ("norm", *_TRAINED)),
        NetworkInfo("mlp", _TRAINED),
        NetworkInfo("lenet", _TRAINED),
    )
}

LIBRARIES: dict[str, NetworkInfo] = {
    info.name: info
    for info in (
        NetworkInfo("timm", (*_TRAINED, "resize")),
        NetworkInfo("torchvision", (*_TRAINED, "resize")),
    )
}
ADDRESS = rf"^({'|'.join(LIBRARIES)}):.+"


def is_address(name: str) -> bool:
    """Whether a name is that of a library's network, such as ``timm:resnet18.a1_in1k``."""
    kind, _, model = name.partition(":")
    return kind in LIBRARIES and bool(model)


def info_of(name: str) -> NetworkInfo:
    """The entry of a network's name, or of the library in its address."""
    return NETWORK_INFO[name] if name in NETWORK_INFO else LIBRARIES[name.partition(":")[0]]


def _known(name: str) -> str:
    if name in NETWORK_INFO or is_address(name):
        return name
    near = difflib.get_close_matches(name, NETWORK_INFO, n=1)
    hint = f"perhaps {near[0]!r} is meant" if near else f"use {', '.join(NETWORK_INFO)}"
    raise ValueError(f"no network has this name; {hint}, or an address that begins with {': or '.join(LIBRARIES)}:")


_SCHEMA = {"type": "string", "anyOf": [{"enum": list(NETWORK_INFO)}, {"pattern": ADDRESS}]}
NetworkName = Annotated[Line, AfterValidator(_known), WithJsonSchema(_SCHEMA)]
NAMES = f"{', '.join(NETWORK_INFO)}, timm:NAME or torchvision:NAME"
