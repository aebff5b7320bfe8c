"""Features where no learner has seen the images: of a network that is trained for them."""

from typing import Any

import pytest
import torch

from iid_cl.config.distill import CentralizationConfig, NetworkConfig
from iid_cl.data.lens import Lens
from iid_cl.distill.trained import train_networks
from iid_cl.methods import features as module
from iid_cl.methods.features import trained_features
from iid_cl.seeding import draw_seed

from .helpers import NORMALIZATION, noise

NETWORK = NetworkConfig(width=4, depth=1)
LENS = Lens(NORMALIZATION, ("crop",), torch.device("cpu"))
IMAGES = {4: noise(10), 1: noise(10, 1)}


def test_one_network_is_trained_as_long_as_those_of_class_centralization(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(module, "train_networks", lambda *rest: (given.extend(rest), train_networks(*rest))[1])
    training = CentralizationConfig(trainings=3, snapshots=2, epochs=5, network=NetworkConfig(name="mlp"))
    trained_features(NETWORK, training)(IMAGES, LENS, torch.Generator().manual_seed(3))
    classes, config, lens, seed = given
    assert classes.images is IMAGES
    assert classes.weights == {}
    assert config == training.model_copy(update={"trainings": 1, "snapshots": 1, "network": NETWORK})
    assert lens is LENS
    assert seed == draw_seed(torch.Generator().manual_seed(3))


def test_features_repeat_for_a_seed_only_and_are_of_the_end_of_the_network() -> None:
    make = trained_features(NETWORK, CentralizationConfig(epochs=1, trainings=1, snapshots=1))
    one, again, other = (make(IMAGES, LENS, torch.Generator().manual_seed(seed))(IMAGES[4]) for seed in (1, 1, 2))
    assert len(one) == 10
    assert torch.equal(one, again)
    assert one.shape == other.shape
    assert not torch.equal(one, other)
    assert not one.requires_grad
