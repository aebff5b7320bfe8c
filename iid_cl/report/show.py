"""``iid-cl show``: a memory file's metadata as a table and its images in the terminal."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich import box
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text
from torch import Tensor

from iid_cl.budget import KEYS
from iid_cl.errors import UserError, printable
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.export import class_names
from iid_cl.memory.files import load_memory
from iid_cl.report.pictures import save_memory_picture
from iid_cl.terminal.screen import emit, print_table

MOST_CLASSES = 20  # drawn in a terminal
BLOCK_COLUMNS = 16  # of an image drawn with half blocks: 16 x 16 pixels
PIXEL_COLUMNS = 8  # of an image where the terminal shows pictures


def show_memory(path: Path, out: Path | None, classes: Sequence[str] | None, console: Console) -> None:
    """Prints what a memory is and draws it: as a PNG where ``out`` says, else in a terminal.

    Args:
        path: the memory file.
        out: PNG to write.
        classes: names or indices of the classes to draw; None: all, in a terminal the first 20.
        console: where to print.

    Raises:
        UserError: the file is unusable, holds none of these classes, or ``out`` cannot be written.
    """
    if out is not None and out.suffix.lower() != ".png":
        raise UserError(f"--out: {str(out)!r} must end in .png.")
    memory = load_memory(path)
    names = class_names(memory)
    chosen = memory.classes if classes is None else [_class(wanted, names, path) for wanted in classes]
    if out is not None:
        rows = [i for i, label in enumerate(memory.labels.tolist()) if label in set(chosen)]
        listed = [names.get(c, str(c)) for c in range(memory.classes[-1] + 1)]
        save_memory_picture(out, memory.take(memory.labels.new_tensor(rows).long()), listed)
    facts = describe(path, memory)
    emit(console, "memory", **facts, classes=[{"index": c, "name": n} for c, n in names.items()], picture=out)
    print_table(console, _table(facts))
    if out is not None:
        console.print(Text(f"Picture in {out}"), soft_wrap=True)
    elif console.is_terminal and console.color_system is not None:
        _draw({names[c]: memory.by_class()[c] for c in chosen[:MOST_CLASSES]}, console)
        if len(chosen) > MOST_CLASSES:
            rest = len(chosen) - MOST_CLASSES
            console.print(Text(f"and {rest} classes more; name some with --class, or draw all: --out"))
    else:
        console.print(Text("No colours here to draw in; --out FILE.png writes the picture."), soft_wrap=True)


def describe(path: Path, memory: Exemplars) -> dict[str, Any]:
    """What a memory is and where it is from, as plain JSON."""
    told = memory.metadata
    made = told.get("provenance")
    made = made if isinstance(made, Mapping) else {}
    stream = told.get("stream")
    distill = told.get("distill")
    channels, height, width = memory.shape
    facts = {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "method": told.get("method"),
        "data_set": stream.get("dataset") if isinstance(stream, Mapping) else None,
        "images": len(memory),
        "classes_held": len(memory.classes),
        "image_size": f"{height}x{width}x{channels}",
        "memory_bytes": memory.nbytes,
        "stored_as": memory.stored_as,
        "partition": memory.partition,
        "trained_on": len(memory) * memory.partition**2,
        "soft_labels": memory.soft_labels is not None,
        "budget": next((f"{key}: {told[key]}" for key in KEYS if key in told), None),
        "seed": told.get("seed"),
        "objective": distill.get("objective") if isinstance(distill, Mapping) else None,
        "iterations": told.get("iterations_done"),
        "arithmetic": told.get("arithmetic"),
        "choice": told.get("choice"),
        "seconds": told.get("seconds"),
        "format": told.get("version"),
        "sha256": told.get("sha256"),
        "command": made.get("command"),
        "commit": made.get("commit"),
        "made_on": made.get("machine"),
        "device": made.get("device"),
        "versions": made.get("versions"),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _table(facts: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and key != "seed" else str(value)
        if isinstance(value, Mapping):
            shown = ", ".join(f"{name} {each}" for name, each in value.items())
        elif isinstance(value, bool):
            shown = "yes" if value else "no"
        table.add_row(key.replace("_", " "), Text(printable(shown)))
    return table


def _draw(images: Mapping[str, Tensor], console: Console) -> None:
    """A line of images per class, as many as the terminal is wide."""
    picture = _picture_kind(console)
    for name, of_class in images.items():
        side = of_class.shape[3]
        each = min(side, BLOCK_COLUMNS) if picture is None else PIXEL_COLUMNS
        fit = max(1, (min(console.width, 120) - 1) // (each + 1))
        rest = len(of_class) - fit
        more = f"  and {rest} more" if rest > 0 else ""
        console.print(Text(printable(name), style="bold").append(more, style="dim"))
        if picture is None:
            console.print(_half_blocks(_row(of_class[:fit], each, 1)), no_wrap=True, crop=True)
        else:
            sheet = _row(of_class[:fit], None, max(1, -(-96 // side)))
            columns = min(console.width - 1, min(fit, len(of_class)) * (each + 1))
            console.print(picture(sheet, width=columns, height="auto"))


def _picture_kind(console: Console) -> Any:
    """What draws real pixels where the terminal shows pictures (Kitty's protocol, or Sixel); else None."""
    if not (console.is_terminal and sys.stdout.isatty() and sys.stdin.isatty()):
        return None
    from textual_image.renderable import Image, SixelImage, TGPImage  # asks the terminal what it can

    return Image if Image in (SixelImage, TGPImage) else None


def _half_blocks(sheet: Image.Image) -> Text:
    """A picture of characters, each of which shows two pixels, one above the other."""
    pixels = np.asarray(sheet)
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    text.rstrip()
    return text


def _row(images: Tensor, side: int | None, scale: int) -> Image.Image:
    """The images beside each other, each ``side`` pixels wide (its own width: None) times ``scale``, a gap after it."""
    count, channels, height, width = images.shape
    across = (width if side is None else side) * scale
    down = max(2, round(across * height / width) // 2 * 2)
    gap = max(1, across // 16)
    sheet = Image.new("RGB", (count * (across + gap), down))
    for number, image in enumerate(images):
        pixels = image[:3] if channels >= 3 else image[:1].expand(3, -1, -1)
        picture = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
        smooth = across < width
        resample = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
        sheet.paste(picture.resize((across, down), resample), (number * (across + gap), 0))
    return sheet


def _class(wanted: str, names: Mapping[int, str], path: Path) -> int:
    found = [c for c, name in names.items() if wanted in (name, str(c))]
    if not found:
        some = ", ".join(list(names.values())[:10])
        raise UserError(
            f"--class: {wanted!r} is no class of {path}; it holds {some}{', …' if len(names) > 10 else ''}."
        )
    return found[0]
