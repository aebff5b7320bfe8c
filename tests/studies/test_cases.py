"""Studies as files: every mistake is one sentence, and what is compared is what the file spells out."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.reading import parse_config
from iid_cl.config.study import ScatterConfig, StudyConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.studies.cases import cases, load_study, shipped_studies
from tests.studies.helpers import BASE, study, values_of

pytestmark = pytest.mark.usefixtures("in_tmp_path")  # a local file would precede a shipped study

SWEEP = {"key": "memory.ipc", "values": [1, 2]}


def written(values: Any, name: str = "my.yaml") -> str:
    Path(name).write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return name


def refusal(values: Any, *rest: Any) -> str:
    """The one sentence that a study of these values is refused with."""
    with pytest.raises(UserError) as caught:
        cases(load_study(written(values), *rest))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert re.search(r"[.?]$", message), message
    return message


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_is_named_like_its_file_and_all_its_cases_are_configurations(name: str) -> None:
    shipped = load_study(name)
    assert f"{shipped.name}.yaml" == name
    assert shipped.title.strip()
    found = cases(shipped)
    assert len(found) == len(shipped.variants) * (len(shipped.sweep.values) if shipped.sweep else 1)
    for one in found:
        assert parse_config(one.config.model_dump(mode="json"), name) == one.config
    assert len({one.config.model_dump_json() for one in found}) == len(found), "two variants are the same"


def test_studies_are_shipped() -> None:
    assert "ablation_digits.yaml" in shipped_studies() == sorted(shipped_studies())


@pytest.mark.parametrize("name", [name for name in shipped_studies() if name.startswith("ablation_")])
def test_the_variants_of_a_shipped_ablation_are_what_they_are_called(name: str) -> None:
    for one in cases(load_study(name)):
        distill = one.config.distill
        assert one.variant.startswith("DM")
        assert (distill.objective, distill.embedder_source) == ("dm", "fresh")
        assert (distill.cc.weight > 0, distill.cm.weight > 0) == ("CC" in one.variant, "CM" in one.variant)


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_of_the_digits_fits_them(name: str) -> None:
    loaded = load_study(name)
    for one in (one for one in cases(loaded) if one.config.stream.dataset == "digits"):
        dataset = load_dataset(one.config.stream, None, one.config.seed)
        check_methods(one.config, [one.config.memory.method], dataset, range(10))
        assert 8 % one.config.distill.factor == 0
        for network in (one.config.evaluate.network, *one.config.evaluate.transfer):
            check_network("evaluate", network, dataset)
        if loaded.scatter is not None:
            check_network("scatter.network", loaded.scatter.network, dataset)
        if loaded.iterations is not None:
            assert set(loaded.iterations) <= set(range(one.config.distill.iterations + 1))


def test_every_variant_is_made_with_every_value() -> None:
    found = cases(
        study(
            variants=[{"name": "B", "set": {"memory.method": "herding"}}, {"name": "A"}],
            sweep={"key": "memory.ipc", "values": [5, 1, 10]},
        )
    )
    assert [(c.variant, c.x, c.config.memory.method, c.config.memory.ipc) for c in found] == [
        ("B", 5, "herding", 5),
        ("B", 1, "herding", 1),
        ("B", 10, "herding", 10),
        ("A", 5, "random", 5),
        ("A", 1, "random", 1),
        ("A", 10, "random", 10),
    ]


def test_without_a_sweep_every_variant_is_one_case() -> None:
    found = cases(
        study(
            {"memory.method": "distilled"},
            iterations=[0, 1],
            variants=[{"name": "a", "set": {"seed": 3}}, {"name": "b"}],
        )
    )
    assert [(c.variant, c.x, c.config.seed) for c in found] == [("a", None, 3), ("b", None, 0)]


def test_a_variant_overrides_the_base_and_the_sweep_overrides_both() -> None:
    (one,) = cases(
        study(
            {"memory.ipc": 3, "train.lr": 0.5, "train.epochs": 8},
            variants=[{"name": "a", "set": {"memory.ipc": 4, "train.epochs": 9}}],
            sweep={"key": "memory.ipc", "values": [7]},
        )
    )
    assert (one.config.memory.ipc, one.config.train.lr, one.config.train.epochs) == (7, 0.5, 9)


def test_what_names_no_method_is_distilled() -> None:
    """A stream's default, auto, tries ways in an experience, and a study has none."""
    base = {"stream": {"dataset": "digits"}, "memory": {"ipc": 3}}
    variants = [{"name": "a"}, {"name": "b", "set": {"memory.method": "random"}}]
    for given, ipc in ((base, 3), ({"stream": {"dataset": "digits"}}, None)):
        found = cases(StudyConfig(name="x", title="x", base=given, variants=variants))
        assert [(c.config.memory.method, c.config.memory.ipc) for c in found] == [("distilled", ipc), ("random", ipc)]


