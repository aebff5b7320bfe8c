"""The typed configuration: every mistake is one sentence that names the key and the value."""

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from iid_cl.config.distill import DistillConfig, NetworkConfig
from iid_cl.config.experiment import Config, StreamConfig
from iid_cl.config.reading import (
    dump_config,
    load_config,
    parse_config,
    parse_section,
    read_override,
    shipped_configs,
    with_overrides,
)
from iid_cl.errors import UserError

pytestmark = pytest.mark.usefixtures("in_tmp_path")  # a local file would precede a shipped configuration


def refusal(*overrides: str, source: str | None = None) -> str:
    """The message of the error that these values must raise; checks that it is one sentence."""
    with pytest.raises(UserError) as caught:
        load_config(source, overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert re.search(r"[.?]$", message), message
    assert "pydantic" not in message
    return message


def written(text: str | bytes, name: str = "my.yaml") -> str:
    """A file of this content in the working directory."""
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def sections(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """A section and all below it, with the prefix of its keys."""
    yield prefix, section
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation, f"{prefix}{name}.")


KEYS = [(prefix + name, section, name) for prefix, section in sections(Config) for name in section.model_fields]


def test_defaults_resolve_to_a_whole_configuration() -> None:
    config = load_config(None)
    assert config == Config() == parse_config({}, "nothing")
    assert list(yaml.safe_load(dump_config(config))) == list(Config.model_fields)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "{}"])
def test_an_empty_file_means_the_defaults(text: str) -> None:
    assert load_config(written(text)) == Config()


def test_a_file_sets_its_keys_and_no_others() -> None:
    config = load_config(written("memory: {ipc: 7}\nname: mine\n"))
    assert (config.memory.ipc, config.name) == (7, "mine")
    assert config.memory.method == Config().memory.method
    assert config.train == Config().train


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_config(None).memory.ipc = 3  # type: ignore[misc]


@pytest.mark.parametrize(("key", "section", "name"), KEYS, ids=[key for key, *_ in KEYS])
def test_every_field_says_what_it_means(key: str, section: type[BaseModel], name: str) -> None:
    assert (section.model_fields[name].description or "").strip().endswith(".")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("nmae", "name"),
        ("memroy", "memory"),
        ("stream.experiecnes", "stream.experiences"),
        ("train.epoch", "train.epochs"),
        ("distill.iteration", "distill.iterations"),
        ("distill.real_bacth", "distill.real_batch"),
        ("distill.queue.step", "distill.queue.steps"),
        ("distill.cc.trainigns", "distill.cc.trainings"),
        ("distill.cc.network.widht", "distill.cc.network.width"),
        ("evaluate.network.dpeth", "evaluate.network.depth"),
    ],
)
def test_a_misspelt_key_names_the_nearest_one(wrong: str, right: str) -> None:
    message = refusal(f"{wrong}=1")
    assert f"'{wrong}'" in message
    assert f"'{right}'" in message


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("ipc", "memory.ipc"),
        ("memory.iterations", "distill.iterations"),
        ("experiences", "stream.experiences"),
        ("distill.trainings", "distill.cc.trainings"),
        ("evaluate.depth", "evaluate.network.depth"),
        ("distill.width", "distill.embedder.width"),
        ("distill.cross_entropy", "distill.queue.cross_entropy"),
    ],
)
def test_a_key_in_the_wrong_section_names_the_right_one(wrong: str, right: str) -> None:
    assert f"'{right}'" in refusal(f"{wrong}=1")


