"""The perceptron: sizes, the classical count, its layers by hand."""

import pytest
import torch

from iid_cl.nets import MLP
from tests.nets.helpers import build, count_parameters, pictures


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 1, 3)], ids=str)
@torch.no_grad()
def test_embedding_is_a_map_of_one_position(shape):
    network, images = build(shape, name="mlp"), pictures(2, shape)
    assert network.embed(images).shape == (2, 128, 1, 1)
    assert network.features(images).shape == (2, 128)
    assert network(images).shape == (2, 5)


def test_parameters_by_hand():
    assert count_parameters(MLP((3, 32, 32), 10)) == (3072 * 128 + 128) + (128 * 128 + 128) + 1290
    assert count_parameters(MLP((1, 28, 28), 10)) == (784 * 128 + 128) + (128 * 128 + 128) + 1290


@torch.no_grad()
def test_three_layers_with_relu_between_them():
    network, images = build(name="mlp"), pictures()
    weights = [p.double() for p in network.parameters()]
    x = images.double().flatten(1)
    for weight, bias in zip(weights[0:4:2], weights[1:4:2], strict=True):
        x = (x @ weight.T + bias).clamp(min=0)
    torch.testing.assert_close(network.features(images).double(), x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(images).double(), x @ weights[4].T + weights[5], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_memory_layout_of_images_does_not_matter():
    network, images = build(name="mlp"), pictures()
    torch.testing.assert_close(network(images.contiguous(memory_format=torch.channels_last)), network(images))
