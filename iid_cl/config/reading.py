"""Configurations as YAML: reading, ``--set`` overrides, and every mistake as one sentence."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError, WithJsonSchema

from iid_cl.config.base import Section
from iid_cl.config.experiment import Config
from iid_cl.config.plain_yaml import MOST_BYTES, parse_yaml
from iid_cl.config.removed import removal, removed_value
from iid_cl.errors import UserError, shown
from iid_cl.files import read_text

SectionT = TypeVar("SectionT", bound=Section)

DEEPEST_KEY = 10  # levels of nested sections; the configuration has 4


def load_config(source: str | None, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file, or a shipped configuration by name, and applies ``key=value`` overrides.

    Without a source the overrides apply to the defaults.

    Raises:
        UserError: no such file, not YAML, an unknown key, a value of the wrong type or out of range.
    """
    values = {} if source is None else read_yaml(source, CONFIGURATION)
    if "variants" in values or "search" in values:
        raise UserError(f"{source}: is a study; give it to iid-cl study.")
    return parse_config(
        with_overrides(values, map(read_override, overrides)), "configuration" if source is None else source
    )


def parse_config(values: dict[str, Any], source: str) -> Config:
    """:func:`parse_section` for a whole configuration."""
    return parse_section(Config, values, source)


def parse_section(kind: type[SectionT], values: dict[str, Any], source: str) -> SectionT:
    """Checks plain values and makes a typed section; ``source`` names them in errors.

    Raises:
        UserError: an unknown key, a value of the wrong type or out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {_sentence(error, kind)}") from None


def shipped_configs() -> list[str]:
    """Names of the configurations that ship with the package."""
    return CONFIGURATION.shipped()


def dump_config(config: Config) -> str:
    """The complete configuration as YAML, which :func:`load_config` reads back unchanged."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def first_difference(before: SectionT, now: SectionT, words: tuple[str, str] = ("there", "here")) -> str | None:
    """The first key in which two configurations differ, with both values and ``words``; None if they are equal."""
    ours, theirs = flat(now.model_dump(mode="json")), flat(before.model_dump(mode="json"))
    key = next((key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)), None)
    return None if key is None else f"{key}: {shown(theirs.get(key))} {words[0]}, {shown(ours.get(key))} {words[1]}"


def flat(values: Mapping[str, Any], whole: Collection[str] = (), prefix: str = "") -> dict[str, Any]:
    """Nested sections as one dictionary with dotted keys; sections named in ``whole`` stay nested."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        section = isinstance(value, dict) and f"{prefix}{key}" not in whole
        leaves |= flat(value, whole, f"{prefix}{key}.") if section else {f"{prefix}{key}": value}
    return leaves


@dataclass(frozen=True)
class Kind:
    """A kind of YAML file that ships with the package.

    Attributes:
        what: for messages.
        package: holds the shipped ones.
        command: that takes them.
    """

    what: str
    package: str
    command: str

    def shipped(self) -> list[str]:
        """Names of the shipped files."""
        return sorted(f.name for f in resources.files(self.package).iterdir() if f.name.endswith(".yaml"))

    def text(self, name: str) -> str:
        """The text of a shipped file."""
        return (resources.files(self.package) / name).read_text(encoding="utf-8")

    def purpose(self, name: str) -> str:
        """What a shipped file is for: the first sentence of the comment at its top."""
        lines = takewhile(lambda line: line.startswith("#"), self.text(name).splitlines()[1:])  # the first: the schema
        comment = " ".join(line.removeprefix("#").strip() for line in lines)
        return re.split(r"(?<=[.?]) |[;:] ", comment)[0].removesuffix(".")


CONFIGURATION = Kind("configuration", "iid_cl.configs", "run")
STUDY = Kind("study", "iid_cl.configs.studies", "study")


def read_yaml(source: str, kind: Kind) -> dict[str, Any]:
    """The keys of a YAML file: a path, or the name of a shipped file with or without ``.yaml``.

    Raises:
        UserError: no such file, or not a mapping in YAML.
    """
    try:
        text = _text(source, kind)
    except (OSError, ValueError) as error:
        raise UserError(f"{source}: cannot be read as the text of a {kind.what} ({error}).") from None
    try:
        values = parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{source}: is not valid YAML ({error}).") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{source}: holds a {type(values).__name__}; it must hold keys such as 'stream:'.")
    return values


def _text(source: str, kind: Kind) -> str:
    """Raises UserError if there is no such file."""
    path = Path(source)
    if path.is_file():
        return read_text(path, MOST_BYTES)
    name, shipped = source if source.endswith(".yaml") else f"{source}.yaml", kind.shipped()
    if path.name == source:
        if name in shipped:
            return kind.text(name)
        other = STUDY if kind is CONFIGURATION else CONFIGURATION
        if name in other.shipped():
            raise UserError(f"{source}: is a {other.what}; give it to iid-cl {other.command}.")
    near = difflib.get_close_matches(path.stem, [Path(file).stem for file in shipped], n=1, cutoff=0.75)
    hint = f"; did you mean {near[0]}.yaml?" if near else f" (shipped: {', '.join(shipped)})."
    raise UserError(f"{source}: no such file, and no shipped {kind.what} of that name{hint}")


def with_overrides(values: Mapping[str, Any], overrides: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A copy of plain nested values with dotted keys set one after the other.

    Sections on the way are copied, because YAML's aliases may share them with other keys.

    Raises:
        UserError: a dotted key goes through a value that is not a section, or deeper than any section.
    """
    result = dict(values)
    for key, value in overrides:
        if key.count(".") >= DEEPEST_KEY:
            raise UserError(f"{key[:60]}...: leads {key.count('.')} sections deep; no key lies so deep.")
        section = result
        *parents, last = key.split(".")
        for parent in parents:
            child = section.get(parent, {})
            if not isinstance(child, dict):
                raise UserError(f"{key}: {parent!r} is a value, not a section.")
            section[parent] = dict(child)
            section = section[parent]
        section[last] = value
    return result


