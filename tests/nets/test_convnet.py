"""The ConvNet's block, by hand on four pixels."""

import pytest
import torch
from torch import nn

from iid_cl.nets import ConvNet
from iid_cl.nets.base import InstanceNorm
from tests.nets.helpers import build, count_parameters


@torch.no_grad()
def test_block_applies_relu_and_then_the_mean():
    network = build((1, 2, 2), width=1, depth=1, norm="none")
    network.blocks[0].weight.copy_(torch.tensor([[[[0.0, 0, 0], [0, 2, 0], [0, 0, 0]]]]))
    network.blocks[0].bias.fill_(-5)
    images = torch.tensor([[[[1.0, 2], [3, 6]]]])
    # the convolution gives -3, -1, 1 and 7
    assert network.embed(images).item() == pytest.approx((0 + 0 + 1 + 7) / 4, rel=1e-6)


def test_default_is_the_published_block():
    network = ConvNet((3, 32, 32), 10)
    assert [type(layer) for layer in network.blocks] == [nn.Conv2d, InstanceNorm, nn.ReLU, nn.AvgPool2d] * 3
    assert count_parameters(network) == 320010
    blocks = [f"blocks.{i}.{kind}" for i in (0, 1, 4, 5, 8, 9) for kind in ("weight", "bias")]
    assert list(network.state_dict()) == [*blocks, "classifier.weight", "classifier.bias"]
