"""``iid-cl predict``: pictures classified by a run's network."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Column, Table

from iid_cl.data.pictures import SUFFIXES
from iid_cl.errors import NO_PICTURE, UserError, printable
from iid_cl.evaluate.model import NAME, load_model
from iid_cl.records.directory import check_directory
from iid_cl.terminal.screen import emit, print_table


def show_classified(run: Path, images: Sequence[Path], console: Console) -> None:
    """Prints the most probable class of each picture and its probability, which softmax gives and nothing calibrates.

    Raises:
        UserError: the run has no network, or a picture cannot be read.
    """
    if run.is_dir():
        check_directory(run, (NAME,))
    model = load_model(run)
    table = Table("picture", "class", Column("probability", justify="right"), box=box.SIMPLE, pad_edge=False)
    for path in _pictures(images):
        (probabilities,) = model.probabilities(model.read(path)[None])
        index = int(probabilities.argmax())
        name, probability = model.class_names[index], float(probabilities[index])
        table.add_row(printable(str(path)), name, f"{probability:.1%}")
        emit(console, "picture", path=str(path), name=name, probability=round(probability, 6))
    print_table(console, table)


def _pictures(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, and the pictures in the folders.

    Raises:
        UserError: no such file, or a folder without pictures.
    """
    for path in paths:
        if not path.is_dir():
            if not path.is_file():
                raise UserError(f"{path}: {NO_PICTURE}")
            yield path
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise UserError(f"{path}: holds no pictures.")
        yield from inside
