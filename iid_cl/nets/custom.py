"""The user's own network as an embedder."""

import difflib
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from iid_cl.errors import UserError
from iid_cl.nets.base import Network


class NamedLayer(Network):
    """Any module as a network whose ``embed`` is the output of one of its layers.

    It has no ``classifier``: class scores are the module's output.

    >>> import torch
    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
    >>> NamedLayer(module, layer="1").embed(torch.zeros(2, 3, 6, 6)).shape
    torch.Size([2, 8, 4, 4])

    Args:
        module: takes images (N, c, H, W); must treat each image separately.
        layer: name of a submodule, as in ``named_modules()``, that runs once in a pass.
        pretrained: keep the module's weights, where an embedder otherwise gets fresh ones in each iteration. The module
            then stays in evaluation mode and its weights are frozen, so it may have batch norms.

    Raises:
        UserError: there is no such layer, or the module has batch norms without ``pretrained``.
    """

    def __init__(self, module: nn.Module, layer: str, pretrained: bool = False) -> None:
        super().__init__()
        parts = dict(module.named_modules(remove_duplicate=False))
        for name, part in parts.items():
            if isinstance(part, _BatchNorm) and not pretrained:
                raise UserError(
                    f"{name or 'module'}: {type(part).__name__} normalises over the batch, which would mix classes in "
                    "the embedding; use nn.GroupNorm or nn.InstanceNorm2d, which act per sample, or pretrained=True."
                )
        names = [name for name in parts if name]
        if layer not in names:
            nearest = difflib.get_close_matches(layer, names, n=1, cutoff=0.0)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "it has no layers; wrap it in nn.Sequential."
            raise UserError(f"layer: {type(module).__name__} has no {layer!r}; {hint}")
        self.module = module
        self.layer = layer
        if pretrained:
            self.freeze()

    def embed(self, images: Tensor) -> Tensor:
        """Images (N, c, H, W) to the layer's output (N, C, H', W'); (N, D) becomes (N, D, 1, 1).

        Raises:
            UserError: the output has another shape, or the layer does not run exactly once.
        """
        outputs: list[Any] = []

        def keep(_: nn.Module, __: Any, output: Any) -> None:
            # a copy, because an in-place layer after this one would overwrite it
            outputs.append(output.clone() if isinstance(output, Tensor) else output)

        with self.module.get_submodule(self.layer).register_forward_hook(keep):
            self.module(images)
        if len(outputs) != 1:
            raise UserError(f"layer: {self.layer!r} runs {len(outputs)} times in a pass; name one that runs once.")
        output = outputs[0]
        if isinstance(output, Tensor) and output.shape[:1] == images.shape[:1]:
            if output.ndim == 4:
                return output
            if output.ndim == 2:
                return output[:, :, None, None]
        kind = f"the shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise UserError(
            f"layer: {self.layer!r} gives {kind} for {len(images)} images; name a layer that gives (N, C, H, W) "
            "or (N, D)."
        )

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.module(images)
        return scores
