"""JSON schemas of configurations and studies, by which an editor completes and checks YAML."""

import json
from typing import Any

from pydantic import BaseModel

from iid_cl.config.experiment import Config
from iid_cl.config.study import StudyConfig

DRAFT = "https://json-schema.org/draft/2020-12/schema"
HINT = "# yaml-language-server: $schema=schema.json"  # first line of each shipped file, whose schema lies beside it


def config_schema() -> dict[str, Any]:
    """The schema of an experiment's configuration."""
    return _schema(Config, "iid-cl configuration")


def study_schema() -> dict[str, Any]:
    """The schema of a study; its ``base`` holds keys of a configuration."""
    schema = _schema(StudyConfig, "iid-cl study")
    config = _schema(Config, "Keys of a configuration, shared by all variants")
    schema["$defs"] |= config.pop("$defs")
    schema["properties"]["base"] = {key: value for key, value in config.items() if key != "$schema"}
    return schema


def to_text(schema: dict[str, Any]) -> str:
    """A schema as it is shipped and printed."""
    return json.dumps(schema, indent=1) + "\n"


def _schema(kind: type[BaseModel], title: str) -> dict[str, Any]:
    schema = kind.model_json_schema()
    for section in (schema, *schema["$defs"].values()):  # an example in Python is of no use in YAML
        section["description"] = section["description"].partition("\n\n" + ">" * 3)[0]
    return {"$schema": DRAFT, **schema, "title": title}
