"""LeNet: the classical count, its stages, the smallest image."""

import pytest
import torch

from iid_cl.errors import UserError
from iid_cl.nets import LeNet
from tests.nets.helpers import build, count_parameters, pictures


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 28, 28), (16, 5, 5)), ((3, 32, 32), (16, 6, 6)), ((1, 12, 19), (16, 1, 2))],  # 19, 9, 5, 2
    ids=str,
)
@torch.no_grad()
def test_embedding_is_the_last_map_and_features_the_last_hidden_layer(shape, expected):
    network, images = build(shape, name="lenet"), pictures(2, shape)
    assert network.embed(images).shape == (2, *expected)
    assert network.features(images).shape == (2, 84)
    assert network(images).shape == (2, 5)


def test_parameters_by_hand():
    network = LeNet((1, 28, 28), 10)
    assert count_parameters(network) == (25 * 6 + 6) + (150 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + 850
    assert count_parameters(network) == 61_706  # as in the literature
    assert count_parameters(LeNet((3, 32, 32), 10)) == 61_706 + 2 * 25 * 6 + (576 - 400) * 120


@torch.no_grad()
def test_pool_is_two_hidden_layers():
    network, maps = build((1, 12, 12), name="lenet"), pictures(3, (16, 1, 1))
    first, second = network.hidden[0], network.hidden[2]
    hidden = (maps.flatten(1) @ first.weight.T + first.bias).clamp(min=0)
    expected = (hidden @ second.weight.T + second.bias).clamp(min=0)
    torch.testing.assert_close(network.pool(maps), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_first_stage_is_a_padded_convolution_relu_and_max_pooling():
    network = build((1, 12, 12), name="lenet")
    network.layers[0].weight.zero_()
    network.layers[0].weight[:, 0, 2, 2] = 1  # the identity, where nothing but the padding's size matters
    network.layers[0].bias.zero_()
    network.layers[3].weight.zero_()
    network.layers[3].weight[:, 0, 1, 3] = 1  # of the 6x6 map, what lies one down and three right
    network.layers[3].bias.zero_()
    image = torch.arange(144.0).reshape(1, 1, 12, 12)
    # of the pairs of rows and columns, 1..2 and 3..4 remain, of which the last pixel is the largest: row 5, column 9
    assert network.embed(image).flatten().tolist() == [12 * 5 + 9] * 16
    assert network.embed(-image).max() == 0


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 11, 40), (3, 40, 11)], ids=str)
def test_images_that_vanish_are_a_users_error(shape):
    with pytest.raises(UserError, match=rf"^name: 'lenet' .* {shape[1]}x{shape[2]} images .* at least 12x12, .*\.$"):
        build(shape, name="lenet")
