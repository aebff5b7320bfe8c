"""The commands that show memories and runs."""

from pathlib import Path
from typing import Annotated

import typer

from iid_cl.cli.options import ForceOption, JsonOption, MemoryArgument, screen, screen_of
from iid_cl.errors import NO_MEMORY, NO_MODEL, NO_PICTURE, NO_RESULTS, UserError, must_exist


def show(
    memory: MemoryArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="PNG to write, instead of the terminal.")] = None,
    class_: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="Draw this class only. Repeatable.")
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Show a memory: its size and method, its origin, and its images."""
    must_exist(memory, NO_MEMORY)
    from iid_cl.report.show import show_memory

    show_memory(memory, out, class_, screen(False, json), force=force)


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's directory, or its model.safetensors.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of pictures.")],
    json: JsonOption = False,
) -> None:
    """Classify pictures by the network that a run has trained."""
    must_exist(run, NO_MODEL)
    for image in images:
        must_exist(image, NO_PICTURE)
    console = screen_of(str(run), False, json)
    from iid_cl.report.classified import show_classified

    show_classified(run, images, console)


def list_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of runs, or a run.")] = Path("runs"),
    json: JsonOption = False,
) -> None:
    """List runs and comparisons with their results."""
    from iid_cl.report.listing import list_runs

    list_runs(folder, screen(False, json))


def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Runs, or one comparison or study.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to. Default: DIR; for several runs, runs/report.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Make one HTML page of runs, a comparison or a study. Its figures are PNG and SVG files, too."""
    for directory in directories:
        must_exist(directory, NO_RESULTS)
    from iid_cl.records.directory import is_study
    from iid_cl.report.page import report as write_report
    from iid_cl.studies.page import study_report

    studies = [directory for directory in directories if is_study(directory)]
    if studies and len(directories) > 1:
        raise UserError(f"{studies[0]}: is a study, which is reported alone; name it without the others.")
    page = study_report(studies[0], out) if studies else write_report(directories, out)
    print(page)
    if open_:
        typer.launch(page.resolve().as_uri())
