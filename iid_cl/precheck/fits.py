"""Before a run: do memory and networks fit the data."""

import math
from collections.abc import Iterable

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, MethodName
from iid_cl.data.classes import Classes
from iid_cl.data.images import ImageDataset
from iid_cl.errors import UserError
from iid_cl.memory.space import Space
from iid_cl.methods.build import make_method
from iid_cl.nets import require_fit

ENCODED = 2  # classes of which an image is stored: encoding takes 10 ms and more


def check_methods(config: Config, methods: Iterable[MethodName], dataset: ImageDataset, classes: Iterable[int]) -> None:
    """Checks budget and networks of all methods that will run, by an image of some classes.

    Raises:
        UserError: a class without images, a budget without room for all classes, or a network or a storage that does
            not fit the images.
    """
    rows = {c: (dataset.train.labels == c).nonzero()[:1, 0] for c in classes}
    empty = next((c for c, found in rows.items() if not len(found)), None)
    if empty is not None:
        raise UserError(f"class {dataset.class_names[empty]!r} has no training images; leave it out, or give it some.")
    sample = Classes({c: dataset.train.images[rows[c]] for c in list(rows)[:ENCODED]})
    for name in methods:
        if not METHODS[name].bound:
            method = make_method(config, name)
            room = config.memory.budget.room(len(rows), math.prod(dataset.shape), method.compresses)
            method.check(sample, Space(config.memory.budget, room, paying=0))


def check_network(key: str, network: NetworkConfig, dataset: ImageDataset) -> None:
    """Builds the network once; ``key`` names its section of the configuration in the error.

    Raises:
        UserError: the network does not fit the images.
    """
    require_fit(key, network, dataset.shape, len(dataset.class_names))
