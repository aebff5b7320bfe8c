"""Writes the table of configuration keys into configuration.md.

python docs/make_reference.py [--check]
"""

import json
import sys
import types
import typing
from pathlib import Path

from pydantic import BaseModel

from iid_cl.config import Config

PAGE = Path(__file__).with_name("configuration.md")
BEGIN, END = "<!-- keys -->", "<!-- end keys -->"


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


def made(page: str) -> str:
    """The page with its table made anew."""
    table = "\n".join(["| key | values | default | meaning |", "|---|---|---|---|", *rows(Config)])
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        sys.exit(int(made(text) != text))
    PAGE.write_text(made(text), encoding="utf-8")
