"""A memory as a picture, one row per class."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from iid_cl.errors import printable
from iid_cl.files import write_bytes
from iid_cl.memory.exemplars import Exemplars, first_rows

CELL_INCHES = 0.6  # side of an image, at 100 pixels an inch; less where there are many
MOST_IN_PNG = 2**23  # pixels of the picture, about
SHOWN_PER_CLASS = 20
MOST_DRAWN = 1000  # classes; a PNG from Matplotlib ends at 65,536 pixels
LONGEST_NAME = 40  # characters drawn of a class's name
MOST_PIXELS = 2**25  # of the sheet that is drawn, where each image takes 60 x 60 in the PNG


def save_memory_picture(path: Path, memory: Exemplars, class_names: Sequence[str]) -> None:
    """Writes :func:`memory_picture` to a file.

    Raises:
        UserError: the file cannot be written.
    """
    write_bytes(path, memory_picture(memory, class_names))


def memory_picture(memory: Exemplars, class_names: Sequence[str]) -> bytes:
    """The memory as a PNG, with a row per class in ascending order and at most 20 images per class.

    A memory of many classes with few images has a column per class instead. Only the first 1,000 classes are drawn.
    ``class_names`` are by class index; what a long one ends with is left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = memory.classes[:MOST_DRAWN]
    chosen = first_rows(memory.labels, SHOWN_PER_CLASS)
    rows = list(memory.take(chosen[memory.labels[chosen] <= drawn[-1]]).by_class().values())  # JPEG decodes no others
    names = [_short(class_names[c] if c < len(class_names) else str(c)) for c in drawn]
    longest = max(len(row) for row in rows)
    sideways = 4 * longest <= len(rows)
    across, down = (len(rows), longest) if sideways else (longest, len(rows))
    longest_name = max(len(name) for name in names)
    upright = longest_name <= 4  # short names fit above a column without rotation
    cell = CELL_INCHES * min(1.0, math.sqrt(MOST_IN_PNG / (across * down)) / (100 * CELL_INCHES))
    font = min(8.0, 0.8 * 72 * cell)
    margin = 0.25 + (0.0 if sideways and upright else 0.08 * longest_name)  # inches for the names
    left, top = (0.05, margin) if sideways else (margin, 0.05)
    width, height = left + across * cell, top + down * cell
    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((left / width, 0, 1 - left / width, 1 - top / height))
    sheet = _tile(rows, sideways)
    axes.imshow(sheet.numpy(), interpolation="nearest", extent=(0, across, down, 0), vmin=0, vmax=255)
    centres = [i + 0.5 for i in range(len(rows))]
    axes.set_xticks(
        centres if sideways else [], names if sideways else [], fontsize=font, rotation=0 if upright else 90
    )
    axes.set_yticks([] if sideways else centres, [] if sideways else names, fontsize=font)
    axes.tick_params(length=0, labeltop=sideways, labelbottom=False)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a class may be called $x$
    for spine in axes.spines.values():
        spine.set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _short(name: str) -> str:
    """A class's name as it is drawn: on one line, with what no font has spelt out."""
    name = printable(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _tile(rows: Sequence[Tensor], sideways: bool) -> Tensor:
    """Rows of uint8 images (n, C, H, W) on a white sheet (height, width, 3), with white lines between images.

    Of images so large that the sheet would have more than ``MOST_PIXELS``, every second or further pixel is drawn.
    """
    side = max(1, math.isqrt(MOST_PIXELS // (len(rows) * max(len(row) for row in rows))))
    across, down = (max(1, -(-length // side)) for length in reversed(rows[0].shape[2:]))
    rows = [row[:, :, ::down, ::across] for row in rows]
    _, channels, height, width = rows[0].shape
    gap = max(1, height // 16)
    longest = max(len(row) for row in rows)
    down, across = (longest, len(rows)) if sideways else (len(rows), longest)
    sheet = torch.full((down * (height + gap), across * (width + gap), 3), 255, dtype=torch.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            line, column = (j, i) if sideways else (i, j)
            y, x = line * (height + gap) + gap // 2, column * (width + gap) + gap // 2
            colour = image if channels == 3 else image[:1].expand(3, -1, -1)
            sheet[y : y + height, x : x + width] = colour.permute(1, 2, 0)
    return sheet
