"""The ConvNet's activations and poolings, by hand on four pixels."""

import math

import pytest
import torch
from torch import nn

from iid_cl.nets import ConvNet
from iid_cl.nets.base import InstanceNorm
from tests.nets.helpers import build, count_parameters


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("options", "expected"),
    [  # the convolution gives -3, -1, 1 and 7
        ({}, (0 + 0 + 1 + 7) / 4),
        ({"activation": "relu", "pooling": "avg"}, 2.0),
        ({"pooling": "max"}, 7.0),
        ({"activation": "leaky_relu"}, (-0.03 - 0.01 + 1 + 7) / 4),
        ({"activation": "leaky_relu", "pooling": "max"}, 7.0),
        ({"activation": "sigmoid"}, (sigmoid(-3) + sigmoid(-1) + sigmoid(1) + sigmoid(7)) / 4),
        ({"activation": "sigmoid", "pooling": "max"}, sigmoid(7)),
    ],
    ids=str,
)
@torch.no_grad()
def test_block_applies_the_activation_and_then_the_pooling(options, expected):
    network = build((1, 2, 2), width=1, depth=1, norm="none", **options)
    network.blocks[0].weight.copy_(torch.tensor([[[[0.0, 0, 0], [0, 2, 0], [0, 0, 0]]]]))
    network.blocks[0].bias.fill_(-5)
    images = torch.tensor([[[[1.0, 2], [3, 6]]]])
    assert network.embed(images).item() == pytest.approx(expected, rel=1e-6)


@torch.no_grad()
def test_leaky_relu_keeps_a_hundredth_of_what_is_negative():
    network = build((1, 2, 2), width=1, depth=1, norm="none", activation="leaky_relu", pooling="max")
    network.blocks[0].weight.zero_()
    network.blocks[0].bias.fill_(-5)
    assert network.embed(torch.rand(1, 1, 2, 2)).item() == pytest.approx(-0.05)


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid"])
def test_choices_change_neither_parameters_nor_their_draws(activation, pooling):
    plain, network = build(), build(activation=activation, pooling=pooling)
    assert list(network.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in network.state_dict().items())


def test_pooling_max_halves_odd_sides_like_avg():
    network = build((1, 7, 9), depth=1, pooling="max")
    assert network.embed(torch.rand(2, 1, 7, 9)).shape == (2, 8, 3, 4)


def test_default_is_the_published_block():
    network = ConvNet((3, 32, 32), 10)
    assert [type(layer) for layer in network.blocks] == [nn.Conv2d, InstanceNorm, nn.ReLU, nn.AvgPool2d] * 3
    assert count_parameters(network) == 320010
    blocks = [f"blocks.{i}.{kind}" for i in (0, 1, 4, 5, 8, 9) for kind in ("weight", "bias")]
    assert list(network.state_dict()) == [*blocks, "classifier.weight", "classifier.bias"]
