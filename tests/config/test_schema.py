"""Schemas: current, and those that shipped files say."""

import json
from importlib import resources

import jsonschema
import pytest
import yaml

from iid_cl.config.experiment import Config
from iid_cl.config.reading import dotted_keys, shipped_configs
from iid_cl.config.schema import HINT, config_schema, study_schema, to_text
from iid_cl.studies.cases import shipped_studies

FILES = [*(("iid_cl.configs", name) for name in shipped_configs()),
         *(("iid_cl.configs.studies", name) for name in shipped_studies())]  # fmt: skip


@pytest.mark.parametrize(
    ("package", "text"),
    [("iid_cl.configs", to_text(config_schema())), ("iid_cl.configs.studies", to_text(study_schema()))],
    ids=["configurations", "studies"],
)
def test_shipped_schemas_are_current_and_schemas(package: str, text: str) -> None:
    shipped = (resources.files(package) / "schema.json").read_text(encoding="utf-8")
    assert shipped == text, "run python docs/make_reference.py"
    jsonschema.Draft202012Validator.check_schema(json.loads(shipped))


@pytest.mark.parametrize(("package", "name"), FILES, ids=[name for _, name in FILES])
def test_each_shipped_file_names_its_schema_and_obeys_it(package: str, name: str) -> None:
    text = (resources.files(package) / name).read_text(encoding="utf-8")
    assert text.splitlines()[0] == HINT
    schema = json.loads((resources.files(package) / HINT.partition("=")[2]).read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"memory": {"icp": 3}}, "icp"),
        ({"memory": {"ipc": 0}}, "0"),
        ({"device": "gpu"}, "gpu"),
        ({"loggers": ["tb"]}, "tb"),
    ],
    ids=str,
)
def test_mistakes_are_marked(values: object, told: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=told):
        jsonschema.validate(values, config_schema())


def test_a_studys_base_is_checked_like_a_configuration() -> None:
    study = {"name": "a", "title": "A", "variants": [{"name": "b"}], "base": {"memory": {"ipc": 2}}}
    jsonschema.validate(study, study_schema())
    with pytest.raises(jsonschema.ValidationError, match="icp"):
        jsonschema.validate({**study, "base": {"memory": {"icp": 2}}}, study_schema())


def test_every_key_has_its_description() -> None:
    schema = config_schema()
    for key in dotted_keys(Config):
        section = schema
        for part in key.split("."):
            entry = section["properties"][part]
            reference = entry.get("$ref") or next((each["$ref"] for each in entry.get("allOf", [])), None)
            section = schema["$defs"][reference.rpartition("/")[2]] if reference else entry
        assert entry.get("description") or section.get("description"), key


def test_a_resolved_configuration_obeys_it() -> None:
    jsonschema.validate(Config().model_dump(mode="json"), config_schema())
