"""Initialisation: the draws in their order, layers that draw themselves, and layers that cannot."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from iid_cl.errors import UserError
from iid_cl.nets import base, initialize
from iid_cl.nets.base import InstanceNorm
from tests.nets.helpers import build


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(network, seed=0):
    initialize(network, seeded(seed))
    return {key: value.clone() for key, value in network.state_dict().items()}


class Scale(nn.Module):
    """One parameter, and nothing that would draw it."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(3))


class HalfReset(nn.Linear):
    """Forgets one of its parameters when it draws."""

    def __init__(self):
        super().__init__(2, 2)
        self.extra = nn.Parameter(torch.ones(3))


def test_draws_are_uniform_numbers_in_the_order_of_the_parameters():
    generator = seeded(3)
    for key, value in build(seed=3).state_dict().items():
        if key.split(".")[1] in ("1", "5"):
            assert value.tolist() == [float(key.endswith("weight"))] * 8
            continue
        fan_in = {"blocks.0": 27, "blocks.4": 72, "classifier": 128}[key.rsplit(".", 1)[0]]
        bound = 1 / math.sqrt(fan_in)
        assert torch.equal(value, torch.empty(value.shape).uniform_(-bound, bound, generator=generator)), key


def test_layer_draws_its_parameters_itself_and_leaves_global_state_alone():
    network = nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.ConvTranspose2d(2, 3, 2), nn.LayerNorm(4), nn.PReLU())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(network)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = drawn(network), drawn(network, seed=1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert not torch.equal(first["0.weight"], first["1.weight"])  # each layer has draws of its own
    assert first["0.weight"].abs().max() <= 1 / math.sqrt(3 * 4)  # PyTorch's own range
    assert first["2.weight"].tolist() == [1.0] * 4
    assert first["2.bias"].tolist() == [0.0] * 4
    assert first["3.weight"].tolist() == [0.25]


def test_global_state_is_put_back_after_a_failure():
    class Failing(Scale):
        def reset_parameters(self):
            torch.rand(1)
            raise RuntimeError("no luck")

    torch.manual_seed(1)
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="no luck"):
        initialize(Failing(), seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_norms_of_every_kind_start_as_one_and_zero_and_take_no_draw():
    norms = [nn.BatchNorm1d(2), nn.GroupNorm(2, 2, affine=False), nn.BatchNorm2d(2, affine=False)]
    network = nn.Sequential(*norms, nn.Linear(2, 2))
    norms[2].running_mean.fill_(5)
    nn.init.constant_(norms[0].weight, 5)
    state = drawn(network)
    assert state["0.weight"].tolist() == [1.0, 1.0]
    assert state["2.running_mean"].tolist() == [0.0, 0.0]
    assert torch.equal(state["3.weight"], drawn(nn.Sequential(nn.Linear(2, 2)))["0.weight"])


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (Scale, r"^1: Scale cannot be initialised.*reset_parameters\(\).*\.$"),
        (HalfReset, r"^1: HalfReset cannot be initialised"),
        (lambda: nn.MultiheadAttention(4, 2), r"^1: MultiheadAttention cannot be initialised"),
        (lambda: weight_norm(nn.Conv2d(1, 1, 1)), r"cannot be initialised"),
    ],
    ids=["no method", "method leaves one out", "attention", "weight norm"],
)
def test_layer_that_cannot_be_drawn_is_a_users_error(layer, sentence):
    with pytest.raises(UserError, match=sentence):
        initialize(nn.Sequential(nn.Linear(2, 2), layer()), seeded())


def test_network_that_itself_cannot_be_drawn_is_named():
    with pytest.raises(UserError, match=r"^the network: Scale"):
        initialize(Scale(), seeded())


@pytest.mark.gpu
def test_layer_that_draws_itself_does_so_on_cuda_and_leaves_its_global_state_alone():
    network = nn.ConvTranspose2d(2, 3, 2).to("cuda")
    before = torch.cuda.get_rng_state()
    for _ in range(2):
        initialize(network, torch.Generator("cuda").manual_seed(0))
        weight = network.weight.detach().clone()
        torch.rand(3, device="cuda")
    initialize(network, torch.Generator("cuda").manual_seed(0))
    assert torch.equal(network.weight, weight)
    torch.cuda.set_rng_state(before)
    initialize(network, torch.Generator("cuda").manual_seed(1))
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert not torch.equal(network.weight, weight)


# --- instance norm


def features(dtype):
    drawn = torch.randn(3, 2, 5, 4, generator=seeded(), dtype=torch.float64)
    return (drawn * torch.tensor([0.1, 30.0])[:, None, None] + 2).to(dtype)


def norm():
    layer = InstanceNorm(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, -0.5]))
        layer.bias.copy_(torch.tensor([0.25, 1.0]))
    return layer


@pytest.mark.parametrize("way", ["__call__", "formula"])
def test_instance_norm_is_that_of_numpy(way):
    images, layer = features(torch.float64), norm().double()
    values = images.numpy()
    mean, variance = (getattr(values, kind)((2, 3), keepdims=True) for kind in ("mean", "var"))
    expected = (values - mean) / np.sqrt(variance + 1e-5) * [[[2.0]], [[-0.5]]] + [[[0.25]], [[1.0]]]
    torch.testing.assert_close(getattr(layer, way)(images).detach(), torch.from_numpy(expected))


def test_both_ways_of_instance_norm_have_the_same_gradients():
    gradients = []
    for way in ("__call__", "formula"):
        images, layer = features(torch.float32).requires_grad_(), norm()
        getattr(layer, way)(images).pow(3).sum().backward()
        gradients.append((images.grad, layer.weight.grad, layer.bias.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_instance_norm_by_its_formula_keeps_the_format_and_sums_in_float32():
    found = norm().formula(features(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), norm()(features(torch.bfloat16).float()), rtol=0.01, atol=0.01)


def test_the_compiler_gets_the_formula_on_a_gpu_only(monkeypatch):
    images, layer = features(torch.float32), norm()
    expected = layer(images)
    monkeypatch.setattr(InstanceNorm, "formula", lambda self, images: "formula")
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(layer(images), expected)
    monkeypatch.setattr(base, "_compiling_for_gpu", lambda images: True)
    assert layer(images) == "formula"
