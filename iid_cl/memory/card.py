"""README of an exported memory: what the images are, how they were made, and how to read them."""

from collections.abc import Mapping
from typing import Any

from iid_cl.errors import printable
from iid_cl.memory.exemplars import Exemplars

NAME = "README.md"
NO_PHOTOGRAPHS = (
    "Distilled images are made for training networks and are no photographs. Their data set's licence applies."
)


def card(memory: Exemplars, about: Mapping[str, Any]) -> str:
    """Markdown for people, from the memory and its ``memory.json``, which holds the same for programs."""
    lines = [
        f"# {title(memory, about)}",
        "",
        "Images that stand for a larger data set, made by iid-cl. A folder is a class, its most important image first.",
        "`memory.json` has every setting.",
        "",
        *facts(memory, about),
        "",
        "## Classes",
        "",
        "| folder | class | images |",
        "|---|---|---:|",
        *(f"| `{one['folder']}` | {_cell(one['name'])} | {one['images']:,} |" for one in about["classes"]),
        "",
        "## Read it",
        "",
        "```python",
        "from torchvision.datasets import ImageFolder",
        "",
        'images = ImageFolder(".")  # this folder',
        "```",
        "",
    ]
    if memory.partition > 1 and not about["decoded"]:
        grid = f"Each image is a grid of {memory.partition}x{memory.partition} smaller ones."
        lines += [f"{grid} Cut and enlarge them before training, or export again with `--decoded`.", ""]
    return "\n".join([*lines, NO_PHOTOGRAPHS, ""])


def title(memory: Exemplars, about: Mapping[str, Any]) -> str:
    """What the memory is of."""
    return f"A replay memory: {_at(memory.metadata, 'stream', 'dataset') or printable(about['file'])}"


def facts(memory: Exemplars, about: Mapping[str, Any]) -> list[str]:
    """A table of how the images were made; without what is not known."""
    made = memory.metadata
    channels, height, width = memory.shape
    images = sum(one["images"] for one in about["classes"])
    known = {
        "images": f"{images:,} of {height}x{width} pixels, {'grey' if channels == 1 else 'colour'}",
        "classes": str(len(about["classes"])),
        "bytes in the memory": f"{about['bytes_in_memory']:,}",
        "method": _at(made, "method"),
        "data set": _at(made, "stream", "dataset"),
        "objective": _at(made, "distill", "objective"),
        "iterations": _at(made, "iterations_done"),
        "seed": _at(made, "seed"),
        "mean and deviation of pixels": _numbers(made),
        "file": about["file"],
    }
    return ["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in known.items() if value)]


def _at(values: Any, *keys: str) -> str:
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return printable(str(values)) if isinstance(values, str | int | float) else ""


def _numbers(made: Mapping[str, Any]) -> str:
    mean, std = made.get("mean"), made.get("std")
    both = [mean, std]
    if not all(isinstance(one, list) and all(isinstance(x, int | float) for x in one) for one in both):
        return ""
    return "; ".join(", ".join(f"{x:g}" for x in one) for one in (mean, std) if isinstance(one, list))


def _cell(text: str) -> str:
    """Text that cannot end its cell of the table, nor become a link or a tag."""
    escaped = "".join(f"\\{letter}" if letter in "\\|[]<>`*_#" else letter for letter in printable(text))
    return " ".join(escaped.split())[:200]
