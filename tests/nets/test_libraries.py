"""Networks of timm and torchvision, trained weights from files, and frozen features."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from iid_cl.compute.classifier import Training, train_classifier
from iid_cl.config.distill import NetworkConfig
from iid_cl.errors import UserError
from iid_cl.nets import Network, build_network, libraries
from iid_cl.nets.libraries import Backbone
from iid_cl.nets.weights import read_weights

SMALL = "torchvision:shufflenet_v2_x0_5"
TINY = "timm:test_resnet.r160_in1k"


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=4, side=32, channels=3):
    return torch.randn(count, channels, side, side, generator=draws())


def build(**values):
    return build_network(NetworkConfig(**values), (3, 32, 32), 5, draws(values.pop("seed", 0)))


@pytest.fixture(scope="module")
def donor():
    """A whole network of torchvision with odd weights, running statistics included."""
    from torchvision.models import shufflenet_v2_x0_5

    module = shufflenet_v2_x0_5(weights=None)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.01)
    return module.eval()


@pytest.fixture(params=["safetensors", "wrapped"])
def weights(request, donor, tmp_path):
    """The donor's weights in each kind of file."""
    path = tmp_path / f"weights.{'safetensors' if request.param == 'safetensors' else 'pth'}"
    state = donor.state_dict()
    if request.param == "safetensors":
        save_file(state, path)
    else:
        state = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
        torch.save(state, path)
    return str(path)


@torch.no_grad()
def test_the_features_are_those_that_the_donors_head_sees(donor, weights):
    network, seen = build(name=SMALL, weights=weights).eval(), []
    with donor.fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0])):
        donor(pictures())
    assert network.embed(pictures()).shape == (4, 1024, 1, 1)
    torch.testing.assert_close(network.features(pictures()), seen[0])
    assert network(pictures()).shape == (4, 5)
    enlarged = build(name=SMALL, weights=weights, resize=64).eval()
    larger = nn.functional.interpolate(pictures(), size=(64, 64), mode="bilinear", antialias=True)
    with donor.fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0])):
        donor(larger)
    torch.testing.assert_close(enlarged.features(pictures()), seen[1])


def test_without_trained_weights_they_are_drawn_from_the_generator_alone():
    torch.manual_seed(1)
    first = build(name=SMALL).state_dict()
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = build(name=SMALL).state_dict()
    torch.manual_seed(1)
    build(name=SMALL)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(state, torch.get_rng_state())
    other = build_network(NetworkConfig(name=SMALL), (3, 32, 32), 5, draws(1)).state_dict()
    assert not torch.equal(first["body.conv1.0.weight"], other["body.conv1.0.weight"])


def test_grey_images_have_three_equal_channels_and_others_are_refused():
    network = build_network(NetworkConfig(name=SMALL), (1, 32, 32), 5, draws()).eval()
    grey = pictures(channels=1)
    torch.testing.assert_close(network(grey), network(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(UserError, match=r"^name: 'torchvision:.*' takes images of 1 or 3 channels, not of 2; "):
        build_network(NetworkConfig(name=SMALL), (2, 32, 32), 5, draws())


def test_frozen_features_stay_and_the_head_learns():
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5))
    network: Network = Backbone(body, 4, classes=2)
    network.freeze()
    before = copy.deepcopy(network.state_dict())
    labels = torch.tensor([0, 1, 0, 1])
    train_classifier(network, pictures(), labels, Training(2, 4, lr=0.1), augmentations=(), generator=draws())
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert network.classifier.training
    assert not body[1].training
    assert not network.eval().classifier.training


