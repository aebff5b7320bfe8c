"""Features of a strategy's model: what it makes of images before it decides on a class."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from avalanche.models import MultiTaskModule
from avalanche.models.utils import avalanche_forward
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from iid_cl.data.lens import Lens
from iid_cl.errors import UserError
from iid_cl.memory.selection import FeatureExtractor
from iid_cl.methods.base import Features

from .origins import Intake

FeaturesFactory = Callable[[Mapping[int, Tensor], Any, torch.Generator], Callable[[Tensor], Tensor]]
"""Makes an extractor from uint8 images of each class, the Avalanche strategy, and a source of random draws. The
extractor takes images (n, C, H, W) that are normalised by the memory's normalisation."""

WAY_OUT = "pass `features` for this kind of model."


def device_of(strategy: Any) -> torch.device | str:
    """A strategy's device; the CPU where it names none, as a mock."""
    device = getattr(strategy, "device", None)
    return device if isinstance(device, str | torch.device) else "cpu"


def of_factory(factory: FeaturesFactory, strategy: Any) -> Features:
    """A user's features of a strategy, which see images on the strategy's device."""

    def make(images: Mapping[int, Tensor], lens: Lens, generator: torch.Generator) -> FeatureExtractor:
        extract = factory(images, strategy, generator)
        return lambda batch: extract(lens.show(batch).to(device_of(strategy)))

    return make


def of_learner(strategy: Any, intake: Intake) -> Features:
    """Features of the strategy's model, which sees images as in evaluation: through the transforms of their experience.

    Args:
        strategy: whose model at the end of the experience is asked.
        intake: the images of the update.
    """

    def make(images: Mapping[int, Tensor], lens: Lens, generator: torch.Generator) -> FeatureExtractor:
        model = getattr(strategy, "model", None)
        if not isinstance(model, nn.Module):
            raise UserError("features of images need the strategy's model, and it has none; pass `features`.")
        device = next((parameter.device for parameter in model.parameters()), lens.device)

        def extract(batch: Tensor) -> Tensor:
            joined: Tensor | None = None
            for presentation, task, members in intake.groups(batch):
                features = penultimate(model, presentation.inputs(batch[members].cpu()).to(device), task)
                if joined is None:
                    joined = features.new_empty(len(batch), *features.shape[1:])
                joined[members] = features
            assert joined is not None  # a batch has images
            return joined

        return extract

    return make


def penultimate(model: nn.Module, images: Tensor, task: int = 0) -> Tensor:
    """Features (n, D) of images (n, ...) in evaluation mode: the output of the model's ``feature_extractor``, which
    Avalanche's models with a nearest-mean classifier have, or else the input of the classifier. That is the layer with
    weights that ends last; norms are no layers here.

    Args:
        model: a classifier; one with several heads is asked for the head of ``task``, or any if it has no such head.
        images: as the model takes them.
        task: the images' task label.

    Raises:
        UserError: the model fails on the images, or it has no layer that ends last, but holds the classifier's weights
            itself.
    """
    extractor = getattr(model, "feature_extractor", None)
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            if isinstance(extractor, nn.Module):
                features: Tensor = extractor(images)
            else:
                features = _input_of_classifier(model, images, task)
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{type(model).__name__} makes no features of the images ({reason}); {WAY_OUT}") from error
    finally:
        for module in training:
            module.training = True
    return features.flatten(1)


def _input_of_classifier(model: nn.Module, images: Tensor, task: int) -> Tensor:
    ended: list[tuple[nn.Module, tuple[Any, ...]]] = []
    layers = [module for module in model.modules() if _is_layer(module)]
    handles = [layer.register_forward_hook(lambda *call: ended.append((call[0], call[1]))) for layer in layers]
    try:
        _forward(model, images, task)
    finally:
        for handle in handles:
            handle.remove()
    if not ended:
        raise UserError(f"no layer at work was found in {type(model).__name__}; {WAY_OUT}")
    classifier, inputs = ended[-1]
    features = inputs[0] if inputs else None
    before = [layer for layer, _ in ended if layer not in set(classifier.modules())]
    alone = len(layers) == 1  # a linear model, whose features are the pixels
    if not (before or alone) or not isinstance(features, Tensor) or len(features) != len(images):
        raise UserError(f"{type(model).__name__} has no layer that takes features and ends last; {WAY_OUT}")
    return features


def _is_layer(module: nn.Module) -> bool:
    """Whether a module has weights that may tell classes apart: more than a scale or a norm."""
    if isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm | ParametrizationList):
        return False
    own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    inner = any(True for child in module.children() for _ in child.parameters())
    return own > 1 or (own == 1 and inner) or is_parametrized(module)


def _forward(model: nn.Module, images: Tensor, task: int) -> None:
    known = sorted(getattr(model, "known_train_tasks_labels", ()))
    if isinstance(model, MultiTaskModule) and known and task not in known:
        task = known[0]  # all heads have the same input
    avalanche_forward(model, images, torch.full((len(images),), task, device=images.device))
