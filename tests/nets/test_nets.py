"""Networks: the embed contract, sizes and parameter counts by hand, initialisation from one generator."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from iid_cl.config.distill import EmbedderConfig, NetworkConfig
from iid_cl.errors import UserError
from iid_cl.nets import NETWORKS, ConvNet, ResNet18, build_network, initialize
from tests.nets.helpers import NORMLESS, build, count_parameters, pictures, shape_for

PER_SAMPLE = ["instance", "group", "none"]
NAMES_AND_NORMS = [
    (name, norm) for name in NETWORKS for norm in PER_SAMPLE if name not in NORMLESS or norm == "instance"
]


# --- shapes and stages


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((3, 32, 32), (4, 4)),  # published: three blocks
        ((3, 64, 64), (4, 4)),  # published: four
        ((1, 28, 28), (3, 3)),
        ((1, 8, 8), (4, 4)),
        ((1, 4, 4), (2, 2)),  # one block at least
        ((3, 16, 100), (4, 25)),
    ],
    ids=str,
)
def test_by_default_a_convnet_ends_at_about_four_pixels_a_side(shape, sides):
    network = build(shape, width=2, depth=None)
    assert network.embed(pictures(2, shape)).shape == (2, 2, *sides)


@pytest.mark.parametrize(
    ("shape", "width", "depth", "expected"),
    [
        ((3, 32, 32), 16, 3, (16, 4, 4)),
        ((1, 8, 8), 8, 2, (8, 2, 2)),
        ((1, 28, 28), 8, 3, (8, 3, 3)),  # 28, 14, 7, 3
        ((3, 8, 20), 8, 2, (8, 2, 5)),
        ((2, 8, 8), 4, 3, (4, 1, 1)),
    ],
    ids=str,
)
def test_convnet_halves_the_sides_in_every_block(shape, width, depth, expected):
    network = build(shape, width=width, depth=depth)
    assert network.embed(pictures(2, shape)).shape == (2, *expected)
    assert network.features(pictures(2, shape)).shape == (2, math.prod(expected))
    assert network(pictures(2, shape)).shape == (2, 5)


@pytest.mark.parametrize(("shape", "expected"), [((3, 32, 32), (512, 4, 4)), ((1, 16, 24), (512, 2, 3))], ids=str)
def test_resnet18_keeps_an_eighth_of_the_sides(shape, expected):
    network = build(shape, name="resnet18")
    assert network.embed(pictures(2, shape)).shape == (2, *expected)
    assert network.features(pictures(2, shape)).shape == (2, 512)
    assert network(pictures(2, shape)).shape == (2, 5)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_forward_is_the_classifier_on_the_pooled_embedding(name):
    network = build(name=name)
    images = pictures(shape=shape_for(name))
    pooled = network.pool(network.embed(images))
    weight, bias = (p.double().numpy() for p in (network.classifier.weight, network.classifier.bias))
    expected = pooled.double().numpy() @ weight.T + bias
    np.testing.assert_allclose(network(images).numpy(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.features(images), pooled)


def test_convnet_pools_by_flattening():
    features = pictures(2, (8, 2, 3))
    assert torch.equal(build().pool(features), features.reshape(2, 48))


def test_resnet18_pools_to_the_mean_over_positions():
    features = pictures(2, (512, 2, 3))
    expected = features.double().numpy().sum((2, 3)) / 6
    np.testing.assert_allclose(build(name="resnet18").pool(features).numpy(), expected, atol=1e-6)


@torch.no_grad()
def test_convnet_block_is_convolution_norm_relu_and_average_pooling():
    network = build((1, 2, 2), width=1, depth=1)
    convolution = network.blocks[0]
    convolution.weight.copy_(torch.tensor([[[[0.0, 0, 0], [0, 2, 0], [0, 0, 0]]]]))
    convolution.bias.fill_(7)
    images = torch.tensor([[[[1.0, 2], [3, 6]]]])
    # 2x + 7: mean 13, deviations -4, -2, 0, 6, variance 56 / 4; of what ReLU leaves, 6 / sqrt(14), a quarter
    assert network.embed(images).item() == pytest.approx(6 / math.sqrt(14) / 4, rel=1e-4)


@torch.no_grad()
def test_convnet_without_norm_leaves_it_out():
    network = build((1, 2, 2), width=1, depth=1, norm="none")
    convolution = network.blocks[0]
    convolution.weight.copy_(torch.tensor([[[[0.0, 0, 0], [0, 2, 0], [0, 0, 0]]]]))
    convolution.bias.fill_(-5)
    images = torch.tensor([[[[1.0, 2], [3, 6]]]])
    assert network.embed(images).item() == pytest.approx((1 + 7) / 4)


def test_convolution_sees_beyond_its_own_position():
    network = build((1, 8, 8), norm="none", depth=1)
    image = torch.zeros(1, 1, 8, 8, requires_grad=True)
    network.embed(image)[0, :, 1, 1].sum().backward()  # pixels 2 and 3, and one around them
    assert image.grad[0, 0].nonzero().min() == 1
    assert image.grad[0, 0].nonzero().max() == 4


# --- parameter counts


def test_convnet_has_the_published_number_of_parameters():
    # convolutions 27 * 128 + 128 and twice 9 * 128 * 128 + 128, norms 3 * 256, classifier 2048 * 10 + 10
    assert count_parameters(ConvNet((3, 32, 32), 10)) == 3584 + 2 * 147584 + 768 + 20490 == 320010


@pytest.mark.parametrize("norm", ["instance", "group", "batch", "none"])
def test_small_convnet_parameters_by_hand(norm):
    norms = 0 if norm == "none" else 2 * (8 + 8)
    expected = (9 * 3 * 8 + 8) + (9 * 8 * 8 + 8) + norms + (8 * 4 * 4 * 5 + 5)
    assert count_parameters(build(norm=norm)) == expected


def test_resnet18_has_the_known_number_of_parameters():
    with torch.device("meta"):
        assert count_parameters(ResNet18((3, 32, 32), 10)) == 11_173_962


# --- initialisation


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_gives_the_same_weights_and_another_does_not(name):
    first, again, other = (build(name=name, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize("name", NETWORKS)
def test_global_randomness_neither_matters_nor_changes(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(name=name).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = build(name=name).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_next_network_of_a_generator_is_another():
    generator = torch.Generator().manual_seed(0)
    config = NetworkConfig(name="convnet", width=8, depth=2)
    a, b = (build_network(config, (3, 16, 16), 5, generator).classifier.weight for _ in range(2))
    assert not torch.equal(a, b)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_fill_the_interval_of_one_over_the_root_of_the_fan_in(name):
    for module in build(name=name, classes=40).modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        elif isinstance(module, nn.Linear):
            fan_in = module.in_features
        else:
            continue
        bound = 1 / math.sqrt(fan_in)
        weight = module.weight.detach()
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.95 * bound
        # a uniform distribution's standard deviation, within what so many draws allow
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=3 / math.sqrt(weight.numel()))
        assert abs(float(weight.mean())) < 4 * bound / math.sqrt(3 * weight.numel())
        if module.bias is not None:
            assert 0 < module.bias.abs().max() <= bound


@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
def test_initialising_again_makes_a_used_network_new(norm):
    network = build(norm=norm)
    fresh = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        for value in network.state_dict().values():
            value.copy_(torch.full_like(value, 3))
    network.train()(pictures())
    initialize(network, torch.Generator().manual_seed(0))
    for key, value in network.state_dict().items():
        assert torch.equal(value, fresh[key]), key


@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
def test_norms_start_as_one_and_zero(norm):
    modules = [m for m in build(norm=norm).blocks if not isinstance(m, nn.Conv2d) and list(m.parameters())]
    assert len(modules) == 2
    for module in modules:
        assert module.weight.tolist() == [1.0] * 8
        assert module.bias.tolist() == [0.0] * 8


def test_weights_do_not_depend_on_anything_but_shape_and_generator():
    """A network of more classes has the same body: classifiers are drawn last."""
    few, many = build(classes=2).state_dict(), build(classes=9).state_dict()
    assert all(torch.equal(few[key], many[key]) for key in few if not key.startswith("classifier"))


# --- what samples share


@pytest.mark.parametrize(("name", "norm"), NAMES_AND_NORMS)
@torch.no_grad()
def test_image_alone_gives_what_it_gives_in_a_batch(name, norm):
    network, images = build(name=name, norm=norm).train(), pictures(3, shape_for(name))
    together = network(images)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_batch_norm_ties_images_together_while_training():
    network, images = build(norm="batch").train(), pictures()
    difference = network(images)[0] - network(images[:2])[0]
    assert difference.abs().max() > 1e-2


@torch.no_grad()
def test_batch_norm_judges_each_image_alone_in_evaluation():
    network, images = build(norm="batch").eval(), pictures()
    torch.testing.assert_close(network(images[:1]), network(images)[:1], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_instance_norm_undoes_the_gain_and_offset_of_a_convolution():
    network, images = build(depth=1), pictures()
    before = network.embed(images)
    network.blocks[0].weight.mul_(3)
    network.blocks[0].bias.add_(2)
    torch.testing.assert_close(network.embed(images), before, rtol=1e-2, atol=1e-3)


# --- life in every part


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_features_tell_images_apart(name, shape):
    network = build(shape, name=name, norm="group" if name == "vgg11" and shape[1] < 32 else "instance")
    features = network.features(pictures(6, shape))
    assert features.isfinite().all()
    assert (features.std(0) > 0.01 * features.abs().mean()).float().mean() > 0.5
    assert torch.cdist(features, features).add(torch.eye(6) * 9).min() > 0.05 * features.norm(dim=1).mean()


@pytest.mark.parametrize(("name", "norm"), NAMES_AND_NORMS)
def test_gradient_reaches_the_image_and_every_parameter(name, norm):
    network, images = build(name=name, norm=norm), pictures(3, shape_for(name)).requires_grad_()
    torch.nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2])).backward()
    assert images.grad.abs().amax((1, 2, 3)).min() > 0
    for key, parameter in network.named_parameters():
        undone = norm == "instance" and name not in NORMLESS and parameter.ndim == 1  # biases that the norm removes
        assert parameter.grad is not None, key
        assert undone or parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize(("name", "norms"), [("alexnet", 5), ("vgg11", 8)])
@pytest.mark.parametrize(
    ("norm", "layer", "groups"),
    [
        ("instance", nn.GroupNorm, {64, 128, 192, 256, 512}),
        ("group", nn.GroupNorm, {32}),
        ("batch", nn.BatchNorm2d, None),
    ],
    ids=["instance", "group", "batch"],
)
def test_norm_is_the_one_asked_for(name, norms, norm, layer, groups):
    found = [module for module in build(name=name, norm=norm).modules() if isinstance(module, layer)]
    assert len(found) == norms
    assert groups is None or {module.num_groups for module in found} <= groups


# --- mistakes


@pytest.mark.parametrize(("side", "deep", "most"), [(8, 3, 2), (28, 4, 3), (32, 5, 4)])
@pytest.mark.parametrize("norm", ["instance", "group"])
def test_an_embedder_keeps_more_than_one_position_of_a_normalised_map(side, deep, most, norm):
    """What is distilled by a single one teaches far less."""

    def embedder(**options):
        return build_network(EmbedderConfig(width=4, **options), (1, side, side), 1, torch.Generator().manual_seed(0))

    sentence = rf"^depth: {deep} ConvNet blocks leave one position of {side}x{side} images.* at most {most}, or norm"
    with pytest.raises(UserError, match=sentence):
        embedder(depth=deep, norm=norm)
    assert embedder(depth=most, norm=norm).embed(pictures(2, (1, side, side))).shape[2] > 1
    assert embedder(depth=deep, norm="none").embed(pictures(2, (1, side, side))).shape == (2, 4, 1, 1)


@pytest.mark.parametrize(("side", "most"), [(8, 3), (28, 4), (32, 5)])
def test_too_deep_a_convnet_is_a_users_error(side, most):
    assert build((1, side, 2 * side), depth=most).embed(pictures(2, (1, side, 2 * side))).shape[2] == 1
    sentence = rf"^depth: {most + 1} ConvNet blocks .* {side}x{2 * side} images .* use at most {most}\.$"
    with pytest.raises(UserError, match=sentence):
        build((1, side, 2 * side), depth=most + 1)


def test_weights_are_drawn_on_the_cpu_and_live_where_asked():
    network = build_network(
        NetworkConfig(name="convnet", width=4, depth=1), (1, 4, 4), 2, torch.Generator().manual_seed(0), "cpu"
    )
    assert {p.device.type for p in network.parameters()} == {"cpu"}


@pytest.mark.gpu
def test_weights_on_cuda_are_those_of_the_cpu():
    config = NetworkConfig(name="convnet", width=4, depth=1)
    here, there = (
        build_network(config, (1, 4, 4), 2, torch.Generator().manual_seed(0), d).state_dict() for d in ("cpu", "cuda")
    )
    assert all(torch.equal(here[key], there[key].cpu()) for key in here)
    assert there["classifier.weight"].is_cuda


def test_resnet_with_instance_norm_says_that_small_images_leave_it_nothing():
    with pytest.raises(UserError, match=r"norm: 'instance'.*8x8.*'group'"):
        build_network(NetworkConfig(name="resnet18"), (1, 8, 8), 2, torch.Generator())
    network = build_network(
        NetworkConfig(name="resnet18", norm="group"), (1, 8, 8), 2, torch.Generator().manual_seed(0)
    )
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 2)
