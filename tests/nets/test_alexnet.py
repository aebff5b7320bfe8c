"""AlexNet for small images: sizes and parameters by hand, the feature map by an independent computation."""

import math

import pytest
import torch

from iid_cl.errors import UserError
from iid_cl.nets import AlexNet
from tests.nets.helpers import build, by_hand, count_parameters, pictures


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 32, 32), (192, 4, 4)), ((1, 28, 28), (192, 3, 3)), ((3, 8, 20), (192, 1, 2))], ids=str
)
@torch.no_grad()
def test_sides_are_an_eighth(shape, expected):
    network, images = build(shape, name="alexnet"), pictures(2, shape)
    assert network.embed(images).shape == (2, *expected)
    assert network.features(images).shape == (2, math.prod(expected))
    assert network(images).shape == (2, 5)


@pytest.mark.parametrize(
    ("shape", "first", "classifier"),
    [
        ((3, 32, 32), 25 * 3 * 128 + 128, 192 * 16 * 10 + 10),
        ((1, 28, 28), 25 * 128 + 128, 192 * 9 * 10 + 10),
    ],
    ids=str,
)
@pytest.mark.parametrize("norm", ["instance", "group", "batch", "none"])
def test_parameters_by_hand(shape, first, classifier, norm):
    # 25 * 128 * 192 + 192, 9 * 192 * 256 + 256, 9 * 256 * 192 + 192 and 9 * 192 * 192 + 192
    later = 614592 + 442624 + 442560 + 331968
    norms = 0 if norm == "none" else 2 * (128 + 192 + 256 + 192 + 192)
    with torch.device("meta"):
        assert count_parameters(AlexNet(shape, 10, norm=norm)) == first + later + norms + classifier


@torch.no_grad()
def test_feature_map_is_that_of_the_published_layers():
    network, images = build((2, 9, 8), name="alexnet"), pictures(2, (2, 9, 8))
    expected = by_hand(network, images, [5, "M", 5, "M", 3, 3, 3, "M"])
    torch.testing.assert_close(network.embed(images).double(), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 7, 32), (1, 32, 7), (3, 4, 4)], ids=str)
def test_images_that_vanish_are_a_users_error(shape):
    sentence = rf"^name: 'alexnet' .* {shape[1]}x{shape[2]} images .* at least 8x8, .*\.$"
    with pytest.raises(UserError, match=sentence):
        build(shape, name="alexnet")