def test_a_runs_own_network_lends_its_features(tmp_path):
    from iid_cl.data.images import Normalization
    from iid_cl.evaluate.model import TrainedModel, load_model, save_model

    config = NetworkConfig(width=4, depth=2, norm="batch")
    donor = build_network(config, (3, 32, 32), 3, draws(7))
    half = Normalization((0.5,) * 3, (0.5,) * 3)
    save_model(tmp_path / "model.safetensors", TrainedModel(donor, config, (3, 32, 32), ("a", "b", "c"), half, [[0]]))
    taken = config.model_copy(update={"weights": str(tmp_path), "freeze": "features"})  # the run's directory
    network = build_network(taken, (3, 32, 32), 5, draws())
    assert torch.equal(network.eval().embed(pictures()), donor.eval().embed(pictures()))
    assert network.classifier.out_features == 5
    # a run that learns with it keeps all weights itself: the donor's file may be gone
    save_model(tmp_path / "second.safetensors", TrainedModel(network, taken, (3, 32, 32), tuple("abcde"), half, [[0]]))
    (tmp_path / "model.safetensors").unlink()
    again = load_model(tmp_path / "second.safetensors").network
    assert torch.equal(again(pictures()), network(pictures()))
    with pytest.raises(UserError, match=r"^weights: .*model.safetensors: no such file; name one, or "):
        build_network(taken, (3, 32, 32), 5, draws())
    for key, values in {
        "width": {"width": 8},
        "norm": {"norm": "group"},
        "name": {"name": "lenet", "width": 128},
    }.items():
        wrong = NetworkConfig.model_validate(
            {"width": 4, "depth": 2, "norm": "batch", **values, "weights": str(tmp_path / "second.safetensors")}
            if key != "name"
            else {"name": "lenet", "weights": str(tmp_path / "second.safetensors")}
        )
        with pytest.raises(UserError, match=rf"^weights: .*: holds a network of {key} .*, not .*; set {key}: "):
            build_network(wrong, (3, 32, 32), 5, draws())


class Evil:
    """Unpickling it would end the tests."""

    def __reduce__(self):
        return (exit, ())


def test_files_that_hold_no_such_weights_are_one_sentence(donor, tmp_path):
    state = donor.state_dict()
    save_file({k: v for k, v in state.items() if k != "conv1.0.weight"}, tmp_path / "lacks.safetensors")
    save_file({**state, "extra": torch.ones(1)}, tmp_path / "more.safetensors")
    save_file({**state, "conv1.0.weight": torch.ones(1)}, tmp_path / "shape.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save({"epoch": 3}, tmp_path / "none.pt")

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    for name, message in {
        "lacks.safetensors": "does not fit this network: it lacks 'conv1.0.weight'; name the network",
        "more.safetensors": "it has besides 'extra'",
        "shape.safetensors": "it has in another shape 'conv1.0.weight'",
        "text.safetensors": "holds no weights that can be read safely",
        "none.pt": "holds no weights that can be read safely",
        "evil.pt": "holds no weights that can be read safely",
        "missing.pt": "no such file",
    }.items():
        with pytest.raises(UserError, match=rf"^weights: .*{name}: .*{message}") as caught:
            build(name=SMALL, weights=str(tmp_path / name))
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)
    assert read_weights(str(tmp_path / "more.safetensors"))[0]["extra"].tolist() == [1]


def test_what_a_library_lacks_is_one_sentence(monkeypatch):
    with pytest.raises(UserError, match=r"^name: torchvision has no network 'resnet19'; perhaps 'torchvision:resnet1"):
        build(name="torchvision:resnet19")
    with pytest.raises(UserError, match=r"^name: torchvision's 'squeezenet1_1' has no linear head to replace"):
        build(name="torchvision:squeezenet1_1")
    monkeypatch.setattr("iid_cl.errors.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^name: 'timm:resnet18' needs timm, .*; run pip install 'iid-cl\[timm\]'\.$"):
        build(name="timm:resnet18")


def test_timm_and_its_hub(tmp_path, monkeypatch):
    """The hub is a stand-in for what lies behind the network: the request, the cache and the download."""
    import huggingface_hub
    import timm

    donor = timm.create_model("test_resnet", num_classes=1000).eval()
    save_file(donor.state_dict(), tmp_path / "model.safetensors")
    asked = []

    def download(repository, name, local_files_only=False):
        asked.append((repository, name, local_files_only))
        if local_files_only:
            raise FileNotFoundError(name)
        return str(tmp_path / "model.safetensors")

    def unreachable(request, timeout):
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(libraries.urllib.request, "urlopen", unreachable)
    with pytest.raises(UserError, match=r"^weights: https://\S+ cannot be reached \(no route\); name a file"):
        build(name=TINY, weights="hub")
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors", True)]  # the cache first, and no download
    monkeypatch.setattr(libraries.urllib.request, "urlopen", lambda request, timeout: (tmp_path / "x").open("w"))
    network = build(name=TINY, weights="hub").eval()
    expected = donor.forward_head(donor.forward_features(pictures()), pre_logits=True)
    torch.testing.assert_close(network.features(pictures()), expected)
    with pytest.raises(UserError, match=r"^name: timm has no network 'resnet18x'; perhaps 'timm:\w+' is meant\.$"):
        build(name="timm:resnet18x")
    with pytest.raises(UserError, match=r"^name: 'timm:vit_tiny_patch16_224' cannot take images of 32x32 .*; set"):
        build(name="timm:vit_tiny_patch16_224")