def test_an_unknown_key_in_a_file_names_the_file() -> None:
    message = refusal(source=written("memory: {icp: 3}"))
    assert "my.yaml" in message
    assert "'memory.icp'" in message
    assert "'memory.ipc'" in message


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("memory.ipc", "five", "'five'"),
        ("memory.ipc", "'5'", "'5'"),
        ("memory.ipc", "5.0", "5.0"),
        ("memory.ipc", "true", "True"),
        ("memory.downscale", "null", "None"),
        ("memory.downscale", "", "None"),
        ("memory.ipc", "[1]", "[1]"),
        ("train.lr", "fast", "'fast'"),
        ("train.lr", "true", "True"),
        ("train.augment", "1", "1"),
        ("train.augment", "maybe", "'maybe'"),
        ("train.mode", "7", "7"),
        ("stream.classes", "5", "5"),
        ("baselines", "random", "'random'"),
        ("memory", "3", "3"),
        ("stream", "null", "None"),
        ("distill.cc", "[]", "[]"),
        ("compile", "maybe", "'maybe'"),
        ("compile", "1", "1"),
        ("distill.queue", "5", "5"),
        ("distill.queue.steps", "2.5", "2.5"),
        ("distill.real_batch", "null", "None"),
        ("seed", "2024-01-01", "2024"),
        ("name", "3", "3"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(key: str, text: str, shown: str) -> None:
    message = refusal(f"{key}={text}")
    assert f" {key}: " in message
    assert shown in message


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("memory.ipc", "0", "0"),
        ("memory.ipc", "-1", "-1"),
        ("stream.experiences", "0", "0"),
        ("stream.order_seed", "-1", "-1"),
        ("stream.image_size", "0", "0"),
        ("stream.validation", "1.0", "1.0"),
        ("stream.validation", "-0.1", "-0.1"),
        ("train.lr", "0.0", "0.0"),
        ("train.lr", "-0.5", "-0.5"),
        ("train.momentum", "1.5", "1.5"),
        ("train.weight_decay", "-1", "-1"),
        ("distill.cc.weight", "-0.5", "-0.5"),
        ("distill.cc.beta", "0.5", "0.5"),
        ("distill.cc.beta", ".inf", "inf"),
        ("distill.cc.network.depth", "0", "0"),
        ("distill.real_batch", "1", "1"),
        ("distill.queue.networks", "0", "0"),
        ("distill.scale", "random", "'random'"),
        ("precision", "float16", "'float16'"),
        ("distill.embedder.width", "-8", "-8"),
        ("evaluate.networks", "0", "0"),
        ("seed", "-1", "-1"),
        ("seed", "4294967296", "4294967296"),
        ("stream.dataset", "imagenet", "'imagenet'"),
        ("memory.method", "magic", "'magic'"),
        ("train.mode", "both", "'both'"),
        ("device", "gpu", "'gpu'"),
        ("device", "'cuda:'", "'cuda:'"),
        ("name", "../up", "'../up'"),
        ("name", "a/b", "'a/b'"),
        ("name", "''", "''"),
        ("device", "cuda:1000", "'cuda:1000'"),
        ("device", "cuda:٣", "'cuda:٣'"),
    ],
)
def test_a_value_out_of_range_is_refused(key: str, text: str, shown: str) -> None:
    message = refusal(f"{key}={text}")
    assert f" {key}: {shown} " in message


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize(
    "key",
    [
        "train.lr",
        "train.momentum",
        "train.weight_decay",
        "stream.validation",
        "distill.lr",
        "distill.cc.weight",
        "distill.cm.weight",
    ],
)
def test_numbers_that_are_none_are_refused(key: str, text: str) -> None:
    message = refusal(f"{key}={text}")
    assert f" {key}: {text.replace('.', '')} " in message


def test_a_list_names_the_item_that_is_wrong() -> None:
    message = refusal("distill.augment=[color, colour]")
    assert "distill.augment.1" in message
    assert "'colour'" in message


@pytest.mark.parametrize(
    "text", ["[[0, 0]]", "[[0, 1, 0], [2]]", "[[0, 1], []]", "[[]]", "[]", "[[-1, 2]]", "[[3], [2, -4]]"]
)
def test_explicit_classes_are_distinct_and_not_empty(text: str) -> None:
    message = refusal(f"stream.classes={text}")
    assert "stream.classes" in message
    assert text in message


@pytest.mark.parametrize("text", ["[0, 1]", "[[0, 1.5]]", "[['a']]", "[[0, true]]", "&a [*a]"])
def test_explicit_classes_are_lists_of_whole_numbers(text: str) -> None:
    assert "stream.classes" in refusal(f"stream.classes={text}")


