"""What every network here offers, and its initialisation from a passed generator."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A classifier with three stages: ``embed`` -> ``pool`` -> ``classifier``."""

    classifier: nn.Linear

    def embed(self, images: Tensor) -> Tensor:
        """Last feature map (N, C, H', W') of images (N, c, H, W): the paper's psi."""
        raise NotImplementedError

    def pool(self, features: Tensor) -> Tensor:
        """Feature map (N, C, H', W') to the classifier's input (N, D)."""
        return features.flatten(1)

    def features(self, images: Tensor) -> Tensor:
        """The classifier's input (N, D): the paper's phi when the network is trained."""
        return self.pool(self.embed(images))

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, K)."""
        scores: Tensor = self.classifier(self.features(images))
        return scores


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draws PyTorch's default initialisation from ``generator`` (which lives on the weights' device).

    Convolutions and linear layers: weights and biases uniform in +-1/sqrt(fan_in); norms: one and zero.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            fresh = torch.empty(module.weight.shape, device=module.weight.device)  # drawn in one order for any layout
            module.weight.copy_(fresh.uniform_(-bound, bound, generator=generator))
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()


# Layers of a given channel count. Instance norm is affine, as in the published ConvNet, and written as a group
# norm of one channel per group: the same arithmetic, faster on a CPU in channels-last layout.
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": lambda channels: nn.GroupNorm(channels, channels),
    "group": lambda channels: nn.GroupNorm(math.gcd(channels, 32), channels),
    "batch": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
}
