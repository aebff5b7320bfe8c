"""Reads a study and lists its cases."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, for_whole_data
from iid_cl.config.reading import STUDY, parse_config, parse_section, read_yaml, with_overrides
from iid_cl.config.study import StudyConfig, VariantConfig
from iid_cl.errors import UserError


@dataclass(frozen=True)
class Case:
    """One configuration of a study. ``x`` is the swept value, if any."""

    variant: str
    x: float | None
    config: Config


def load_study(
    source: str, base: Iterable[tuple[str, Any]] = (), seeds: int | None = None, trials: int | None = None
) -> StudyConfig:
    """Reads a study from a YAML file, or a shipped one by name.

    Args:
        source: path or shipped name.
        base: dotted keys and values to set in the study's base configuration, in order.
        seeds: number of seeds, instead of the study's.
        trials: number of trials of a search, instead of the study's.

    Raises:
        UserError: no such file, an unknown key, or a value of the wrong type.
    """
    values = read_yaml(source, STUDY)
    if "stream" in values and not {"variants", "search"} & values.keys():
        raise UserError(f"{source}: is the configuration of a run; give it to iid-cl run.")
    if isinstance(values.get("base", {}), dict):  # `parse_section` refuses other types
        values["base"] = with_overrides(values.get("base", {}), base)
    values |= {key: value for key, value in (("seeds", seeds), ("trials", trials)) if value is not None}
    return parse_section(StudyConfig, values, source)


def is_study_file(source: str) -> bool:
    """Whether a YAML file, or the shipped file of a name, is a study; false where there is none."""
    name = source if source.endswith(".yaml") else f"{source}.yaml"
    if not Path(source).is_file():
        return name in STUDY.shipped()
    try:
        return bool({"variants", "search"} & read_yaml(source, STUDY).keys())
    except UserError:  # whoever reads it next says why
        return False


def dump_study(study: StudyConfig) -> str:
    """The complete study as YAML, which :func:`load_study` reads back unchanged."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False)


def shipped_studies() -> list[str]:
    """Names of the shipped studies."""
    return STUDY.shipped()


def cases(study: StudyConfig) -> list[Case]:
    """Each variant at each swept value; the base alone if a study has only a search.

    Raises:
        UserError: a variant is no valid configuration, its method needs a stream, a seed is out of range, variants are
            judged on different architectures, or an iteration to judge exceeds the distillation's.
    """
    first, *others = _cases(study)
    for case in (first, *others):
        where, config = f"study {study.name}, variant {case.variant!r}", case.config
        if METHODS[config.memory.method].stream_only:
            raise UserError(
                f"{where}: memory.method {config.memory.method!r} belongs to a stream of experiences; "
                f"use {', '.join(for_whole_data())}."
            )
        if config.seed + study.seeds > 2**32:
            raise UserError(f"{where}: {study.seeds} seeds from {config.seed} on exceed 2**32 - 1; use a smaller seed.")
        if _architectures(config) != _architectures(first.config):
            raise UserError(f"{where}: is judged on other architectures than {first.variant!r}; give all the same.")
        if len(set(_architectures(config))) < len(_architectures(config)):
            raise UserError(f"{where}: evaluate.transfer names an architecture twice.")
        last = max(study.iterations or [0])
        length = config.distill.iterations
        if study.iterations and (config.memory.method != "distilled" or length == "auto" or last > length):
            raise UserError(f"{where}: has no iteration {last}; leave it out, or set distill.iterations: {last}.")
    return [first, *others]


def _architectures(config: Config) -> list[str]:
    return [network.label for network in (config.evaluate.network, *config.evaluate.transfer)]


def _cases(study: StudyConfig) -> Iterator[Case]:
    values: Sequence[float | int | None] = study.sweep.values if study.sweep is not None else [None]
    for variant in study.variants or [VariantConfig(name="base")]:
        for x in values:
            swept = [] if study.sweep is None else [(study.sweep.key, x)]
            yield Case(variant.name, x, config_of(study, [*variant.set.items(), *swept], f"variant {variant.name!r}"))


def config_of(study: StudyConfig, changes: Iterable[tuple[str, Any]], what: str) -> Config:
    """The study's base with some keys changed; ``what`` names it in errors.

    Raises:
        UserError: it is no valid configuration.
    """
    memory = study.base.get("memory", {})
    if isinstance(memory, dict):  # `parse_config` refuses other types
        memory = {"method": "distilled", **memory}  # the default, `auto`, needs a stream
    return parse_config(with_overrides(study.base, [("memory", memory), *changes]), f"study {study.name}, {what}")
