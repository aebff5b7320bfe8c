"""A memory as a picture: one row per class."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import write_bytes

CELL_INCHES = 0.6
SHOWN_PER_CLASS = 20


def save_memory_picture(path: Path, memory: ExemplarSet, class_names: Sequence[str]) -> None:
    """Writes the memory as a PNG: a row per class in ascending order, at most 20 images of each.

    Args:
        path: file to write.
        memory: the exemplars.
        class_names: name of each class index.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [images[:SHOWN_PER_CLASS] for images in memory.by_class().values()]
    names = [class_names[c] if c < len(class_names) else str(c) for c in memory.classes]
    sheet = _tile(rows)
    label_inches = 0.25 + 0.08 * max(len(name) for name in names)
    columns = max(len(row) for row in rows)
    width, height = label_inches + columns * CELL_INCHES, len(rows) * CELL_INCHES + 0.1
    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((label_inches / width, 0, 1 - label_inches / width, 1))
    axes.imshow(sheet.numpy(), interpolation="nearest", extent=(0, columns, len(rows), 0), vmin=0, vmax=255)
    axes.set_yticks([i + 0.5 for i in range(len(rows))], names, fontsize=8)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a class may be called $x$
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def _tile(rows: Sequence[Tensor]) -> Tensor:
    """Rows of uint8 images (n, C, H, W) on a white sheet, (height, width, 3), with a white line between cells."""
    _, channels, height, width = rows[0].shape
    gap = max(1, height // 16)
    columns = max(len(row) for row in rows)
    sheet = torch.full((len(rows) * (height + gap), columns * (width + gap), 3), 255, dtype=torch.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            y, x = i * (height + gap) + gap // 2, j * (width + gap) + gap // 2
            colour = image if channels == 3 else image[:1].expand(3, -1, -1)
            sheet[y : y + height, x : x + width] = colour.permute(1, 2, 0)
    return sheet
