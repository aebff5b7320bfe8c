"""Features by which selection rules choose, where no learner has seen the images."""

from collections.abc import Mapping

import torch
from torch import Tensor

from iid_cl.config.distill import CentralizationConfig, NetworkConfig
from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens
from iid_cl.distill.trained import train_networks
from iid_cl.memory.selection import FeatureExtractor
from iid_cl.methods.base import Features
from iid_cl.nets import build_network
from iid_cl.seeding import draw_seed, make_generator


def trained_features(network: NetworkConfig, training: CentralizationConfig) -> Features:
    """Features of a network trained on the arriving images, for as many epochs as those of class centralization.

    Frozen features are taken as they are: training would change the head alone.
    """
    single = training.model_copy(update={"trainings": 1, "snapshots": 1, "network": network})

    def make(images: Mapping[int, Tensor], lens: Lens, generator: torch.Generator) -> FeatureExtractor:
        if network.freeze == "features":
            sample = next(iter(images.values()))
            shape = (sample.shape[1], sample.shape[2], sample.shape[3])
            frozen = build_network(network, shape, len(images), make_generator(0), lens.device).eval()
            return lambda batch: frozen.features(lens.show(batch))
        (trained,) = train_networks(Classes(images), single, lens, draw_seed(generator))
        return lambda batch: trained.network.features(lens.show(batch))

    return make
