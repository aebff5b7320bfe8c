"""Reading a study and spelling out what it compares."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from iid_cl.config import Config
from iid_cl.config_files import parse_config, parse_section, read_yaml, with_overrides
from iid_cl.studies.config import StudyConfig


@dataclass(frozen=True)
class Case:
    """One configuration of a study. ``x`` is the value swept, if there is one."""

    variant: str
    x: float | None
    config: Config


def load_study(source: str, base: Mapping[str, Any] | None = None, seeds: int | None = None) -> StudyConfig:
    """Reads a study from a YAML file, or a shipped one by name.

    Args:
        source: path or shipped name.
        base: dotted keys set in the study's base configuration.
        seeds: another number of seeds.

    Raises:
        UserError: no such file, an unknown key, or a value of the wrong type.
    """
    values = read_yaml(source, shipped_studies(), "iid_cl.configs.studies")
    if base:
        values["base"] = with_overrides(values.get("base") or {}, base)
    if seeds is not None:
        values["seeds"] = seeds
    return parse_section(StudyConfig, values, source)


def shipped_studies() -> list[str]:
    """Names of the studies that ship with the package."""
    return sorted(f.name for f in resources.files("iid_cl.configs.studies").iterdir() if f.name.endswith(".yaml"))


def cases(study: StudyConfig) -> list[Case]:
    """Each variant at each swept value.

    Raises:
        UserError: a variant is no valid configuration.
    """
    return list(_cases(study))


def _cases(study: StudyConfig) -> Iterator[Case]:
    values: Sequence[float | int | None] = study.sweep.values if study.sweep is not None else [None]
    for variant in study.variants:
        for x in values:
            swept = {} if study.sweep is None else {study.sweep.key: x}
            keys = with_overrides(study.base, {**variant.set, **swept})
            yield Case(variant.name, x, parse_config(keys, f"study {study.name}, variant {variant.name!r}"))
