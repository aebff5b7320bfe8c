from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.models import NCMClassifier, TrainEvalModel, as_multitask
from torch import nn

from iid_cl.errors import UserError
from iid_cl.strategies import HybridBuffer
from iid_cl.strategies.features import features_of_strategy

from .conftest import TINY
from .made_up import experience, noise

IMAGES = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def features(model: nn.Module) -> torch.Tensor:
    return features_of_strategy({}, SimpleNamespace(model=model), torch.Generator())(IMAGES)


class Heads(nn.Module):
    """Two layers, registered in the order in which they don't run."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(5, 2)
        self.body = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.body(x.flatten(1)).relu())


def test_it_is_the_input_of_the_layer_that_runs_last() -> None:
    model = Heads()
    torch.testing.assert_close(features(model), model.body(IMAGES.flatten(1)).relu())
    assert not model.classifier._forward_pre_hooks


def test_a_models_own_feature_extractor_is_used_whichever_classifier_is_on() -> None:
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.5))
    model = TrainEvalModel(extractor, nn.Linear(3, 2), NCMClassifier(normalize=False)).train()
    torch.testing.assert_close(features(model), extractor[1](IMAGES.flatten(1)))  # without dropout
    assert model.training


def test_a_model_with_heads_needs_no_task_label() -> None:
    model = as_multitask(Heads(), "classifier")
    with pytest.raises(UserError, match="no linear layer at work"):
        features(model)  # it has no heads yet
    experience = SimpleNamespace(classes_in_this_experience=[0, 1], task_labels=[3])
    for module in model.modules():
        if hasattr(module, "known_train_tasks_labels"):
            module.adaptation(experience)
    torch.testing.assert_close(features(model), model.model.body(IMAGES.flatten(1)).relu())


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(UserError, match="linear layer; pass `features`"):
        features(nn.Flatten())


def test_features_are_those_of_the_strategys_device() -> None:
    """Distilling elsewhere leaves the learner where it is."""
    seen = []

    def features(*rest: Any) -> Any:
        return lambda x: (seen.append(x.device.type), torch.zeros(len(x), 3))[1]

    memory = HybridBuffer(4, share=0.0, distill=TINY, features=features, device="cpu")
    memory.post_adapt(SimpleNamespace(device="meta"), experience({0: noise(12), 3: noise(12, 1)}))
    assert set(seen) == {"meta"}
    assert len(memory.buffer) == 8
