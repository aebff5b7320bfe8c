"""The commands that inspect the installation and configurations."""

from pathlib import Path
from typing import Annotated

import typer

from iid_cl.cli.options import (
    DataRootOption,
    DeviceOption,
    JsonOption,
    SeedOption,
    SetOption,
    complete_any_file,
    complete_shipped,
    options_of,
    resolve,
    screen,
    screen_of,
)
from iid_cl.config.reading import CONFIGURATION, STUDY, dump_config, read_override
from iid_cl.config.schema import config_schema, study_schema, to_text
from iid_cl.config.study import StudyConfig
from iid_cl.errors import UserError, shown
from iid_cl.studies.cases import dump_study, is_study_file, load_study


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
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="A YAML file of a run or a study, or a shipped one's name.",
            autocompletion=complete_any_file,
        ),
    ],
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
    """Show what a run or a study would do, and about how long."""
    if is_study_file(config):
        _check_study(load_study(config, map(read_override, options_of(set_, seed, device))), data_root, probe, json,
                     print_config)  # fmt: skip
        return
    resolved = resolve(config, set_, seed, device)
    if print_config:
        print(dump_config(resolved), end="")
        return
    console = screen_of(resolved.name, False, json)
    from iid_cl.precheck.check import check_config

    check_config(resolved, data_root, console, probe=probe)


def _check_study(study: StudyConfig, data_root: Path | None, probe: bool, json: bool, print_config: bool) -> None:
    if print_config:
        print(dump_study(study), end="")
        return
    console = screen_of(study.name, False, json)
    from iid_cl.studies.check import check_study

    check_study(study, data_root, console, probe=probe)


def schema(
    study: Annotated[bool, typer.Option("--study", help="Print the schema of studies instead.")] = False,
) -> None:
    """Print the JSON schema of configurations. Editors complete and check them with it."""
    print(to_text(study_schema() if study else config_schema()), end="")


def doctor(
    data_root: DataRootOption = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Also import every package and try the compiler: half a minute.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show what is installed, and which data sets are there. Exit code 1 if a run would fail."""
    from iid_cl.precheck.doctor import examine

    if not examine(data_root, screen(False, json), thorough=thorough):
        raise typer.Exit(1)
