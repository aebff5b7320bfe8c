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
    resolve,
    screen,
)
from iid_cl.config.reading import shipped_configs
from iid_cl.config.schema import config_schema, study_schema, to_text
from iid_cl.studies.cases import shipped_studies


def configs() -> None:
    """List the shipped configurations and studies."""
    for name in shipped_configs():
        print(name)
    for name in shipped_studies():
        print(f"{name} (study)")


def check(
    config: ConfigArgument,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    probe: Annotated[bool, typer.Option(help="Try a few iterations to estimate the time.")] = True,
    json: JsonOption = False,
) -> None:
    """Show what a run would do, and about how long it would take."""
    resolved = resolve(config, set_, seed, device)
    from iid_cl.precheck.check import check_config

    check_config(resolved, data_root, screen(False, json), probe=probe)


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
