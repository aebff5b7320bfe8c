"""The command line. Commands import what trains only when they run, so that ``--help`` answers at once."""

import gc
import sys
import warnings
from typing import Annotated

import typer

from iid_cl import __version__
from iid_cl.cli import exchange, kept, look, train
from iid_cl.cli import help as help_commands
from iid_cl.errors import UserError, is_printable, one_line, shown
from iid_cl.files import is_full
from iid_cl.terminal.signals import Stopped, stops_at_signals

app = typer.Typer(
    name="iid-cl",
    help="Continual learning whose memory is distilled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    train.run,
    train.resume,
    train.compare,
    train.distill,
    train.evaluate,
    train.study,
    look.show,
    exchange.export,
    exchange.import_,
    look.predict,
    look.list_,
    look.report,
    kept.cache,
    help_commands.configs,
    help_commands.check,
    help_commands.schema,
    help_commands.doctor,
):
    app.command(command.__name__.rstrip("_"))(command)


def _version(is_set: bool) -> None:
    if is_set:
        print(f"iid-cl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Continual learning whose memory is distilled."""


def main() -> None:
    """Entry point: a mistake of the user ends in one sentence and exit code 2."""
    if not sys.warnoptions:  # deprecations of other libraries do not concern users
        warnings.simplefilter("ignore")
    gc.set_threshold(20_000)  # not 700: imports make a million objects that stay, and searching them takes a second
    try:
        odd = next((argument for argument in sys.argv[1:] if not is_printable(argument)), None)
        if odd is not None:  # it would reach the terminal, the log and the pictures
            raise UserError(f"the argument {shown(odd)} holds a line break or a control character; leave it out.")
        with stops_at_signals():
            app()
    except UserError as error:
        print("iid-cl:", one_line(error), file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(f"iid-cl: stopped by {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except OSError as error:
        if not is_full(error):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"iid-cl: {where}the disk is full; free some space and give the command again.", file=sys.stderr)
        sys.exit(2)
