from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.models import MTSimpleCNN, MTSimpleMLP, MTSlimResNet18, NCMClassifier, TrainEvalModel, as_multitask
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from iid_cl.errors import UserError
from iid_cl.strategies import HybridBuffer
from iid_cl.strategies.features import penultimate

from .conftest import TINY
from .made_up import experience, noise

IMAGES = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def features(model: nn.Module) -> torch.Tensor:
    return penultimate(model, IMAGES)


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
    assert not model.classifier._forward_hooks


def test_a_models_own_feature_extractor_is_used_whichever_classifier_is_on() -> None:
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.5))
    model = TrainEvalModel(extractor, nn.Linear(3, 2), NCMClassifier(normalize=False)).train()
    torch.testing.assert_close(features(model), extractor[1](IMAGES.flatten(1)))  # without dropout
    assert model.training


def test_a_model_with_heads_needs_no_task_label() -> None:
    model = as_multitask(Heads(), "classifier")
    with pytest.raises(UserError, match=r"makes no features .*; pass `features`"):
        penultimate(model, IMAGES, 7)  # it has no such head, and has learned no task
    experience = SimpleNamespace(classes_in_this_experience=[0, 1], task_labels=[3])
    for module in model.modules():
        if hasattr(module, "known_train_tasks_labels"):
            module.adaptation(experience)
    torch.testing.assert_close(features(model), model.model.body(IMAGES.flatten(1)).relu())


class Cosine(nn.Module):
    """A head whose scores are scaled cosines, with weights for each class; no ``nn.Linear``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.rand(2, 5)), nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * functional.normalize(x) @ functional.normalize(self.weight).T


class Split(nn.Module):
    """A head of two cosine heads, one for older and one for newer classes, with a scale in common."""

    def __init__(self) -> None:
        super().__init__()
        self.old, self.new, self.scale = Cosine(), Cosine(), nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.cat([self.old(x), self.new(x)], 1)


class Temperature(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(lambda: [Cosine()], id="cosine"),
        pytest.param(lambda: [Split()], id="split cosine"),
        pytest.param(lambda: [weight_norm(nn.Linear(5, 2, bias=False))], id="weight norm"),
        pytest.param(lambda: [nn.Linear(5, 2), nn.LogSoftmax(1)], id="log-softmax"),
        pytest.param(lambda: [nn.Linear(5, 2), Temperature()], id="temperature"),
        pytest.param(lambda: [nn.Linear(5, 2), nn.BatchNorm1d(2)], id="norm of scores"),
        pytest.param(lambda: [nn.Sequential(nn.Linear(5, 2))], id="nested"),
        pytest.param(lambda: [nn.Unflatten(1, (5, 1, 1)), nn.Conv2d(5, 2, 1), nn.Flatten()], id="1x1 convolution"),
    ],
)
def test_any_head_with_weights_tells_where_features_end(head: Any) -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU())
    model = nn.Sequential(body, *head())
    torch.testing.assert_close(features(model), body.eval()(IMAGES))


def test_a_linear_models_features_are_the_pixels() -> None:
    torch.testing.assert_close(features(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))), IMAGES.flatten(1))


def test_a_model_that_classifies_by_itself_is_refused() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.weight = nn.Linear(4, 5), nn.Parameter(torch.rand(2, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x.flatten(1)) @ self.weight.T

    with pytest.raises(UserError, match="Whole has no layer that takes features and ends last; pass `features`"):
        features(Whole())


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(UserError, match="no layer at work was found in Flatten; pass `features`"):
        features(nn.Flatten())


def test_a_model_that_fails_on_the_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"Linear makes no features of the images .*; pass `features`"):
        features(nn.Linear(7, 2))


def test_evaluation_mode_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(4, 3), nn.Dropout()), nn.Linear(3, 2)).train()
    model[1].eval()
    features(model)
    assert [module.training for module in (model, model[0], model[1], model[1][1], model[2])] == [
        True,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    "make", [MTSimpleCNN, lambda: MTSlimResNet18(4), lambda: MTSimpleMLP(input_size=3072, hidden_size=16)]
)
def test_avalanches_own_models_with_heads_are_asked_for_the_head_of_a_task(make: Any) -> None:
    model = make()
    for module in model.modules():
        if hasattr(module, "adaptation"):
            module.adaptation(SimpleNamespace(classes_in_this_experience=[0, 1], task_labels=[3]))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    made = penultimate(model, images, 3)
    heads = model.classifier if hasattr(model, "classifier") else model.linear
    head = heads.classifiers["3"]
    weight, bias = head.classifier.weight, head.classifier.bias
    scores = model.eval()(images, torch.full((2,), 3))
    torch.testing.assert_close((made @ weight.T + bias)[:, :2], scores[:, :2])


def test_features_are_those_of_the_strategys_device() -> None:
    """Distilling elsewhere leaves the learner where it is."""
    seen = []

    def features(*rest: Any) -> Any:
        return lambda x: (seen.append(x.device.type), torch.zeros(len(x), 3))[1]

    memory = HybridBuffer(4, share=0.0, distill=TINY, features=features, device="cpu")
    memory.post_adapt(SimpleNamespace(device="meta"), experience({0: noise(12), 3: noise(12, 1)}))
    assert set(seen) == {"meta"}
    assert len(memory.buffer) == 8