def test_set_takes_nested_keys_and_lists() -> None:
    config = load_config(
        None,
        [
            "seed=3",
            "distill.cc.network.width=16",
            "stream.classes=[[4, 2], [0]]",
            "baselines=[random, none]",
            "stream.order_seed=null",
            "name=a.b-c_1",
            "train.lr=1",
        ],
    )
    assert config.seed == 3
    assert config.distill.cc.network.width == 16
    assert config.stream.classes == [[4, 2], [0]]
    assert config.baselines == ["random", "none"]
    assert config.stream.order_seed is None
    assert config.name == "a.b-c_1"
    assert config.train.lr == 1.0


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("null", None)])
def test_compilation_is_on_off_or_as_it_pays(text: str, value: bool | None) -> None:
    assert load_config(None, [f"compile={text}"]).compile is value
    assert load_config(None).compile is None


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("5e-4", 0.0005), ("2E2", 200.0), ("1.5e-3", 0.0015)])
def test_scientific_notation_is_a_number(text: str, value: float) -> None:
    assert load_config(None, [f"train.lr={text}"]).train.lr == value
    assert load_config(written(f"train: {{lr: {text}}}")).train.lr == value


def test_set_overrides_the_file_and_the_last_one_wins() -> None:
    source = written("memory: {ipc: 2, method: random}\nseed: 9\n")
    config = load_config(source, ["memory.ipc=3", "memory.ipc=4"])
    assert (config.memory.ipc, config.memory.method, config.seed) == (4, "random", 9)


def test_set_takes_a_whole_section() -> None:
    config = load_config(None, ["memory={ipc: 3, method: herding}", "memory.ipc=6"])
    assert (config.memory.ipc, config.memory.method) == (6, "herding")


@pytest.mark.parametrize("override", ["memory.ipc", "=3", "", "memory", "-"])
def test_set_without_key_or_value_is_refused(override: str) -> None:
    message = refusal(override)
    assert f"--set {override!r}" in message
    assert "key=value" in message


@pytest.mark.parametrize("text", ["[", "{a: 1", "'open", "!!python/name:os.system", "@x", "[" * 3000])
def test_set_with_a_value_that_is_not_yaml_is_refused(text: str) -> None:
    assert "not valid YAML" in refusal(f"memory.ipc={text}")


def test_set_below_a_value_is_refused() -> None:
    message = refusal("memory.ipc=3", source=written("memory: 5"))
    assert "'memory'" in message
    assert "not a section" in message


@pytest.mark.parametrize(
    ("override", "key"), [("memory..ipc=3", "'memory.'"), (".memory=3", "''"), ("memory.=3", "'memory.'")]
)
def test_set_with_an_empty_part_of_a_key_is_refused(override: str, key: str) -> None:
    assert f"unknown key {key}" in refusal(override)


def test_set_below_a_number_is_refused() -> None:
    assert "memory.ipc" in refusal("memory.ipc.x=3")


@pytest.mark.parametrize(
    "text",
    [
        "stream: [1, 2",
        "a: b: c",
        "\tstream: {}",
        "seed: " + "9" * 5000,
        "stream: " + "[" * 20_000,
        "stream: {classes: " + "[" * 900 + "]" * 900 + "}",
        "a\0b",
        "name: *nowhere",
        "? [a]\n: b",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_file_that_is_not_yaml_is_refused(text: str) -> None:
    message = refusal(source=written(text))
    assert "my.yaml" in message
    assert "YAML" in message


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir [pwned]",
        "!!python/object/new:os.mkdir [pwned]",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!local x",
    ],
)
def test_tags_are_refused_and_not_run(value: str) -> None:
    assert "my.yaml" in refusal(source=written(f"name: {value}"))
    refusal(f"name={value}")
    assert not Path("pwned").exists()


@pytest.mark.parametrize(("text", "kind"), [("[1, 2]", "list"), ("just words", "str"), ("5", "int")])
def test_a_file_without_keys_is_refused(text: str, kind: str) -> None:
    message = refusal(source=written(text))
    assert "my.yaml" in message
    assert kind in message


def test_a_binary_file_is_refused() -> None:
    message = refusal(source=written(b"\x89PNG\r\n\x1a\n\xff\xfe\x00"))
    assert "my.yaml" in message
    assert "text" in message


