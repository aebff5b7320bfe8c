"""Writes what documents itself: the tables of keys and settings, commands.md, and the JSON schemas.

python docs/make_reference.py [--check]
"""

import inspect
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel, create_model

from iid_cl.cli import app
from iid_cl.config.distill import (
    CentralizationConfig,
    CovarianceConfig,
    DistillConfig,
    EmbedderConfig,
    NetworkConfig,
    QueueConfig,
)
from iid_cl.config.experiment import Config
from iid_cl.config.methods import table
from iid_cl.config.schema import config_schema, study_schema, to_text

BEGIN, END = "<!-- generated -->", "<!-- end of what is generated -->"


def rows(section: type[BaseModel], prefix: str = "") -> list[str]:
    """A table row per key, sections opened in place."""
    lines = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            lines += rows(kind, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        lines.append(f"| `{prefix}{name}` | {values(kind)} | `{json.dumps(default)}` | {field.description} |")
    return lines


def values(kind: object) -> str:
    """What a key takes, in words."""
    if typing.get_origin(kind) is typing.Annotated:
        return values(typing.get_args(kind)[0])
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(values(part) for part in typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"sections with the keys {', '.join(f'`{name}`' for name in kind.model_fields)}"
    if typing.get_origin(kind) is list:
        return f"list of {values(typing.get_args(kind)[0])}"
    names = {int: "integer", float: "number", str: "text", bool: "`true`, `false`", type(None): "`null`"}
    return names[kind]


HEADING = ["| key | values | default | meaning |", "|---|---|---|---|"]


def configuration(page: str) -> str:
    """The page with a heading and a table for each section made anew; keys of no section come last."""
    sections, loose = [], {}
    for name, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            sections.append(
                "\n".join([f"## {name}", "", str(field.description), "", *HEADING, *rows(kind, f"{name}.")])
            )
        else:
            loose[name] = field
    top = create_model("Top", **{name: (field.annotation, field) for name, field in loose.items()})
    sections.append("\n".join(["## Without a section", "", *HEADING, *rows(top)]))
    return between(page, "\n" + "\n\n".join(sections) + "\n")


def attributes(page: str) -> str:
    """The API page of the distillation's settings made anew: each class with its arguments."""
    sections = []
    for kind in (DistillConfig, EmbedderConfig, QueueConfig, CentralizationConfig, CovarianceConfig, NetworkConfig):
        says = str(inspect.getdoc(kind)).partition(">>>")[0]
        lines = [f"## {kind.__name__}", "", says.strip()]
        lines += ["", "| argument | values | default | meaning |", "|---|---|---|---|"]
        lines += [argument(name, field) for name, field in kind.model_fields.items()]
        sections.append("\n".join(lines))
    return between(page, "\n" + "\n\n".join(sections) + "\n")


def argument(name: str, field: Any) -> str:
    """A table row of an argument; one that is a section links to its class."""
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return (
            f"| `{name}` | [`{kind.__name__}`](#{kind.__name__.lower()}) | `{kind.__name__}()` | {field.description} |"
        )
    told = values(kind).replace("`null`", "`None`").replace("`true`, `false`", "`True`, `False`")
    return f"| `{name}` | {told} | `{field.get_default()!r}` | {field.description.replace('null', 'None')} |"


def memories(page: str) -> str:
    """The page with its table of methods made anew."""
    return between(page, table())


def commands(page: str) -> str:
    """The page with a section per command made anew: how it is called, what it does, its arguments and options."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    sections = [section(f"iid-cl {name}", command) for name, command in group.commands.items()]
    return between(page, "\n\n".join(sections))


def section(name: str, command: Any) -> str:
    """A command's section; click's own words differ from version to version."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    named = {argument.name: (argument.metavar or argument.name).upper() for argument in arguments}
    usage = [named[each.name] if each.required else f"[{named[each.name]}]" for each in arguments]
    lines = [
        f"## {name.removeprefix('iid-cl ')}",
        "",
        command.help or "",
        "",
        "```text",
        " ".join([name, *usage, "[OPTIONS]"]),
        "```",
        "",
    ]
    lines += ["| argument or option | meaning |", "|---|---|"]
    lines += [f"| `{named[each.name]}` | {meaning(each)} |" for each in arguments]
    for option in options:
        value = "" if option.is_flag else f" {option.metavar or 'VALUE'}"
        names = ", ".join([*option.opts, *option.secondary_opts])
        lines.append(f"| `{names}{value}` | {meaning(option)} |")
    return "\n".join(lines)


def meaning(parameter: Any) -> str:
    """Its help and, where there is one to speak of, its default."""
    default = parameter.default
    told = default is not None and not parameter.required and default is not False and default is not True
    return f"{parameter.help} Default: {getattr(default, 'value', default)}." if told else str(parameter.help)


def between(page: str, text: str) -> str:
    """The page with ``text`` between its marks."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def pages() -> dict[Path, str]:
    """Every generated file as it should be."""
    docs = Path(__file__).parent
    found = {docs / f"{make.__name__}.md": make for make in (configuration, commands, memories)}
    found[docs / "api" / "config.md"] = attributes
    configs = docs.parent / "configs"
    return {
        **{path: make(path.read_text(encoding="utf-8")) for path, make in found.items()},
        configs / "schema.json": to_text(config_schema()),
        configs / "studies" / "schema.json": to_text(study_schema()),
    }


if __name__ == "__main__":
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        sys.exit(f"run python docs/make_reference.py: {', '.join(path.name for path in stale)}" if stale else 0)
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")
