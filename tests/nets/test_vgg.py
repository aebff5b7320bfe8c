"""VGG-11 for small images: sizes and parameters by hand, and always enough positions for its norm."""

import math

import pytest
import torch
from torch import nn

from iid_cl.errors import UserError
from iid_cl.nets import VGG11
from tests.nets.helpers import build, by_hand, count_parameters, pictures


@pytest.mark.parametrize(
    ("shape", "norm", "expected"),
    [
        ((3, 32, 32), "instance", (512, 1, 1)),
        ((3, 64, 64), "instance", (512, 2, 2)),
        ((3, 32, 70), "instance", (512, 1, 2)),  # 32, 16, 8, 4, 2, 1 and 70, 35, 17, 8, 4, 2
        ((1, 28, 28), "group", (512, 1, 1)),  # 28, 14, 7, 3, 1: a fifth pooling has nothing to halve
        ((1, 8, 8), "batch", (512, 1, 1)),
        ((1, 16, 48), "none", (512, 1, 3)),  # 48, 24, 12, 6, 3
    ],
    ids=str,
)
@torch.no_grad()
def test_sides_are_halved_while_there_is_something_to_halve(shape, norm, expected):
    network, images = build(shape, name="vgg11", norm=norm), pictures(2, shape)
    assert network.embed(images).shape == (2, *expected)
    assert network.features(images).shape == (2, math.prod(expected))
    assert network(images).shape == (2, 5)


def test_parameters_by_hand():
    convolutions = 1792 + 73856 + 295168 + 590080 + 1180160 + 3 * 2359808  # 9 * c * d + d each
    norms = 2 * (64 + 128 + 2 * 256 + 4 * 512)
    with torch.device("meta"):
        assert count_parameters(VGG11((3, 32, 32), 10)) == convolutions + norms + 5130 == 9_231_114
        assert count_parameters(VGG11((3, 32, 32), 10, norm="none")) == convolutions + 5130
        assert count_parameters(VGG11((1, 28, 28), 10)) == 9_231_114 - 2 * 9 * 64
        assert count_parameters(VGG11((3, 64, 64), 10)) == 9_231_114 + 3 * 5120


@torch.no_grad()
def test_feature_map_is_that_of_the_published_layers():
    network, images = build(name="vgg11"), pictures(1, (3, 32, 32))
    expected = by_hand(network, images, [3, "M", 3, "M", 3, 3, "M", 3, 3, "M", 3, 3, "M"])
    torch.testing.assert_close(network.embed(images).double(), expected, rtol=1e-2, atol=1e-3)


@torch.no_grad()
def test_instance_norm_has_two_by_two_positions_or_more():
    network = build(name="vgg11")
    seen = []
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape[2:])))
    network(pictures(1, (3, 32, 32)))
    assert seen == [(32, 32), (16, 16), (8, 8), (8, 8), (4, 4), (4, 4), (2, 2), (2, 2)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 31, 64), (1, 64, 31), (1, 8, 8)], ids=str)
def test_instance_norm_on_small_images_is_a_users_error(shape):
    sentence = rf"^norm: 'instance' in VGG-11 .* {shape[1]}x{shape[2]} images.*'group'.* at least 32x32\.$"
    with pytest.raises(UserError, match=sentence):
        build(shape, name="vgg11")