def test_a_directory_is_refused() -> None:
    Path("folder").mkdir()
    assert "folder" in refusal(source="folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused() -> None:
    Path(written("seed: 1")).chmod(0)
    assert "my.yaml" in refusal(source="my.yaml")


@pytest.mark.parametrize("source", ["missing.yaml", "no/such/split_digits.yaml", "", "x" * 5000, "a\0b"])
def test_a_missing_file_is_refused(source: str) -> None:
    assert refusal(source=source).startswith(source)


def test_a_missing_file_lists_what_is_shipped() -> None:
    message = refusal(source="missing.yaml")
    assert all(name in message for name in shipped_configs())


@pytest.mark.parametrize("text", ["1: 2", "stream: {1: 2}", '? "a\\nb"\n: 1', "null: 3", "stream: {? [1, 2] : 3}"])
def test_keys_that_are_no_names_are_refused(text: str) -> None:
    assert "my.yaml" in refusal(source=written(text))


def test_a_key_given_twice_is_refused() -> None:
    assert "seed" in refusal(source=written("seed: 1\nseed: 2\n"))


def test_a_local_file_precedes_the_shipped_one_of_its_name() -> None:
    name = shipped_configs()[0]
    shipped = load_config(name)
    written("name: mine", name)
    assert load_config(name).name == "mine" != shipped.name


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_configuration_loads_under_its_own_name(name: str) -> None:
    assert load_config(name).name == name.removesuffix(".yaml")


@pytest.mark.parametrize("name", shipped_configs())
def test_a_shipped_configuration_survives_its_dump(name: str) -> None:
    config = load_config(name)
    assert load_config(written(dump_config(config))) == config


@pytest.mark.parametrize(
    "values",
    [
        {"stream": {"classes": [[3, 1], [0]], "validation": 0.125, "order_seed": 7, "image_size": 32}},
        {"distill": {"lr": 1e-7, "cm": {"weight": 123456.789}, "augment": []}},
        {"distill": {"augment": ["flip", "color"], "cc": {"weight": 1e20}}},
        {"compile": False, "precision": "bfloat16", "distill": {"queue": {"networks": 3, "steps": 7}}},
        {"baselines": ["none", "joint"], "device": "cuda:3", "seed": 2**32 - 1},
        *({"name": name} for name in ("null", "yes", "1e3", "1e-3", "12", "2024-01-01", "0x1F", "1_000")),
    ],
    ids=str,
)
def test_a_configuration_survives_its_dump(values: dict[str, object]) -> None:
    config = parse_config(values, "test")
    assert load_config(written(dump_config(config))) == config


def test_the_dump_holds_every_key() -> None:
    dumped = yaml.safe_load(dump_config(Config()))
    for key, *_ in KEYS:
        value = dumped
        for part in key.split("."):
            assert part in value, key
            value = value[part]


# what each architecture has no use for, and a value that is not the default
OTHERS = {"width": 64, "depth": 2}
IGNORED = [
    *((name, key, value) for name in ("alexnet", "vgg11", "resnet18") for key, value in OTHERS.items()),
    *((name, key, value) for name in ("mlp", "lenet") for key, value in {**OTHERS, "norm": "group"}.items()),
]


@pytest.mark.parametrize(("name", "key", "value"), IGNORED)
@pytest.mark.parametrize("section", ["model", "evaluate.network", "distill.embedder", "distill.cc.network"])
def test_a_key_that_an_architecture_ignores_is_refused(section: str, name: str, key: str, value: Any) -> None:
    message = refusal(f"{section}={{name: {name}, {key}: {value}}}")
    assert f" {section}: " in message
    assert f"{key}: {value!r} means nothing to {name!r}; leave it out." in message


def test_the_first_of_several_ignored_keys_is_named() -> None:
    assert "depth: 2 means nothing to 'mlp'" in refusal("model={name: mlp, width: 64, depth: 2, norm: none}")


def test_a_key_that_a_further_architecture_ignores_names_its_place() -> None:
    message = refusal("evaluate.transfer=[{name: vgg11}, {name: mlp, norm: none}]")
    assert " evaluate.transfer.1: " in message
    assert "norm: 'none' means nothing to 'mlp'" in message


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "convnet", "norm": "batch", **OTHERS},
        *({"name": name, "norm": "batch"} for name in ("alexnet", "vgg11", "resnet18")),
        {"name": "mlp"},
        {"name": "lenet"},
        {"name": "lenet", "width": 128, "norm": "instance"},  # as a dump spells out the defaults
    ],
    ids=str,
)
def test_an_architecture_takes_its_own_keys(keys: dict[str, Any]) -> None:
    network = parse_section(NetworkConfig, keys, "test")
    assert {key: getattr(network, key) for key in keys} == keys
    config = parse_config({"model": keys, "evaluate": {"transfer": [keys]}}, "test")
    assert config.model == config.evaluate.transfer[0] == network
    assert load_config(written(dump_config(config))) == config


