"""The command line; thin. What trains is imported when it is called, so that help answers at once."""

import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from iid_cl import __version__
from iid_cl.config import CompareConfig, CompareMethod, Config
from iid_cl.config_files import load_config, parse_section, read_override, shipped_configs
from iid_cl.errors import UserError, is_printable, one_line, shown
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


class Launcher(StrEnum):
    """Where independent jobs run."""

    local = "local"
    ray = "ray"


LauncherOption = Annotated[Launcher, typer.Option(help="Processes of this machine, or a Ray cluster.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Jobs at a time. Default: 1; on Ray all that fit.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Threads of a job. Default: the cores shared among the workers.")
]
AddressOption = Annotated[str | None, typer.Option(help="Address of a running Ray cluster. Default: start one here.")]
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
    memories: Annotated[str | None, typer.Option(help="Comma-separated methods, in place of compare.methods.")] = None,
    modes: Annotated[str | None, typer.Option(help="Comma-separated: replay, memory_only.")] = None,
    ipc: Annotated[str | None, typer.Option(help="Comma-separated budgets: images per class.")] = None,
    mem_size: Annotated[str | None, typer.Option(help="Comma-separated budgets: images in total.")] = None,
    mem_bytes: Annotated[str | None, typer.Option(help="Comma-separated budgets: bytes in total.")] = None,
    class_bytes: Annotated[str | None, typer.Option(help="Comma-separated budgets: bytes per class.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, counted up from `seed`.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Method the others are compared with.")] = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    launcher: LauncherOption = Launcher.local,
    address: AddressOption = None,
    gpus_per_cell: Annotated[
        float | None, typer.Option(min=0.0, max=1024.0, help="On Ray: GPUs of a cell, 0.25 for four at a time on one.")
    ] = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory to make, or of a comparison to go on with. Default: runs/NAME.")
    ] = None,
) -> None:
    """Compare memories at equal bytes: same class orders, initial weights and updates, several seeds."""
    resolved = _resolve(config, set_, seed, device)
    budgets = {"ipc": ipc, "mem_size": mem_size, "mem_bytes": mem_bytes, "class_bytes": class_bytes}
    methods = resolved.compare.methods if memories is None else _chosen(resolved.compare, memories)
    kept = resolved.compare.baseline
    if kept in [_name(method) for method in resolved.compare.methods] and kept not in [_name(each) for each in methods]:
        kept = None  # it left with its method
    options = {
        "methods": methods,
        "modes": None if modes is None else _listed(modes),
        "budgets": {key: _numbers(key, text) for key, text in budgets.items() if text is not None} or None,
        "seeds": seeds,
        "baseline": kept if baseline is None else baseline,
    }
    changed = {key: value for key, value in options.items() if value is not None}
    section = parse_section(CompareConfig, {**resolved.compare.model_dump(), "baseline": None, **changed}, "compare")
    from iid_cl.runs.compare import compare as run_comparison
    from iid_cl.runs.launchers import Launch

    how = Launch(launcher.value, workers, threads, address, gpus_per_cell)
    _, failed = run_comparison(resolved.model_copy(update={"compare": section}), data_root, out, Console(), how)
    if failed:
        raise typer.Exit(1)


@app.command()
def distill(
    dataset: Annotated[str, typer.Argument(help="Name of a data set, e.g. digits, cifar10, image_folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Memory file to write (.safetensors).")],
    ipc: Annotated[int | None, typer.Option(help="Images per class. Default: the configuration's, or 10.")] = None,
    method: Annotated[str, typer.Option(help="distilled, herding, random, k_centre or closest.")] = "distilled",
    config: Annotated[str | None, typer.Option(help="Configuration to take the `distill` section from.")] = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    launcher: LauncherOption = Launcher.local,
    address: AddressOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
) -> None:
    """Condense a whole data set into a memory file, and draw it beside."""
    shortcuts = [f"stream.dataset={dataset}", f"memory.method={method}"]
    shortcuts += [] if ipc is None else [f"memory.ipc={ipc}"]
    resolved = _resolve(config, [*shortcuts, *(set_ or [])], seed, device)
    from iid_cl.runs.launchers import Launch
    from iid_cl.runs.memories import condense_dataset

    how = Launch(launcher.value, workers, threads, address)
    alone = launcher is Launcher.local and (workers or 1) == 1
    condense_dataset(resolved, data_root, out, Console(), None if alone else how)


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


def _listed(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def _numbers(key: str, text: str) -> list[int]:
    """A comma-separated list of numbers."""
    try:
        return [int(part) for part in _listed(text)]
    except ValueError:
        raise UserError(f"--{key.replace('_', '-')}: {text!r} must be whole numbers such as 1,5,10.") from None


def _name(method: str | CompareMethod) -> str:
    return method.name if isinstance(method, CompareMethod) else method


def _chosen(section: CompareConfig, text: str) -> list[str | CompareMethod]:
    """The named methods, those of the configuration's own by their names."""
    own = {method.name: method for method in section.methods if isinstance(method, CompareMethod)}
    return [own.get(name, name) for name in _listed(text)]


def main() -> None:
    """Entry point: mistakes of the user end in one sentence and exit code 2."""
    if not sys.warnoptions:  # a user's terminal is no place for other libraries' deprecations
        warnings.simplefilter("ignore")
    try:
        odd = next((argument for argument in sys.argv[1:] if not is_printable(argument)), None)
        if odd is not None:  # it would reach the terminal, the log and the pictures
            raise UserError(f"the argument {shown(odd)} holds a line break or a control character; leave it out.")
        app()
    except UserError as error:
        print("iid-cl:", one_line(error), file=sys.stderr)
        sys.exit(2)
