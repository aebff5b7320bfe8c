"""Features of a strategy's model: what it makes of images before it decides on a class."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from avalanche.models import MultiTaskModule
from torch import Tensor, nn

from iid_cl.data.lens import Lens
from iid_cl.errors import UserError
from iid_cl.memory.selection import FeatureExtractor
from iid_cl.methods.base import Features

FeaturesFactory = Callable[[Mapping[int, Tensor], Any, torch.Generator], FeatureExtractor]
"""Makes an extractor from uint8 images of each class, the Avalanche strategy, and a source of random draws."""


def of_learner(factory: FeaturesFactory, strategy: Any) -> Features:
    """A factory's features of a strategy, which see images on the strategy's device."""

    def make(images: Mapping[int, Tensor], lens: Lens, generator: torch.Generator) -> FeatureExtractor:
        extract = factory(images, strategy, generator)
        return lambda normalised: extract(normalised.to(strategy.device))

    return make


def features_of_strategy(
    images_by_class: Mapping[int, Tensor], strategy: Any, generator: torch.Generator
) -> FeatureExtractor:
    """Features (N, D) of the strategy's model in evaluation mode: the output of its ``feature_extractor``, which
    Avalanche's models with a nearest-mean classifier have, or else the input of the linear layer that runs last.

    Raises:
        UserError: the model has neither.
    """
    model: nn.Module = strategy.model
    extractor = getattr(model, "feature_extractor", None)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not isinstance(extractor, nn.Module) and not layers:
        raise UserError("features need a model with a linear layer; pass `features` for another kind of model.")

    def extract(images: Tensor) -> Tensor:
        training = model.training
        model.eval()
        try:
            if isinstance(extractor, nn.Module):
                features: Tensor = extractor(images)
            else:
                features = _input_of_last(layers, model, images)
        finally:
            model.train(training)
        return features.flatten(1)

    return extract


def _input_of_last(layers: list[nn.Linear], model: nn.Module, images: Tensor) -> Tensor:
    """The input of the layer that runs last."""
    layer_inputs: list[Tensor] = []
    handles = [layer.register_forward_pre_hook(lambda _, inputs: layer_inputs.append(inputs[0])) for layer in layers]
    try:
        if isinstance(model, MultiTaskModule):
            for task in sorted(model.known_train_tasks_labels)[:1]:  # all heads have the same input
                model.forward_single_task(images, task)
        else:
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    if not layer_inputs:
        raise UserError("no linear layer at work was found in the model; pass `features` for this kind of model.")
    return layer_inputs[-1]
