"""Before a run: do memory and networks fit the data."""

import math
from collections.abc import Iterable

import torch

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, MethodName
from iid_cl.data.images import ImageDataset
from iid_cl.errors import UserError
from iid_cl.memory.partition import cut, reduce_bytes
from iid_cl.nets import require_fit


def check_methods(config: Config, methods: Iterable[MethodName], dataset: ImageDataset, classes: Iterable[int]) -> None:
    """Checks budget and networks of all methods that will run.

    Raises:
        UserError: a class without images, a budget without room for all classes, or a network, partition or
            downscale that does not fit the images.
    """
    memories = [METHODS[name] for name in methods if not METHODS[name].bound]
    classes = list(classes)
    counts = dataset.train.labels.bincount(minlength=len(dataset.class_names))
    empty = next((c for c in classes if not counts[c]), None)
    if empty is not None:
        raise UserError(f"class {dataset.class_names[empty]!r} has no training images; leave it out, or give it some.")
    if memories:
        config.memory.budget.room(len(classes), math.prod(dataset.shape))
    if any(info.real for info in memories):
        reduce_bytes(torch.empty(1, *dataset.shape, dtype=torch.uint8), config.memory.downscale)
    if any(info.distils for info in memories):
        check_network("distill.embedder", config.distill.embedder, dataset)
        cut(torch.empty(1, *dataset.shape), config.distill.factor)
        if config.distill.cc.weight > 0 or config.memory.soft_labels:
            check_network("distill.cc.network", config.distill.cc.network, dataset)


def check_network(key: str, network: NetworkConfig, dataset: ImageDataset) -> None:
    """Builds the network once; ``key`` names its section of the configuration in the error.

    Raises:
        UserError: the network does not fit the images.
    """
    require_fit(key, network, dataset.shape, len(dataset.class_names))
