"""A module of the user's own: the named layer's output, and what cannot be an embedder."""

import copy

import pytest
import torch
from torch import nn

from iid_cl.compute.classifier import predict
from iid_cl.errors import UserError
from iid_cl.nets import NamedLayer, initialize
from tests.nets.helpers import pictures


class Own(nn.Module):
    """A small network with layers of all kinds of output."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(inplace=True))
        self.tokens = nn.Flatten(2)
        self.rows = nn.Flatten(0, 1)
        self.recurrent = nn.GRU(16, 6, batch_first=True)
        self.total = nn.Flatten(0)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(24, 2))
        self.unused = nn.Linear(2, 2)
        self.again = nn.Tanh()

    def forward(self, images):
        tokens = self.tokens(self.stem(images))
        self.rows(tokens)
        self.total(tokens)
        out, _ = self.recurrent(self.again(tokens))
        return self.head(self.again(out))


def own(layer="stem"):
    network = NamedLayer(Own(), layer)
    initialize(network, torch.Generator().manual_seed(0))
    return network


def images():
    return pictures(5, (3, 4, 4))


@torch.no_grad()
def test_embedding_is_the_named_layers_output():
    network = own()
    expected = network.module.stem(images())
    assert expected.shape == (5, 4, 4, 4)
    assert torch.equal(network.embed(images()), expected)
    assert torch.equal(network.features(images()), expected.flatten(1))


@torch.no_grad()
def test_nested_layers_and_the_in_place_layers_behind_them():
    network = own("stem.1")
    convolution, norm, _ = network.module.stem
    expected = norm(convolution(images()))
    assert expected.min() < 0  # which the ReLU behind it removes in place
    assert torch.equal(network.embed(images()), expected)


@torch.no_grad()
def test_rows_of_features_become_maps_of_one_position():
    network = own("head.0")
    assert network.embed(images()).shape == (5, 24, 1, 1)
    assert network.features(images()).shape == (5, 24)
    head = network.module.head[1]
    torch.testing.assert_close(network.features(images()) @ head.weight.T + head.bias, network(images()))


@torch.no_grad()
def test_forward_is_the_modules_own():
    network = own("stem.0")
    assert torch.equal(network(images()), network.module(images()))
    torch.testing.assert_close(torch.cat(list(predict(network, images(), 2))), network(images()))


def test_no_hook_stays_behind_even_after_a_failure():
    network = own()
    network.embed(images())
    with pytest.raises(RuntimeError):
        network.embed(torch.rand(2, 5, 4, 4))
    assert not any(module._forward_hooks for module in network.modules())


def test_gradient_reaches_images_and_the_layers_before():
    network, batch = own(), images().requires_grad_()
    network.embed(batch).square().sum().backward()
    assert batch.grad.abs().amax((1, 2, 3)).min() > 0
    assert network.module.stem[0].weight.grad.abs().max() > 0
    assert network.module.head[1].weight.grad is None


@torch.no_grad()
def test_copy_is_a_network_of_its_own():
    network = own()
    before, twin = network.embed(images()), copy.deepcopy(network)
    initialize(twin, torch.Generator().manual_seed(1))
    assert torch.equal(network.embed(images()), before)
    assert not torch.equal(twin.embed(images()), before)


@torch.no_grad()
def test_seed_gives_the_same_network_with_layers_that_draw_themselves():
    first, again = own().state_dict(), own().state_dict()
    assert "module.recurrent.weight_hh_l0" in first
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("tokens", r"^layer: 'tokens' gives the shape \(5, 4, 16\) for 5 images; .*\(N, C, H, W\) or \(N, D\)\.$"),
        ("rows", r"^layer: 'rows' gives the shape \(20, 16\) for 5 images"),
        ("total", r"^layer: 'total' gives the shape \(320,\)"),
        ("recurrent", r"^layer: 'recurrent' gives a tuple"),
        ("unused", r"^layer: 'unused' runs 0 times"),
        ("again", r"^layer: 'again' runs 2 times"),
    ],
)
def test_layers_without_a_feature_map_are_a_users_error(layer, sentence):
    with pytest.raises(UserError, match=sentence):
        own(layer).embed(images())


@pytest.mark.parametrize(("name", "nearest"), [("stem.3", "stem.[012]"), ("heads", "head"), ("recurent", "recurrent")])
def test_unknown_layer_names_the_nearest(name, nearest):
    with pytest.raises(UserError, match=rf"^layer: Own has no '{name}'; did you mean '{nearest}'\?$"):
        own(name)


def test_module_itself_is_no_layer_of_its_own():
    with pytest.raises(UserError, match=r"^layer: Own has no ''; did you mean"):
        own("")
    with pytest.raises(UserError, match=r"^layer: ReLU has no 'relu'; it has no layers; wrap it"):
        NamedLayer(nn.ReLU(), "relu")


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.BatchNorm1d(4), nn.SyncBatchNorm(4)], ids=str)
def test_batch_norm_is_a_users_error(norm):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(norm))
    with pytest.raises(UserError, match=r"^1\.0: \w*BatchNorm\w* .* mix classes .*nn\.GroupNorm.*\.$"):
        NamedLayer(module, "0")
