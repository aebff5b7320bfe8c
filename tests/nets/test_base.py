"""Initialisation: the draws in their order, layers that draw themselves, and layers that cannot."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from iid_cl.errors import UserError
from iid_cl.nets import initialize
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
        (Scale, r"^1: Scale cannot be drawn afresh.*reset_parameters\(\).*\.$"),
        (HalfReset, r"^1: HalfReset cannot be drawn afresh"),
        (lambda: nn.MultiheadAttention(4, 2), r"^1: MultiheadAttention cannot be drawn afresh"),
        (lambda: weight_norm(nn.Conv2d(1, 1, 1)), r"cannot be drawn afresh"),
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
