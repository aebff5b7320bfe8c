"""The table of networks agrees with the names that type checkers and the configuration know."""

import pytest

from iid_cl.config.distill import DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.config.networks import NETWORK_INFO
from iid_cl.nets import NETWORKS


def test_the_table_the_names_and_the_builders_agree() -> None:
    assert list(NETWORK_INFO) == list(NETWORKS)
    assert all(info.name == name for name, info in NETWORK_INFO.items())


@pytest.mark.parametrize("name", NETWORK_INFO)
def test_a_network_takes_its_own_keys_only(name: str) -> None:
    values = {"width": 7, "depth": 2, "norm": "group", "weights": "w.pt"}
    for key, value in values.items():
        if key in NETWORK_INFO[name].keys:
            assert getattr(NetworkConfig.model_validate({"name": name, key: value}), key) == value
        else:
            with pytest.raises(ValueError, match=f"{key}: {value!r} means nothing to '{name}'; leave it out"):
                NetworkConfig.model_validate({"name": name, key: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "convent"}, "perhaps 'convnet' is meant, or an address that begins with timm: or torchvision:"),
        ({"name": "timm:"}, "no network has this name"),
        ({"name": "timm:resnet18", "norm": "batch"}, "norm: 'batch' means nothing to 'timm:resnet18'"),
        ({"name": "convnet", "resize": 64}, "resize: 64 means nothing to 'convnet'"),
        ({"name": "convnet", "weights": "hub"}, "weights: 'hub' has none for 'convnet'; name a file"),
        ({"name": "timm:resnet18", "freeze": "features"}, "freeze: 'features' would keep random weights"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkConfig.model_validate(values)


def test_an_embedder_has_trained_weights_or_draws_them_anew() -> None:
    for values, message in (
        ({"name": "torchvision:resnet18"}, "weights: an embedder 'torchvision:resnet18' needs trained ones"),
        ({"norm": "batch"}, "norm: 'batch' would mix the classes"),
    ):
        with pytest.raises(ValueError, match=message):
            EmbedderConfig.model_validate(values)
        assert EmbedderConfig.model_validate({**values, "weights": "w.pt"}).pretrained
    # a trained embedder joins no queue, so nothing ties classes together
    assert DistillConfig(objective="idm").embedder_source == "queue"
    assert DistillConfig(objective="idm", embedder=EmbedderConfig(weights="w.pt")).embedder_source == "fresh"