def test_a_variant_leaves_the_others_alone() -> None:
    first, second = cases(study(variants=[{"name": "a", "set": {"distill.cc.weight": 1.0}}, {"name": "b"}]))
    assert (first.config.distill.cc.weight, second.config.distill.cc.weight) == (1.0, 0.0)
    assert second.config == parse_config(BASE, "test")


def test_a_file_is_read_as_it_is() -> None:
    values = values_of(scatter={"classes": 3}, seeds=4)
    loaded = load_study(written(values))
    assert loaded == study(scatter={"classes": 3}, seeds=4)
    assert loaded.scatter == ScatterConfig(classes=3)
    assert ScatterConfig().network == NetworkConfig(name="resnet18")


def test_the_base_and_the_seeds_can_be_set() -> None:
    values = values_of(seeds=4)
    loaded = load_study(written(values), [("memory.ipc", 9), ("seed", 2)], 6)
    assert loaded.seeds == 6
    assert loaded.base == {**values["base"], "memory": {"method": "random", "ipc": 9}, "seed": 2}
    assert [(c.config.memory.ipc, c.config.seed) for c in cases(loaded)] == [(9, 2), (1, 2)]  # the second sets its own
    assert load_study("my.yaml").seeds == 4


def test_a_base_can_be_set_where_there_is_none() -> None:
    values = values_of()
    del values["base"]
    assert load_study(written(values), [("memory.ipc", 9)]).base == {"memory": {"ipc": 9}}


@pytest.mark.parametrize("key", ["name", "title", "variants"])
def test_what_a_study_must_have(key: str) -> None:
    values = values_of()
    del values[key]
    assert f" {key}: " in refusal(values)


def test_two_variants_of_one_name_are_refused() -> None:
    message = refusal(values_of(variants=[{"name": "a"}, {"name": "b"}, {"name": "a"}]))
    assert message == "my.yaml: variants: two of ['a', 'b', 'a'] have the same name."


AXES: dict[str, Any] = {"sweep": SWEEP, "iterations": [0, 2], "scatter": {"classes": 2}}


@pytest.mark.parametrize("names", [*combinations(AXES, 2), tuple(AXES)])
def test_two_axes_are_refused(names: tuple[str, ...]) -> None:
    message = refusal(values_of(**{name: AXES[name] for name in names}))
    assert message == "my.yaml: a study has one of sweep, iterations and scatter, not several."


@pytest.mark.parametrize("name", list(AXES))
def test_one_axis_is_taken(name: str) -> None:
    assert getattr(load_study(written(values_of(**{name: AXES[name]}))), name) is not None


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({"varaints": []}, ("'varaints'", "'variants'")),
        ({"sweep": {**SWEEP, "vlaues": [1]}}, ("'sweep.vlaues'",)),
        ({"scatter": {"clases": 3}}, ("'scatter.clases'",)),
        ({"variants": [{"name": "a", "sett": {}}]}, ("'variants.0.sett'",)),
        ({"variants": []}, (" variants: ",)),
        ({"variants": [{"name": ""}]}, (" variants.0.name: ",)),
        ({"variants": [{"set": {}}]}, (" variants.0.name: ",)),
        ({"variants": [{"name": "a", "set": []}]}, (" variants.0.set: ",)),
        ({"variants": [{"name": "a", "set": {1: 2}}]}, (" variants.0.set.1",)),
        ({"sweep": {"key": "memory.ipc"}}, (" sweep.values: ",)),
        ({"sweep": {"key": "memory.ipc", "values": []}}, (" sweep.values: ",)),
        ({"sweep": {"key": "memory.ipc", "values": ["a"]}}, (" sweep.values.0", "'a'")),
        ({"sweep": {"key": "memory.ipc", "values": [True]}}, (" sweep.values.0", "True")),
        ({"iterations": [0.5]}, (" iterations.0: ", "0.5")),
        ({"scatter": {"perplexity": 1}}, (" scatter.perplexity: ", "1")),
        ({"scatter": {"network": {"name": "mlp", "norm": "batch"}}}, (" scatter.network: ", "norm: 'batch'")),
        ({"seeds": 0}, (" seeds: ", "0")),
        ({"name": "../up"}, (" name: ", "'../up'")),
        ({"title": 5}, (" title: ", "5")),
        ({"base": 5}, (" base: ", "5")),
    ],
    ids=str,
)
def test_a_mistake_in_a_study_names_the_file_and_the_key(keys: dict[str, Any], shown: tuple[str, ...]) -> None:
    message = refusal(values_of(**keys))
    assert message.startswith("my.yaml: ")
    for text in shown:
        assert text in message


