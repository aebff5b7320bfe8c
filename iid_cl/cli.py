"""The command line; thin. What trains is imported when it is called, so that help answers at once."""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from iid_cl import __version__
from iid_cl.config import Config
from iid_cl.config_files import load_config, parse_config, read_override, shipped_configs
from iid_cl.errors import UserError
from iid_cl.studies.cases import load_study, shipped_studies

app = typer.Typer(
    name="iid-cl",
    help="Continual learning whose memory is distilled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or a shipped configuration's name.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. memory.ipc=5. Repeatable."),
]
SeedOption = Annotated[int | None, typer.Option(help="Seed of every random draw.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DataRootOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the data sets; of the images for image_folder. Default: $IID_CL_DATA, ~/.cache/iid-cl."
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="Run directory to make. Default: runs/NAME.")]


@app.command()
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    out: OutOption = None,
) -> None:
    """Train class by class with a memory and show what it won."""
    resolved = _resolve(config, set_, seed, device)
    from iid_cl.runs.run import run as run_config

    run_config(resolved, data_root, out, Console())


@app.command()
def compare(
    config: ConfigArgument,
    memories: Annotated[str, typer.Option(help="Comma-separated methods.")] = "none,random,herding,distilled",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, counted up from the configuration's.")] = 3,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    out: OutOption = None,
) -> None:
    """Compare memories at equal bytes: same class orders and initial weights, several seeds."""
    resolved = _resolve(config, set_, seed, device)
    methods = list(dict.fromkeys(name.strip() for name in memories.split(",")))
    # the configuration's own check names an unknown method and those there are
    checked = parse_config({"baselines": methods}, "--memories").baselines
    from iid_cl.runs.run import compare as compare_methods

    compare_methods(resolved, checked, seeds, data_root, out, Console())


@app.command()
def distill(
    dataset: Annotated[str, typer.Argument(help="Name of a data set, e.g. digits, cifar10, image_folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Memory file to write (.safetensors).")],
    ipc: Annotated[int, typer.Option(help="Images per class.")] = 10,
    method: Annotated[str, typer.Option(help="distilled, herding or random.")] = "distilled",
    config: Annotated[str | None, typer.Option(help="Configuration to take the `distill` section from.")] = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
) -> None:
    """Condense a whole data set into a memory file, and draw it beside."""
    shortcuts = [f"stream.dataset={dataset}", f"memory.ipc={ipc}", f"memory.method={method}"]
    resolved = _resolve(config, [*shortcuts, *(set_ or [])], seed, device)
    from iid_cl.runs.memories import condense_dataset

    condense_dataset(resolved, data_root, out, Console())


@app.command()
def evaluate(
    memory: Annotated[Path, typer.Argument(metavar="FILE", help="A memory written by iid-cl.")],
    config: Annotated[str | None, typer.Option(help="Configuration to take the `evaluate` section from.")] = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
) -> None:
    """Judge a memory: train fresh networks on it alone, test them on real images."""
    resolved = _resolve(config, set_, seed, device)
    from iid_cl.runs.memories import evaluate_memory

    evaluate_memory(memory, resolved, data_root, Console())


@app.command()
def study(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A study's YAML file, or a shipped study's name.")],
    set_: SetOption = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds. Default: the study's.")] = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    out: OutOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Store the first seed's memories and pictures, too.")] = False,
) -> None:
    """Answer one question about the method: memories compared, as a CSV and a figure."""
    overrides = [*(set_ or []), *([] if device is None else [f"device={device}"])]
    chosen = load_study(study, map(read_override, overrides), seeds)
    if chosen.scatter is not None:
        from iid_cl.studies.scatter import run_scatter

        run_scatter(chosen, chosen.scatter, data_root, out, Console())
    else:
        from iid_cl.studies.run import run_study

        run_study(chosen, data_root, out, Console(), keep_memories=keep)


@app.command()
def configs() -> None:
    """List the shipped configurations and studies."""
    for name in shipped_configs():
        print(name)
    for name in shipped_studies():
        print(f"{name} (study)")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"iid-cl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Continual learning whose memory is distilled."""


def _resolve(source: str | None, overrides: list[str] | None, seed: int | None, device: str | None) -> Config:
    """The configuration with the command's options applied; without a source, the defaults."""
    options = [*(overrides or [])]
    options += [] if seed is None else [f"seed={seed}"]
    options += [] if device is None else [f"device={device}"]
    return load_config(source, options)


def main() -> None:
    """Entry point: mistakes of the user end in one sentence and exit code 2."""
    if not sys.warnoptions:  # a user's terminal is no place for other libraries' deprecations
        warnings.simplefilter("ignore")
    try:
        app()
    except UserError as error:
        print("iid-cl:", " ".join(str(error).splitlines()), file=sys.stderr)
        sys.exit(2)
