"""The commands that take memories in from other programs' files, and give them out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from iid_cl.cli.options import DataRootOption, ForceOption, MemoryArgument, complete_dataset
from iid_cl.errors import NO_MEMORY, must_exist


def export(
    memory: MemoryArgument,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder to make; with --to pt, a file.")],
    to: Annotated[
        Literal["folder", "hf", "pt"],
        typer.Option(
            help="folder: TARGET/CLASS/NUMBER.png. hf: a data set of the Hugging Face hub, with a card. pt: as DM."
        ),
    ] = "folder",
    decoded: Annotated[
        bool,
        typer.Option("--decoded", help="Write the images to train on: parts of stored images at full size. "
                     "hf and pt always hold these."),
    ] = False,
) -> None:  # fmt: skip
    """Write a memory in a form that any framework reads."""
    must_exist(memory, NO_MEMORY)
    if to == "pt":
        from iid_cl.memory.published import export_pt

        print(f"{target}: {export_pt(memory, target):,} images, normalised, in DM's layout")
    elif to == "hf":
        from iid_cl.memory.hub import export_hf

        print(f"{target}: {export_hf(memory, target):,} images; README.md is their card")
    else:
        from iid_cl.memory.export import export_memory

        count = export_memory(memory, target, decoded=decoded)
        print(f"{target}: {count:,} images; README.md and memory.json say what they are")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Distilled set of DC, DSA, DM, IDM, MTT or NCFM (.pt).")],
    dataset: Annotated[str, typer.Option(help="Data set that it was distilled from.", autocompletion=complete_dataset)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Memory file to write (.safetensors).")],
    partition: Annotated[
        int, typer.Option(min=1, max=16, help="Images along each side of a stored one (NCFM: its factor, 2).")
    ] = 1,
    number: Annotated[int, typer.Option(min=0, help="Which of several sets in the file, from 0.")] = 0,
    data_root: DataRootOption = None,
    force: ForceOption = False,
) -> None:
    """Read a published distilled set as a memory. It is then shown, exported and judged like any other."""
    from iid_cl.runs.imported import import_memory

    memory = import_memory(file, dataset, data_root, out, partition, number, force=force)
    clipped = memory.metadata["clipped"]
    note = f"; {100 * clipped:.1f} % of the values were clipped to what a pixel can show" if clipped else ""
    print(f"{out}: {len(memory):,} images of {len(memory.classes)} classes, {memory.nbytes:,} bytes{note}")
