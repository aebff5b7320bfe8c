"""What every network here offers, and its initialisation from a passed generator."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from iid_cl.errors import UserError


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


def require_side(name: str, least: int, shape: tuple[int, int, int]) -> None:
    """Refuses images (channels, height, width) that the network ``name`` would shrink to nothing.

    Raises:
        UserError: a side has fewer than ``least`` pixels.
    """
    if min(shape[1:]) < least:
        raise UserError(
            f"name: {name!r} shrinks {shape[1]}x{shape[2]} images to nothing; use images of at least {least}x{least}, "
            "or 'convnet' of a lower depth, or 'mlp'."
        )


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draws PyTorch's default initialisation from ``generator`` (which lives on the weights' device).

    Convolutions and linear layers: weights and biases uniform in +-1/sqrt(fan_in); norms: one and zero. Any other
    layer with parameters of its own draws them by its ``reset_parameters``, from global random state that is seeded
    by ``generator`` for the length of that call and put back afterwards.

    Raises:
        UserError: a layer has parameters that it cannot draw afresh.
    """
    for name, module in network.named_modules():
        own = {key for key, _ in module.named_parameters(recurse=False)}
        if isinstance(module, nn.Conv2d | nn.Linear) and own - {"bias"} == {"weight"}:
            bound = 1 / math.sqrt(module.weight[0].numel())
            fresh = torch.empty(module.weight.shape, device=module.weight.device)  # drawn in one order for any layout
            module.weight.copy_(fresh.uniform_(-bound, bound, generator=generator))
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, _BatchNorm | nn.GroupNorm) and own <= {"weight", "bias"}:
            module.reset_parameters()  # draws nothing
        elif own:
            _reset(name, module, generator)


def _reset(name: str, module: nn.Module, generator: torch.Generator) -> None:
    """Calls the module's own ``reset_parameters`` and makes sure that it leaves no parameter as it was."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        device = next(module.parameters(recurse=False)).device
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        for parameter in module.parameters(recurse=False):
            parameter.fill_(math.nan)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            reset()
        if not any(parameter.isnan().any() for parameter in module.parameters(recurse=False)):
            return
    raise UserError(
        f"{name or 'the network'}: {type(module).__name__} cannot be drawn afresh, because it has parameters that no "
        "reset_parameters() of its own draws; give it that method, or build the network without this layer."
    )


class InstanceNorm(nn.GroupNorm):
    """Affine instance norm of so many channels, as in the published ConvNet.

    A group norm of one channel per group: PyTorch's is faster on a CPU in channels-last layout than its instance norm.
    What its compiler makes of a group norm on a GPU turns the layout round and back, so it gets the formula there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W), normalised over H and W."""
        return self.formula(features) if _compiling_for_gpu(features) else super().forward(features)

    def formula(self, features: Tensor) -> Tensor:
        """The same, written out; computed in float32 at least."""
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
        scale = self.weight[:, None, None] * (variance + self.eps).rsqrt()
        return ((wide - mean) * scale + self.bias[:, None, None]).to(features.dtype)


def _compiling_for_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda and torch.compiler.is_compiling()


# Layers of a given channel count.
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": InstanceNorm,
    "group": lambda channels: nn.GroupNorm(math.gcd(channels, 32), channels),
    "batch": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
}
