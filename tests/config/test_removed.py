"""Keys and values that are gone say so in one sentence, wherever an older configuration names them."""

from pathlib import Path
from typing import Any

import pytest

from iid_cl.config.experiment import Config
from iid_cl.config.grid import cells
from iid_cl.config.reading import dotted_keys, load_config, parse_config, parse_section
from iid_cl.config.removed import REMOVED, REMOVED_VALUES, removal
from iid_cl.config.study import StudyConfig
from iid_cl.errors import UserError
from iid_cl.studies.cases import cases


def refusal(key: str, value: object = 1) -> str:
    with pytest.raises(UserError) as caught:
        load_config(None, [f"{key}={value}"])
    return str(caught.value)


@pytest.mark.parametrize("key", REMOVED)
def test_a_key_that_is_gone_says_why_in_one_sentence(key: str) -> None:
    why, way_out = REMOVED[key]
    said = refusal(key)
    assert said == f"configuration: {key}: is gone: {why}; {way_out}."
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(("key", "value"), REMOVED_VALUES)
def test_a_value_that_is_gone_says_why_in_one_sentence(key: str, value: str) -> None:
    why, way_out = REMOVED_VALUES[key, value]
    assert refusal(key, value) == f"configuration: {key}: {value!r} is gone: {why}; {way_out}."


def test_another_value_of_such_a_key_is_not_accepted_as_ever() -> None:
    said = "configuration: memory.shrink: 'nestd' is not accepted: input should be 'cut' or 'redistil'."
    assert refusal("memory.shrink", "nestd") == said


@pytest.mark.parametrize("key", REMOVED)
def test_no_key_that_is_gone_is_there(key: str) -> None:
    assert key not in dotted_keys(Config)


def test_a_key_of_a_section_that_is_gone_is_told_of_the_section() -> None:
    said = "configuration: distill.early_stopping: is gone: stopping early cost a point of accuracy"
    assert refusal("distill.early_stopping.patience").startswith(said)
    assert refusal("distill.early_stopping", "null").startswith(said)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("model.activation", {"model": {"activation": "relu"}}),
        ("distill.embedder.pooling", {"distill": {"embedder": {"pooling": "avg"}}}),
        ("evaluate.transfer.1.activation", {"evaluate": {"transfer": [{"name": "mlp"}, {"activation": "sigmoid"}]}}),
    ],
)
def test_a_networks_key_is_told_wherever_the_network_stands(key: str, values: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(values, "test")
    assert str(caught.value).startswith(f"test: {key}: is gone: ConvNets ")


def test_a_studys_own_network_is_told_too() -> None:
    values = {"name": "s", "title": "t", "variants": [{"name": "a"}], "scatter": {"network": {"pooling": "max"}}}
    with pytest.raises(UserError, match=r"^test: scatter\.network\.pooling: is gone: ConvNets pool by the mean"):
        parse_section(StudyConfig, values, "test")


def test_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("distill: {sampling: representative}")
    with pytest.raises(UserError) as caught:
        load_config(str(path))
    assert str(caught.value).startswith(f"{path}: distill.sampling: is gone: representative batches gained nothing")


def test_variants_of_a_study_are_told_too() -> None:
    variants = [{"name": "old", "set": {"distill.steps_per_draw": 2}}]
    study = StudyConfig.model_validate({"name": "s", "title": "t", "variants": variants})
    with pytest.raises(UserError, match=r"study s, variant 'old': distill\.steps_per_draw: is gone: several steps"):
        cases(study)


def test_methods_of_a_comparison_are_told_too() -> None:
    methods = [{"name": "old", "set": {"memory.method": "distilled", "distill.sampling": "uniform"}}]
    config = parse_config({"compare": {"methods": methods}}, "test")
    with pytest.raises(UserError, match=r"method 'old': distill\.sampling: is gone: representative batches"):
        cells(config, (1, 8, 8), 10)


def test_other_unknown_keys_are_as_unknown_as_ever() -> None:
    assert removal("distill.cc.weigth") is None
    assert "did you mean 'distill.cc.weight'?" in refusal("distill.cc.weigth")