def test_several_networks_belong_to_memory_only() -> None:
    assert "networks: 3 means nothing to 'replay'" in refusal("train.networks=3")
    assert load_config(None, ["train.networks=3", "train.mode=memory_only"]).train.networks == 3


@pytest.mark.parametrize("key", ["stream.first_classes", "stream.train_limit", "stream.test_limit", "train.networks"])
def test_a_number_of_nothing_is_refused(key: str) -> None:
    assert key in refusal(f"{key}=0")


@pytest.mark.parametrize("method", ["{label: a, set: {}}", "{name: a}", "{name: a, set: {}, memory: {share: 0.1}}"])
def test_a_method_of_ones_own_says_what_it_holds(method: str) -> None:
    message = refusal(f"compare.methods=[random, {method}]")
    assert "compare.methods.1: {" in message
    assert "must be a name, or hold name and set" in message


@pytest.mark.parametrize("method", ["none", "random", "herding", "joint"])
def test_soft_labels_belong_to_distilled_images(method: str) -> None:
    message = refusal(f"memory={{method: {method}, soft_labels: true}}")
    assert f"soft_labels: true means nothing to {method!r}" in message
    assert "leave it out, or set method to distilled or hybrid or auto." in message
    assert load_config(None, ["memory={method: auto, soft_labels: true}"]).memory.soft_labels


@pytest.mark.parametrize(
    ("keys", "factor", "source"),
    [
        ({}, 1, "fresh"),
        ({"objective": "dm"}, 1, "fresh"),
        ({"objective": "idm"}, 2, "queue"),
        ({"objective": "ncfm"}, 2, "queue"),
        ({"objective": "dm", "partition": 3}, 3, "fresh"),
        ({"objective": "idm", "partition": 1}, 1, "queue"),
        ({"objective": "ncfm", "partition": 4}, 4, "queue"),
        ({"objective": "idm", "partition": None}, 2, "queue"),
        ({"embedders": "queue"}, 1, "queue"),
        ({"objective": "idm", "embedders": "fresh"}, 2, "fresh"),
        ({"embedders": "queue", "embedder": {"weights": "w.pt"}}, 1, "fresh"),
    ],
    ids=str,
)
def test_partition_and_embedders_follow_the_objective_unless_given(
    keys: dict[str, Any], factor: int, source: str
) -> None:
    config = parse_section(DistillConfig, keys, "test")
    assert (config.factor, config.embedder_source) == (factor, source)


def test_a_section_alone_is_checked_like_a_whole_configuration() -> None:
    assert parse_section(StreamConfig, {"dataset": "mnist"}, "here") == StreamConfig(dataset="mnist")
    with pytest.raises(UserError) as caught:
        parse_section(StreamConfig, {"datset": "mnist"}, "here")
    assert str(caught.value) == "here: unknown key 'datset'; did you mean 'dataset'?"
    with pytest.raises(UserError, match=r"^here: experiences: 0 is not accepted: .*\.$"):
        parse_section(StreamConfig, {"experiences": 0}, "here")


