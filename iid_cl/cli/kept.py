"""The command that shows and removes what is kept on disk."""

from typing import Annotated

import typer
from rich.text import Text

from iid_cl.cli.options import JsonOption, screen


def cache(
    remove: Annotated[bool, typer.Option("--remove", help="Remove them; they are decoded again when needed.")] = False,
    json: JsonOption = False,
) -> None:
    """List the decoded images that are kept on disk, or remove them."""
    from iid_cl.data.cache import entries
    from iid_cl.data.places import cache_folder
    from iid_cl.terminal.screen import emit

    console, folder, total = screen(False, json), cache_folder(), 0
    for entry in entries(folder):
        state = "" if entry.done == entry.count else f" ({entry.done:,} so far)"
        fate = ("removed" if entry.remove() else "in use, not removed") if remove else str(entry.path)
        total += entry.nbytes
        line = f"{entry.place}: {entry.count:,} images{state}, {entry.nbytes / 2**20:,.1f} MiB: {fate}"
        console.print(Text(line), soft_wrap=True)
        emit(console, "images", place=entry.place, path=str(entry.path), count=entry.count, done=entry.done,
             nbytes=entry.nbytes, fate=fate if remove else "kept")  # fmt: skip
    console.print(Text(f"{total / 2**20:,.1f} MiB in {folder}"), soft_wrap=True)