@pytest.mark.parametrize(
    ("keys", "variant", "shown"),
    [
        ({"base": {"memory": {"icp": 3}}}, "random", "unknown key 'memory.icp'; did you mean 'memory.ipc'?"),
        ({"variants": [{"name": "a"}, {"name": "b", "set": {"memory.ipc": 0}}]}, "b", "memory.ipc: 0 "),
        ({"variants": [{"name": "it's", "set": {"nmae": 1}}]}, "it's", "unknown key 'nmae'; did you mean 'name'?"),
        ({"sweep": {"key": "memory.ipc", "values": [1, 2.5]}}, "random", "memory.ipc: 2.5 "),
        ({"sweep": {"key": "memory.icp", "values": [1]}}, "random", "unknown key 'memory.icp'"),
        ({"sweep": {"key": "", "values": [1]}}, "random", "unknown key ''"),
        (
            {"base": {"evaluate": {"network": {"name": "mlp", "width": 4}}}},
            "random",
            "evaluate.network: {'name': 'mlp', ",
        ),
    ],
    ids=str,
)
def test_a_variant_that_is_no_configuration_is_named(keys: dict[str, Any], variant: str, shown: str) -> None:
    message = refusal(values_of(**keys))
    assert message.startswith(f"study mini, variant {variant!r}: {shown}")


def test_a_variant_below_a_value_is_refused() -> None:
    message = refusal(values_of(variants=[{"name": "a", "set": {"memory.ipc.x": 1}}]))
    assert "memory.ipc.x: 'ipc' is a value, not a section." in message


DISTILLED = {"memory.method": "distilled"}
WIDER = {"name": "convnet", "width": 8, "depth": 1}


@pytest.mark.parametrize(
    ("base", "keys", "shown"),
    [
        ({}, {"memory.method": "none"}, "memory.method 'none' belongs to a stream of experiences; use random,"),
        ({}, {"memory.method": "joint"}, "memory.method 'joint' belongs to a stream"),
        ({}, {"memory.method": "auto"}, "memory.method 'auto' belongs to a stream"),
        ({}, {"memory.method": "hybrid"}, "memory.method 'hybrid' belongs to a stream"),
        ({}, {"seed": 2**32 - 2}, f"3 seeds from {2**32 - 2} on exceed 2**32 - 1; use a smaller seed"),
        ({}, {"evaluate.network": {"name": "mlp"}}, "is judged on other architectures than 'a'"),
        ({}, {"evaluate.network.width": 8}, "is judged on other architectures than 'a'"),
        ({}, {"evaluate.transfer": [{"name": "mlp"}]}, "is judged on other architectures than 'a'"),
    ],
    ids=str,
)
def test_what_a_study_cannot_judge_names_the_variant(base: dict[str, Any], keys: dict[str, Any], shown: str) -> None:
    message = refusal(values_of(base, variants=[{"name": "a"}, {"name": "b", "set": keys}], seeds=3))
    assert message.startswith(f"study mini, variant 'b': {shown}")