def test_overrides_set_dotted_keys_in_order() -> None:
    values = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert with_overrides(values, []) == values
    assert with_overrides(values, [("a.c.d", 4), ("e", [5]), ("f.g.h", 6)]) == {
        "a": {"b": 1, "c": {"d": 4}},
        "e": [5],
        "f": {"g": {"h": 6}},
    }
    assert with_overrides(values, [("a", {"b": 7}), ("a.c", 8)]) == {"a": {"b": 7, "c": 8}, "e": 3}
    assert with_overrides(values, [("a.c", 8), ("a", {"b": 7})]) == {"a": {"b": 7}, "e": 3}


def test_overrides_leave_what_they_are_given_alone() -> None:
    values: dict[str, Any] = {"a": {"b": 1}}
    overrides: list[tuple[str, Any]] = [("c", {"d": 2}), ("c.d", 3), ("a.e", 4), ("new.key", 5)]
    before = copy.deepcopy((values, overrides))
    result = with_overrides(values, overrides)
    assert result == {"a": {"b": 1, "e": 4}, "c": {"d": 3}, "new": {"key": 5}}
    assert (values, overrides) == before


def test_overrides_apply_as_often_as_they_are_given() -> None:
    given = iter([("a.b", 1), ("a", {"c": 2}), ("a.b", 3)])
    assert with_overrides({}, given) == {"a": {"c": 2, "b": 3}}


def test_an_override_of_a_section_leaves_its_alias_alone() -> None:
    source = written("model: &small {width: 16}\nevaluate: {network: *small}\n")
    config = load_config(source, ["model.width=32"])
    assert (config.model.width, config.evaluate.network.width) == (32, 16)


@pytest.mark.parametrize("value", [5, None, [1], "text"])
def test_an_override_below_a_value_is_refused(value: Any) -> None:
    with pytest.raises(UserError) as caught:
        with_overrides({"a": {"b": value}}, [("a.b.c", 1)])
    assert str(caught.value) == "a.b.c: 'b' is a value, not a section."


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("memory.ipc=5", ("memory.ipc", 5)),
        ("a=", ("a", None)),
        ("a=b=c", ("a", "b=c")),
        ("a={b: [1, x]}", ("a", {"b": [1, "x"]})),
        ("a='5'", ("a", "5")),
        ("a.b=0.5", ("a.b", 0.5)),
    ],
)
def test_an_override_is_a_key_and_yaml(text: str, read: tuple[str, Any]) -> None:
    assert read_override(text) == read


@pytest.mark.parametrize(("text", "shown"), [("memory.ipc", "key=value"), ("=5", "key=value"), ("a=[", "not valid")])
def test_an_override_that_reads_otherwise_is_refused(text: str, shown: str) -> None:
    with pytest.raises(UserError, match=rf"^--set {re.escape(repr(text))}: .*{shown}.*\.$"):
        read_override(text)


# --- memory: budgets and ways of storing


@pytest.mark.parametrize(
    ("memory", "budget"),
    [
        ("{}", ("ipc", 10)),
        ("{ipc: 3}", ("ipc", 3)),
        ("{mem_size: 50}", ("mem_size", 50)),
        ("{mem_bytes: 5000}", ("mem_bytes", 5000)),
        ("{class_bytes: 700}", ("class_bytes", 700)),
    ],
)
def test_the_budget_in_force(memory: str, budget: tuple[str, int]) -> None:
    found = load_config(None, [f"memory={memory}"]).memory.budget
    assert (found.key, found.amount) == budget


@pytest.mark.parametrize(
    ("memory", "shown"),
    [
        ("{ipc: 3, mem_size: 50}", "mem_size: 50 contradicts ipc"),
        ("{mem_bytes: 5000, class_bytes: 700}", "class_bytes: 700 contradicts mem_bytes"),
        ("{method: random, jpeg: 50, downscale: 2}", "jpeg: 50 contradicts downscale: 2"),
        ("{method: distilled, downscale: 2}", "downscale: 2 means nothing to 'distilled'"),
        ("{method: auto, jpeg: 50}", "jpeg: 50 means nothing to 'auto'"),
        ("{method: reservoir, jpeg: 50}", "jpeg: 50 means nothing to 'reservoir'"),
        ("{method: auto, share: 0.2}", "share: 0.2 means nothing to 'auto'"),
        ("{method: herding, shrink: cut}", "shrink: cut means nothing to 'herding'"),
        ("{method: random, jpeg: 96}", "memory.jpeg: 96"),
        ("{method: hybrid, share: 1.1}", "memory.share: 1.1"),
        ("{method: random, downscale: 0}", "memory.downscale: 0"),
        ("{mem_bytes: 0}", "memory.mem_bytes: 0"),
        ("{method: nearest}", "memory.method: 'nearest'"),
    ],
)
def test_a_memory_that_contradicts_itself_is_refused(memory: str, shown: str) -> None:
    assert shown in refusal(f"memory={memory}")


