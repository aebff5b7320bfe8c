"""Small networks and pictures for the tests of this folder."""

import torch

from iid_cl.config.distill import NetworkConfig
from iid_cl.nets import build_network

NORMLESS = ("mlp", "lenet")  # architectures without a norm to choose


def shape_for(name):
    """A small shape that an architecture accepts with every norm."""
    return (3, 32, 32) if name == "vgg11" else (3, 16, 16)


def build(shape=None, classes=5, seed=0, **options):
    name = options.setdefault("name", "convnet")
    if name == "convnet":
        options = {"width": 8, "depth": 2} | options
    generator = torch.Generator().manual_seed(seed)
    return build_network(NetworkConfig(**options), shape or shape_for(name), classes, generator)


def pictures(count=4, shape=(3, 16, 16), seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def count_parameters(network):
    return sum(p.numel() for p in network.parameters())


def by_hand(network, images, plan):
    """The feature map of convolutions (their kernel sizes) and max poolings ("M"), with instance norm and ReLU."""
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    x = images.double()
    for step in plan:
        if step == "M":
            x = x[..., : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2].unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1))
            continue
        layer = convolutions.pop(0)
        assert layer.kernel_size == (step, step)
        x = torch.nn.functional.pad(x, [step // 2] * 4)
        patches = x.unfold(2, step, 1).unfold(3, step, 1)
        x = torch.einsum("nchwij,ocij->nohw", patches, layer.weight.double()) + layer.bias.double()[:, None, None]
        x = x - x.mean((2, 3), keepdim=True)
        x = (x / (x.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()).clamp(min=0)
    assert not convolutions
    return x
