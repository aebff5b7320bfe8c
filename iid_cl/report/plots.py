"""Shared by all figures: colours, an empty figure, and writing a figure to a file."""

import io
from pathlib import Path
from typing import Any

from iid_cl.files import write_bytes

# Okabe and Ito's colours, which colour-blind readers can distinguish
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B2A100")


def blank_figure(width: float, height: float, panels: int = 1) -> tuple[Any, list[Any]]:
    """A figure of ``width`` x ``height`` inches with panels side by side, which share their y-axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120)
    FigureCanvasAgg(figure)
    (all_axes,) = figure.subplots(1, panels, sharey=True, squeeze=False)
    for axes in all_axes:
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, list(all_axes)


def legend_name(name: str) -> str:
    """The name for a legend, which would leave out a name with a leading underscore."""
    return f" {name}" if name.startswith("_") else name


def save_figure(figure: Any, path: Path, *, tight: bool = True) -> None:
    """Writes a PNG, or an SVG if the path ends in .svg. Equal figures give equal bytes.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a class may be called $x$
    buffer = io.BytesIO()
    if tight:
        figure.tight_layout()
    svg = path.suffix == ".svg"
    with rc_context({"svg.hashsalt": "iid-cl"}):
        figure.savefig(buffer, format="svg" if svg else "png", metadata={"Date" if svg else "Software": None})
    write_bytes(path, buffer.getvalue())