def test_distilled_images_are_stored_as_jpeg_at_full_size_only() -> None:
    for method in ("distilled", "hybrid"):
        memory = f"memory={{method: {method}, jpeg: 50}}"
        shown = refusal(memory, "distill.objective=idm")
        assert "memory.jpeg: 50 stores distilled images at full size, and distill.partition is 2 with idm" in shown
        assert "set distill.partition: 1" in shown
        load_config(None, [memory])
        load_config(None, [memory, "distill.objective=idm", "distill.partition=1"])
    beside = ["memory={method: random, jpeg: 50}", "distill.objective=idm"]
    load_config(None, beside)
    assert "set distill.partition: 1" in refusal(*beside, "baselines=[distilled]")


def test_a_comparison_of_too_many_runs_is_refused() -> None:
    assert load_config(None, ["compare.seeds=1000", "compare.methods=[random, herding, none, joint, closest]"])
    with pytest.raises(UserError, match="6000 runs are too many"):
        load_config(None, ["compare.seeds=1000", "compare.methods=[random, herding, none, joint, closest, distilled]"])


@pytest.mark.parametrize("size", [2**17, 2**17 + 1])
def test_a_file_larger_than_any_configuration_is_refused(size: int) -> None:
    source = written("seed: 3\n" + "#" * (size - 8))
    if size <= 2**17:
        assert load_config(source).seed == 3
    else:
        assert "more than 131,072 bytes" in refusal(source=source)


def test_a_key_that_leads_too_deep_is_refused() -> None:
    with pytest.raises(UserError, match="10000 sections deep") as caught:
        load_config(None, ["a." * 10_000 + "b=1"])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("key", ["k" * 100_000, "\udcff"], ids=["long", "no text"])
def test_a_key_that_is_no_name_is_refused_at_once(key: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(None, [f"{key}=1"])
    assert len(str(caught.value)) < 500


def test_a_date_is_a_name() -> None:
    assert load_config(None, ["name=2001-01-01"]).name == "2001-01-01"


@pytest.mark.parametrize(
    ("key", "text", "limit"),
    [
        ("name", "n" * 101, "100 characters"),
        ("train.epochs", str(10**18), "1000000000"),
        ("model.width", "2049", "2048"),
        ("distill.embedder.depth", "17", "16"),
        ("stream.image_size", "4097", "4096"),
        ("train.batch_size", "65537", "65536"),
        ("distill.real_batch", "65537", "65536"),
        ("distill.queue.batch_size", "65537", "65536"),
        ("distill.queue.networks", "1001", "1000"),
        ("distill.cc.snapshots", "1001", "1000"),
        ("distill.partition", "17", "16"),
        (
            "distill.iterations",
            str(10**10),
            "as a number, input should be less than or equal to 1000000000",
        ),
        ("distill.iterations", "many", "must be 'auto' or a number."),
        ("memory.dct", "0.5", "must be 'auto' or a number; as a number, input should be greater than or equal to 1."),
        ("memory.ipc", "1000001", "1000000"),
        ("memory.mem_bytes", str(10**13), "1000000000000"),
        ("evaluate.networks", "1001", "1000"),
        ("compare.seeds", "1001", "1000"),
        ("compare.budgets.ipc", str([*range(1, 102)]), "100"),
        ("evaluate.transfer", str([{}] * 21), "20"),
    ],
    ids=lambda text: text[:40],
)
def test_a_value_that_fits_no_machine_is_refused(key: str, text: str, limit: str) -> None:
    message = refusal(f"{key}={text}")
    assert f"{key}: " in message
    assert limit in message
