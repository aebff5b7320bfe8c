"""The table of networks agrees with the names that type checkers and the configuration know."""

from typing import get_args

import pytest

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.networks import NETWORK_INFO, NetworkName
from iid_cl.nets import NETWORKS


def test_the_table_the_names_and_the_builders_agree() -> None:
    assert list(NETWORK_INFO) == list(get_args(NetworkName)) == list(NETWORKS)
    assert all(info.name == name for name, info in NETWORK_INFO.items())


@pytest.mark.parametrize("name", NETWORK_INFO)
def test_a_network_takes_its_own_keys_only(name: NetworkName) -> None:
    values = {"width": 7, "depth": 2, "norm": "group"}
    for key, value in values.items():
        if key in NETWORK_INFO[name].keys:
            assert getattr(NetworkConfig.model_validate({"name": name, key: value}), key) == value
        else:
            with pytest.raises(ValueError, match=f"{key}: {value!r} means nothing to '{name}'; leave it out"):
                NetworkConfig.model_validate({"name": name, key: value})