def read_override(override: str) -> tuple[str, Any]:
    """Key and value of the text ``key=value``, the value read as YAML.

    Raises:
        UserError: it does not have this form.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {shown(override)}: must read key=value, for example memory.ipc=5.")
    try:
        return key, parse_yaml(text)
    except ValueError:
        raise UserError(f"--set {shown(override)}: the value {shown(text)} is not valid YAML.") from None


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """Pydantic's first error as one sentence with the full key and the value."""
    finding = error.errors()[0]
    parts = [str(part) for part in finding["loc"] if not str(part).startswith("<")]  # tags of unions
    key = ".".join(parts)[:200]  # long ones would take long to compare
    unknown = finding["type"] == "extra_forbidden"
    gone = removal(key) if unknown else removed_value(key, finding["input"])
    if gone is not None:
        return gone
    if unknown:
        same_name = [k for k in dotted_keys(kind) if k.split(".")[-1] == key.split(".")[-1]]
        nearest = difflib.get_close_matches(key, same_name or list(dotted_keys(kind)), n=1, cutoff=0.0)[0]
        return f"unknown key {key!r}; did you mean {nearest!r}?"
    message = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "string_pattern_mismatch":
        message = {"device": "It must be auto, cpu, cuda or cuda:N"}.get(
            key, "It must consist of letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )
    if finding["type"] == "model_type":
        message = "It must hold keys"
    if finding["type"] == "string_type" and isinstance(finding["input"], dict) and key.endswith(".str"):
        key = key.removesuffix(".str")  # the first of the two types that the value may have
        message = "It must be a name, or hold name and set, as {name: mine, set: {memory.share: 0.2}}"
    if parts and parts[-1].startswith("literal["):  # a word or a number: its error comes second
        key = key.removesuffix(f".{parts[-1]}")
        second = error.errors()[1]["msg"] if len(error.errors()) > 1 else ""
        limits = "" if isinstance(finding["input"], str) or not second else f"; as a number, {_lowered(second)}"
        message = f"It must be {finding['ctx']['expected']} or a number{limits}"
    if not key:
        return f"{message}."
    return f"{key}: {shown(finding['input'])} is not accepted: {_lowered(message)}."


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:]


def dotted_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All keys of a section, with those of nested sections dotted."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from dotted_keys(field.annotation, f"{prefix}{name}.")


def choices_of(section: type[BaseModel], key: str) -> list[str]:
    """The values that a dotted key chooses from; none where it takes any number or text.

    >>> choices_of(Config, "train.mode")
    ['replay', 'memory_only']
    """
    *parents, last = key.split(".")
    for parent in parents:
        field = section.model_fields.get(parent)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        section = field.annotation
    field = section.model_fields.get(last)
    if field is None:
        return []
    if field.annotation is bool:
        return ["true", "false"]
    if get_origin(field.annotation) is Literal:
        return [str(value) for value in get_args(field.annotation)]
    found = (each.json_schema for each in field.metadata if isinstance(each, WithJsonSchema))
    schema = next(found, None) or {}
    return [str(value) for each in schema.get("anyOf", ()) for value in each.get("enum", ())]
