"""``iid-cl show``: a memory file's metadata as a table and its images in the terminal."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from iid_cl.files import check_output
from iid_cl.memory.exemplars import Exemplars, first_rows
from iid_cl.memory.export import class_names
from iid_cl.memory.files import load_memory
from iid_cl.report.pictures import MOST_DRAWN, save_memory_picture
from iid_cl.terminal.screen import emit, print_table

MOST_CLASSES = 20  # drawn in a terminal
BLOCK_COLUMNS = 16  # columns of an image drawn with half blocks: 16 x 16 pixels
PIXEL_COLUMNS = 8  # columns of an image in a terminal that shows pictures
MOST_IMAGES = 120  # of a class, in a terminal
WIDEST, TALLEST = 512, 8  # pixels of a drawn image across, and times as many down
LONGEST = 2000  # characters of a fact in the table


def show_memory(
    path: Path, out: Path | None, classes: Sequence[str] | None, console: Console, *, force: bool = False
) -> None:
    """Prints a memory's metadata and draws its images, in the terminal or as a PNG.

    Args:
        path: the memory file.
        out: PNG to write; None draws in the terminal.
        classes: names or indices of the classes to draw; None: all, in a terminal the first 20.
        console: where to print.
        force: replace an ``out`` that exists.

    Raises:
        UserError: the file is unusable, lacks one of the classes, or ``out`` exists or cannot be written.
    """
    if out is not None and out.suffix.lower() != ".png":
        raise UserError(f"--out: {str(out)!r} must end in .png.")
    if out is not None:
        check_output(out, force=force)
    memory = load_memory(path)
    names = class_names(memory)
    labels = memory.classes if classes is None else [_class(name, names, path) for name in classes]
    if out is not None:
        all_names = [names.get(c, str(c)) for c in range(memory.classes[-1] + 1)]
        save_memory_picture(out, _of_classes(memory, labels), all_names)
    facts = describe(path, memory)
    emit(console, "memory", **facts, classes=[{"index": c, "name": n} for c, n in names.items()], picture=out)
    print_table(console, _table(facts))
    if out is not None:
        few = f", of the first {MOST_DRAWN:,} classes" if len(labels) > MOST_DRAWN else ""
        console.print(Text(f"Picture in {out}{few}"), soft_wrap=True)
    elif console.is_terminal and console.color_system is not None:
        some = _of_classes(memory, labels[:MOST_CLASSES])
        by_class = some.take(first_rows(some.labels, MOST_IMAGES)).by_class()
        counts = memory.labels.bincount().tolist()
        _draw({names[c]: (images, counts[c]) for c, images in by_class.items()}, console)
        if (rest := len(labels) - MOST_CLASSES) > 0:
            console.print(Text(f"and {rest} more classes; choose some with --class, or draw all with --out FILE.png"))
    else:
        console.print(Text("This output has no colours; --out FILE.png writes the picture."), soft_wrap=True)


def _of_classes(memory: Exemplars, labels: Sequence[int]) -> Exemplars:
    """The part of a memory with these class indices."""
    wanted = torch.tensor(sorted(set(labels)), dtype=memory.labels.dtype)
    return memory.take(torch.isin(memory.labels, wanted).nonzero().squeeze(1))


def describe(path: Path, memory: Exemplars) -> dict[str, Any]:
    """What a memory holds and where it comes from, as plain JSON."""
    metadata = memory.metadata
    provenance, stream, distill = (
        value if isinstance(value := metadata.get(key), Mapping) else {} for key in ("provenance", "stream", "distill")
    )
    channels, height, width = memory.shape
    facts = {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "method": metadata.get("method"),
        "data_set": stream.get("dataset"),
        "images": len(memory),
        "classes_held": len(memory.classes),
        "image_size": f"{height}x{width}x{channels}",
        "memory_bytes": memory.nbytes,
        "stored_as": memory.stored_as,
        "partition": memory.partition,
        "trained_on": len(memory) * memory.partition**2,
        "soft_labels": memory.soft_labels is not None,
        "budget": next((f"{key}: {metadata[key]}" for key in KEYS if key in metadata), None),
        "seed": metadata.get("seed"),
        "objective": distill.get("objective"),
        "iterations": metadata.get("iterations_done"),
        "arithmetic": metadata.get("arithmetic"),
        "choice": metadata.get("choice"),
        "seconds": metadata.get("seconds"),
        "format": metadata.get("version"),
        "sha256": metadata.get("sha256"),
        "command": provenance.get("command"),
        "commit": provenance.get("commit"),
        "made_on": provenance.get("machine"),
        "device": provenance.get("device"),
        "versions": provenance.get("versions"),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _table(facts: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        match value:
            case bool():
                text = "yes" if value else "no"
            case int() if key != "seed":
                text = f"{value:,}"
            case Mapping():
                text = ", ".join(f"{name} {version}" for name, version in value.items())
            case _:
                text = str(value)
        short = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
        table.add_row(key.replace("_", " "), Text(printable(short)))
    return table


def _draw(by_name: Mapping[str, tuple[Tensor, int]], console: Console) -> None:
    """A line of each class's first images, as many as fit into the terminal; each with the number of all."""
    picture = _picture_kind(console)
    for name, (images, count) in by_name.items():
        side = images.shape[3]
        width = min(side, BLOCK_COLUMNS) if picture is None else PIXEL_COLUMNS
        fit = max(1, (min(console.width, 120) - 1) // (width + 1))
        rest = count - min(fit, len(images))
        more = f"  and {rest} more" if rest > 0 else ""
        console.print(Text(printable(name), style="bold").append(more, style="dim"))
        if picture is None:
            console.print(_half_blocks(_row(images[:fit], width, 1)), no_wrap=True, crop=True)
        else:
            sheet = _row(images[:fit], None, max(1, -(-96 // side)))
            columns = min(console.width - 1, min(fit, len(images)) * (width + 1))
            console.print(picture(sheet, width=columns, height="auto"))


def _picture_kind(console: Console) -> Any:
    """The class that draws pixels in terminals that show pictures (Kitty's protocol or Sixel); else None."""
    if not (console.is_terminal and sys.stdout.isatty() and sys.stdin.isatty()):
        return None
    from textual_image.renderable import Image, SixelImage, TGPImage  # asks the terminal

    return Image if Image in (SixelImage, TGPImage) else None


def _half_blocks(sheet: Image.Image) -> Text:
    """A picture of characters; each shows two pixels, one above the other."""
    pixels = np.asarray(sheet)
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    text.rstrip()
    return text


def _row(images: Tensor, side: int | None, scale: int) -> Image.Image:
    """Images side by side with gaps, each ``side`` pixels wide (None: the image's width) times ``scale``."""
    count, channels, height, width = images.shape
    across = min(WIDEST, width if side is None else side) * scale
    down = min(TALLEST * across, max(2, round(across * height / width) // 2 * 2))
    gap = max(1, across // 16)
    sheet = Image.new("RGB", (count * (across + gap), down))
    for number, image in enumerate(images):
        pixels = image[:3] if channels >= 3 else image[:1].expand(3, -1, -1)
        picture = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
        resample = Image.Resampling.BOX if across < width else Image.Resampling.NEAREST
        sheet.paste(picture.resize((across, down), resample), (number * (across + gap), 0))
    return sheet


def _class(wanted: str, names: Mapping[int, str], path: Path) -> int:
    for label, name in names.items():
        if wanted in (name, str(label)):
            return label
    some = ", ".join(list(names.values())[:10])
    raise UserError(f"--class: {wanted!r} is no class of {path}; it holds {some}{', …' if len(names) > 10 else ''}.")
