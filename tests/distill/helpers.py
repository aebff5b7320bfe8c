"""What the tests of the engine share: scikit-learn's digits, tiny settings, and networks trained on them."""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits

from iid_cl.config.distill import CentralizationConfig, CovarianceConfig, DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.data.classes import Classes
from iid_cl.data.images import Normalization
from iid_cl.data.lens import Lens
from iid_cl.distill import distill
from iid_cl.distill.trained import train_networks

CPU = torch.device("cpu")
GREY = Normalization((0.3,), (0.4,))
NAMES = ("color", "crop", "cutout", "scale", "rotate")
LENS = Lens(GREY, NAMES, CPU)
SMALL = {"name": "convnet", "width": 8, "depth": 2}
PLAIN = {"scale": "published", "lr": 2.0}  # the losses as METHOD.md states them


@cache
def digits():
    bundle = load_digits()
    images = torch.from_numpy(np.round(bundle.images * 15).astype(np.uint8))[:, None]
    return images, torch.from_numpy(bundle.target)


def images_of(*classes, count=30):
    images, labels = digits()
    return {c: images[labels == c][:count].clone() for c in classes}


def settings(*, cm=0.0, cc=0.0, cc_options=None, **options):
    values = {"iterations": 8, "real_batch": 8, "lr": 0.02, "scale": "relative", "augment": None, **options}
    return DistillConfig(
        **{"embedder": EmbedderConfig(**SMALL)} | values,
        cm=CovarianceConfig(weight=cm),
        cc=CentralizationConfig(
            **{"weight": cc, "network": NetworkConfig(**SMALL), "trainings": 1, "epochs": 2, "snapshots": 2}
            | (cc_options or {})
        ),
    )


def condense(groups, config, *, seed=0, ipc=3, augmentations=NAMES, **options):
    options = {"device": "cpu", "normalization": GREY} | options
    generator = torch.Generator().manual_seed(seed)
    return distill(groups, config, ipc=ipc, generator=generator, augmentations=augmentations, **options)


def initial_images(groups, config, **options):
    """What the run starts from: a learning rate that moves no pixel by a grey level."""
    return condense(groups, config.model_copy(update={"lr": 1e-12}), **options)


def reported_terms(config, groups=None, **options):
    """The terms of each reported iteration."""
    seen = {}
    condense(groups or images_of(2, 5), config, on_step=lambda i, terms: seen.update({i: terms}), **options)
    return seen


def pool(groups, weights=None, **options):
    network = NetworkConfig(**SMALL)
    config = CentralizationConfig(**{"network": network, "trainings": 2, "epochs": 2, "snapshots": 2} | options)
    return train_networks(Classes(groups, weights or {}), config, Lens(GREY, ("crop", "scale"), CPU), 5)


def feature_spread(network, images):
    """Mean squared distance to the class mean, in float64, of uint8 images."""
    with torch.no_grad():
        features = network.features(GREY.apply(images)).double().numpy()
    return float(((features - features.mean(0)) ** 2).sum(1).mean())


def changed_share(a, b):
    return float((a != b).float().mean())


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
