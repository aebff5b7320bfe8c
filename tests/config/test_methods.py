"""The table of memory methods, and that configuration, schema and documentation are made from it."""

import subprocess
import sys

import pytest

from iid_cl.config.experiment import Config, MemoryConfig
from iid_cl.config.methods import METHODS, MethodInfo, described, for_whole_data, owners, table
from iid_cl.config.reading import parse_config
from iid_cl.config.schema import config_schema
from iid_cl.errors import UserError
from iid_cl.memory.selection import RULES


def test_a_method_is_listed_under_its_name() -> None:
    assert all(name == info.name for name, info in METHODS.items())
    assert len({info.says for info in METHODS.values()}) == len(METHODS)


def test_the_bounds_keep_no_memory() -> None:
    bounds = {name: info.sees for name, info in METHODS.items() if info.bound}
    assert bounds == {"none": "experience", "cumulative": "so_far", "joint": "all"}
    for name in bounds:
        info = METHODS[name]
        assert info == MethodInfo(name, info.says, bound=True, sees=info.sees, stream_only=True)


def test_real_images_are_chosen_by_the_rule_of_their_name() -> None:
    real = {name for name, info in METHODS.items() if info.real}
    assert real == set(RULES)
    assert {name for name in real if not METHODS[name].needs_features} == {"random"}
    assert not any(METHODS[name].distils for name in real)


def test_methods_that_distil() -> None:
    assert [name for name, info in METHODS.items() if info.distils] == ["distilled", "hybrid", "auto"]
    # real ones in hybrid and auto are herded
    assert [METHODS[name].needs_features for name in ("distilled", "hybrid", "auto")] == [False, True, True]


@pytest.mark.parametrize(
    ("key", "methods"),
    [
        ("downscale", ["random", "herding", "k_centre", "closest"]),
        ("jpeg", ["random", "herding", "k_centre", "closest", "distilled", "hybrid"]),
        ("soft_labels", ["distilled", "hybrid", "auto"]),
        ("share", ["hybrid"]),
        ("shrink", ["distilled", "hybrid", "auto"]),
        ("ipc", []),  # a budget belongs to every memory
        ("method", []),
        ("no such key", []),
    ],
)
def test_a_key_belongs_to_its_methods(key: str, methods: list[str]) -> None:
    assert owners(key) == methods


def test_every_key_of_a_method_is_there() -> None:
    keys = {key for info in METHODS.values() for key in info.keys}
    assert keys <= set(MemoryConfig.model_fields)
    budgets = {"ipc", "mem_size", "mem_bytes", "class_bytes"}
    assert set(MemoryConfig.model_fields) - keys == {"method"} | budgets


def test_a_whole_data_set_takes_what_needs_no_stream() -> None:
    assert for_whole_data() == ["random", "herding", "k_centre", "closest", "distilled"]


def test_the_schema_lists_every_method() -> None:
    schema = config_schema()
    memory = schema["$defs"]["MemoryConfig"]["properties"]["method"]
    assert memory["enum"] == list(METHODS)
    assert schema["properties"]["baselines"]["items"]["enum"] == list(METHODS)
    for info in METHODS.values():
        assert info.says in memory["description"]
    assert all(name in described() for name in METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_configuration_accepts_every_method(name: str) -> None:
    assert parse_config({"memory": {"method": name}, "baselines": [name]}, "a test").memory.method == name
    assert f"`{name}`" in table()


def test_a_configuration_accepts_no_other_method() -> None:
    with pytest.raises(UserError, match=r"memory\.method: 'herdng' is not accepted"):
        parse_config({"memory": {"method": "herdng"}}, "a test")
    assert Config().memory.method in METHODS


def test_the_table_imports_neither_torch_nor_avalanche() -> None:
    program = "import sys, iid_cl.config.methods; print({'torch', 'numpy', 'avalanche'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
