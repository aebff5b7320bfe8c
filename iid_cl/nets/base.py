"""The base class of networks, and their initialisation from a generator."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from iid_cl.errors import UserError


class Network(nn.Module):
    """A classifier with three stages: ``embed``, ``pool`` and ``classifier``.

    Attributes:
        classifier: the head.
        frozen: whether only the head can be trained, see :meth:`freeze`.

    >>> from iid_cl.nets import ConvNet
    >>> network, images = ConvNet((3, 32, 32), classes=10), torch.zeros(2, 3, 32, 32)
    >>> network.embed(images).shape, network.features(images).shape, network(images).shape
    (torch.Size([2, 128, 4, 4]), torch.Size([2, 2048]), torch.Size([2, 10]))
    """

    classifier: nn.Linear
    frozen: bool = False

    def freeze(self) -> None:
        """Keeps all but the classifier as it is: no gradients of weights, and running statistics stay."""
        self.frozen = True
        for name, child in self.named_children():
            child.requires_grad_(name == "classifier")
        self.train(self.training)

    def train(self, mode: bool = True) -> "Network":
        """Sets training or evaluation mode; in a frozen network, only the classifier's."""
        super().train(mode)
        if self.frozen:
            for name, child in self.named_children():
                child.train(mode and name == "classifier")
        return self

    def embed(self, images: Tensor) -> Tensor:
        """The last feature map (N, C, H', W') of images (N, c, H, W): the paper's psi."""
        raise NotImplementedError

    def pool(self, features: Tensor) -> Tensor:
        """The classifier's input (N, D) of a feature map (N, C, H', W')."""
        return features.flatten(1)

    def features(self, images: Tensor) -> Tensor:
        """The classifier's input (N, D) of images; the paper's phi if the network is trained."""
        return self.pool(self.embed(images))

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, K)."""
        scores: Tensor = self.classifier(self.features(images))
        return scores


def require_side(name: str, least: int, shape: tuple[int, int, int]) -> None:
    """Raises a UserError if a side of the images has fewer than ``least`` pixels, too few for the network ``name``."""
    if min(shape[1:]) < least:
        raise UserError(
            f"name: {name!r} shrinks {shape[1]}x{shape[2]} images to nothing; use images of at least {least}x{least}, "
            "or 'convnet' of a lower depth, or 'mlp'."
        )


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draws PyTorch's default initialisation from ``generator``, which is on the weights' device.

    Convolutions and linear layers get weights and biases uniform in +-1/sqrt(fan_in); norms get ones and zeros. Any
    other layer with parameters draws them by its ``reset_parameters``. For that call the global random state is seeded
    by ``generator`` and restored afterwards.

    Raises:
        UserError: a layer has parameters that it cannot initialise again.
    """
    for name, module in network.named_modules():
        keys = {key for key, _ in module.named_parameters(recurse=False)}
        if isinstance(module, nn.Conv2d | nn.Linear) and keys - {"bias"} == {"weight"}:
            bound = 1 / math.sqrt(module.weight[0].numel())
            weight = torch.empty(module.weight.shape, device=module.weight.device)  # the same draws in any layout
            module.weight.copy_(weight.uniform_(-bound, bound, generator=generator))
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, _BatchNorm | nn.GroupNorm) and keys <= {"weight", "bias"}:
            module.reset_parameters()  # draws nothing
        elif keys:
            _reset(name, module, generator)


def _reset(name: str, module: nn.Module, generator: torch.Generator) -> None:
    """Calls the module's ``reset_parameters`` and checks that it sets every parameter."""
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
        f"{name or 'the network'}: {type(module).__name__} cannot be initialised, because it has parameters that no "
        "reset_parameters() sets; give it that method, or build the network without this layer."
    )


class InstanceNorm(nn.GroupNorm):
    """Affine instance norm of ``channels`` channels, as in the published ConvNet.

    It is a group norm with one channel per group: on a CPU in channels-last layout, PyTorch's group norm is faster than
    its instance norm. On a GPU the compiler converts the layout for a group norm and back; the formula avoids it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, H, W), normalised over H and W."""
        return self.formula(features) if _compiling_for_gpu(features) else super().forward(features)

    def formula(self, features: Tensor) -> Tensor:
        """The same normalisation as a formula, computed in float32 or float64."""
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
        scale = self.weight[:, None, None] * (variance + self.eps).rsqrt()
        return ((wide - mean) * scale + self.bias[:, None, None]).to(features.dtype)


def _compiling_for_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda and torch.compiler.is_compiling()


# Layers by their number of channels
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": InstanceNorm,
    "group": lambda channels: nn.GroupNorm(math.gcd(channels, 32), channels),
    "batch": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
}
