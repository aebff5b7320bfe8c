"""The commands that inspect the installation and configurations."""

from typing import Annotated

import typer

from iid_cl.cli.options import (
    ConfigArgument,
    DataRootOption,
    DeviceOption,
    JsonOption,
    SeedOption,
    SetOption,
    complete_shipped,
    resolve,
    screen,
    screen_of,
)
from iid_cl.config.reading import CONFIGURATION, STUDY, dump_config
from iid_cl.config.schema import config_schema, study_schema, to_text
from iid_cl.errors import UserError, shown


def configs(
    show: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Print this file, to start one from it.", autocompletion=complete_shipped),
    ] = None,
) -> None:
    """List the shipped configurations and studies with their purpose."""
    if show is not None:
        print(_shipped_text(show), end="")
        return
    names: dict[str, list[tuple[str, str]]] = {"run": [], "compare": [], "study": []}
    for kind in (CONFIGURATION, STUDY):
        for name in kind.shipped():
            command = "compare" if name.startswith("compare_") else kind.command
            names[command].append((name, kind.purpose(name)))
    width = max(len(name) for listed in names.values() for name, _ in listed)
    for command, listed in names.items():
        print(f"iid-cl {command} NAME")
        for name, purpose in listed:
            print(f"  {name:{width}}  {purpose}")


def _shipped_text(name: str) -> str:
    """Raises UserError if no shipped file has this name, with or without ``.yaml``."""
    file = name if name.endswith(".yaml") else f"{name}.yaml"
    for kind in (CONFIGURATION, STUDY):
        if file in kind.shipped():
            return kind.text(file)
    raise UserError(f"--show {shown(name)}: nothing shipped has this name; iid-cl configs lists all.")


def check(
    config: ConfigArgument,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    probe: Annotated[bool, typer.Option(help="Try a few iterations to estimate the time.")] = True,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the whole configuration with its defaults, and stop.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show what a run would do, and about how long it would take."""
    resolved = resolve(config, set_, seed, device)
    if print_config:
        print(dump_config(resolved), end="")
        return
    console = screen_of(resolved.name, False, json)
    from iid_cl.precheck.check import check_config

    check_config(resolved, data_root, console, probe=probe)


def schema(
    study: Annotated[bool, typer.Option("--study", help="Print the schema of studies instead.")] = False,
) -> None:
    """Print the JSON schema of configurations, with which editors complete and check them."""
    print(to_text(study_schema() if study else config_schema()), end="")


def doctor(data_root: DataRootOption = None, json: JsonOption = False) -> None:
    """Show what is installed, which devices work, and which data sets are there; exit code 1 if a run would fail."""
    from iid_cl.precheck.doctor import examine

    if not examine(data_root, screen(False, json)):
        raise typer.Exit(1)
