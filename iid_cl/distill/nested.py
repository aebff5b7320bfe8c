"""A nested order of distilled images: however many of the first ones are kept, they stand for all."""

import torch

from iid_cl.config.distill import NetworkConfig
from iid_cl.data.images import Normalization
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.selection import features_of, select_herding
from iid_cl.nets import build_network

NETWORKS = 8


def nested(
    memory: ExemplarSet,
    embedder: NetworkConfig,
    *,
    normalization: Normalization,
    device: torch.device | str,
    generator: torch.Generator,
) -> ExemplarSet:
    """The same images, those of each class in the order in which herding picks them.

    Each next image brings the mean of the first ones closest to the mean of all, in the features of networks drawn at
    random, under which distillation matched that mean to the class's own. A grid of smaller images is seen as the mean
    of their features.

    Args:
        memory: distilled images.
        embedder: the networks.
        normalization: what networks see.
        device: where to look at the images.
        generator: draws the networks.
    """
    shown = memory.decoded().images
    shape = (shown.shape[1], shown.shape[2], shown.shape[3])
    networks = [build_network(embedder, shape, 1, generator, device).eval() for _ in range(NETWORKS)]
    seen = torch.cat([features_of(shown, each.features, normalization, device) for each in networks], dim=1).cpu()
    features = seen.unflatten(0, (len(memory), -1)).mean(1)
    orders = [(memory.labels == label).nonzero().squeeze(1) for label in memory.classes]
    return memory.take(torch.cat([rows[select_herding(features[rows], len(rows))] for rows in orders]))