@pytest.mark.parametrize(
    "transfer", [[{"name": "mlp"}, WIDER, {"name": "mlp"}], [{"name": "convnet", "width": 4, "depth": 1}]], ids=str
)
def test_an_architecture_given_twice_is_refused(transfer: list[dict[str, Any]]) -> None:
    message = refusal(values_of({"evaluate.transfer": transfer}))
    assert message == "study mini, variant 'random': evaluate.transfer names an architecture twice."
    assert len(cases(study({"evaluate.transfer": [{"name": "mlp"}, WIDER]}))) == 2


@pytest.mark.parametrize(
    ("keys", "iterations", "last"),
    [
        (DISTILLED, [0, 3], 3),
        (DISTILLED, [50, 2], 50),
        ({**DISTILLED, "distill.iterations": 0}, [1], 1),
        ({"memory.method": "random"}, [0], 0),
        ({"memory.method": "herding"}, [0, 2], 2),
    ],
    ids=str,
)
def test_iterations_that_never_come_name_the_variant(keys: dict[str, Any], iterations: list[int], last: int) -> None:
    variants = [{"name": "a", "set": DISTILLED | {"distill.iterations": 50}}, {"name": "b", "set": keys}]
    message = refusal(values_of(variants=variants, iterations=iterations))
    assert message.startswith(f"study mini, variant 'b': has no iteration {last};")
    assert len(cases(study(DISTILLED, iterations=[0, 2]))) == 2


@pytest.mark.parametrize("iterations", [[], [-1], [0, -5]], ids=str)
def test_iterations_are_some_and_count_from_nothing(iterations: list[int]) -> None:
    assert refusal(values_of(iterations=iterations)).startswith("my.yaml: iterations")


def test_the_last_seed_may_be_the_largest() -> None:
    assert len(cases(study({"seed": 2**32 - 3}, seeds=3))) == 2


def test_setting_the_base_to_something_invalid_names_the_variant() -> None:
    assert "variant 'random': memory.ipc: 0 " in refusal(values_of(), [("memory.ipc", 0)])


@pytest.mark.parametrize("source", ["missing.yaml", "no/such.yaml"])
def test_a_missing_study_names_those_there_are(source: str) -> None:
    with pytest.raises(UserError) as caught:
        load_study(source)
    assert str(caught.value).startswith(f"{source}: no such file")
    assert all(name in str(caught.value) for name in shipped_studies())


def test_a_study_is_known_without_its_suffix() -> None:
    assert load_study("ablation_digits") == load_study("ablation_digits.yaml")


@pytest.mark.parametrize("text", ["a: b: c", "[1, 2]", "seeds: 1\nseeds: 2", "title: !!python/name:os.mkdir"])
def test_a_file_that_holds_no_study_is_refused(text: str) -> None:
    assert refusal(text).startswith("my.yaml: ")


def test_a_local_file_precedes_the_shipped_study_of_its_name() -> None:
    written(values_of(), "ablation_digits.yaml")
    assert load_study("ablation_digits.yaml").name == "mini"


@pytest.mark.parametrize("base", [5, "text", [1, 2], None])
def test_a_base_that_is_no_section_is_refused_when_it_is_set(base: Any) -> None:
    for overrides in ([], [("seed", 1)]):
        message = refusal(values_of() | {"base": base}, overrides)
        assert message.startswith(f"my.yaml: base: {base!r} is not accepted: ")


def test_setting_the_base_leaves_its_aliases_alone() -> None:
    text = yaml.safe_dump(values_of(base={})).replace(
        "base: {}", "base: {model: &small {width: 16}, evaluate: {network: *small}}"
    )
    (one, _) = cases(load_study(written(text), [("model.width", 32)]))
    assert (one.config.model.width, one.config.evaluate.network.width) == (32, 16)


def test_the_base_is_set_in_order() -> None:
    overrides = [("memory.ipc", 5), ("memory", {"method": "random"}), ("memory.ipc", 3)]
    assert load_study(written(values_of()), iter(overrides)).base["memory"] == {"method": "random", "ipc": 3}


def test_scientific_notation_is_a_number_on_the_axis() -> None:
    text = yaml.safe_dump(values_of()) + "sweep: {key: distill.lr, values: [1e-3, 0.01]}\n"
    assert [c.config.distill.lr for c in cases(load_study(written(text)))] == [0.001, 0.01] * 2
