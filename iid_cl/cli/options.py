"""Arguments and options of several commands."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from iid_cl.config.datasets import DATASETS
from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, for_whole_data
from iid_cl.config.reading import choices_of, dotted_keys, load_config, shipped_configs
from iid_cl.errors import UserError
from iid_cl.studies.cases import shipped_studies
from iid_cl.terminal.screen import Mode, Screen


def complete_config(incomplete: str) -> list[str]:
    """Shipped configurations, and YAML files."""
    return _names_and_files(incomplete, shipped_configs())


def complete_study(incomplete: str) -> list[str]:
    """Shipped studies, and YAML files."""
    return _names_and_files(incomplete, shipped_studies())


def complete_shipped(incomplete: str) -> list[str]:
    """Shipped configurations and studies."""
    return [name for name in (*shipped_configs(), *shipped_studies()) if name.startswith(incomplete)]


def complete_key(incomplete: str) -> list[str]:
    """Keys of the configuration that hold a value; behind ``KEY=`` the values that it chooses from."""
    keys = list(dotted_keys(Config))
    key, equals, begun = incomplete.partition("=")
    if equals:
        return [f"{key}={value}" for value in choices_of(Config, key) if value.startswith(begun)]
    return [f"{key}=" for key in keys if key.startswith(incomplete) and f"{key}." not in " ".join(keys)]


def complete_method(incomplete: str) -> list[str]:
    """Methods that condense a whole data set."""
    return [name for name in for_whole_data() if name.startswith(incomplete)]


def complete_any_method(incomplete: str) -> list[str]:
    """Memory methods."""
    return [name for name in METHODS if name.startswith(incomplete)]


def complete_mode(incomplete: str) -> list[str]:
    """Modes of training."""
    return [name for name in ("replay", "memory_only") if name.startswith(incomplete)]


def complete_modes(incomplete: str) -> list[str]:
    """A comma-separated list of modes of training."""
    return _listed(incomplete, ("replay", "memory_only"))


def complete_methods(incomplete: str) -> list[str]:
    """A comma-separated list of methods."""
    return _listed(incomplete, METHODS)


def _listed(incomplete: str, names: Iterable[str]) -> list[str]:
    *before, last = incomplete.split(",")
    head = "".join(f"{name}," for name in before)
    return [f"{head}{name}" for name in names if name.startswith(last)]


def complete_dataset(incomplete: str) -> list[str]:
    """Named data sets."""
    return [name for name in DATASETS if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Kinds of devices."""
    return [name for name in ("auto", "cpu", "cuda") if name.startswith(incomplete)]


def _names_and_files(incomplete: str, shipped: Iterable[str]) -> list[str]:
    path = Path(incomplete)
    folder = path if incomplete.endswith("/") else path.parent
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir() or entry.suffix in (".yaml", ".yml"))
    except OSError:
        entries = []
    files = [f"{entry}/" if entry.is_dir() else str(entry) for entry in entries if not entry.name.startswith(".")]
    return [name for name in dict.fromkeys([*shipped, *files]) if name.startswith(incomplete)]


def complete_any_file(incomplete: str) -> list[str]:
    """Shipped configurations and studies, and YAML files."""
    return _names_and_files(incomplete, [*shipped_configs(), *shipped_studies()])


ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG", help="A YAML file, or a shipped configuration's name.", autocompletion=complete_config
    ),
]


def memory_file(path: Path) -> Path:
    """The memory at a path: the file itself, or that of a run's directory.

    Raises:
        UserError: a directory without a memory.
    """
    if not path.is_dir():
        return path
    from iid_cl.records.directory import check_directory

    memories = sorted(path.glob("memory*.safetensors"))
    check_directory(path, [memory.name for memory in memories])
    if not memories:
        raise UserError(f"{path}: is a directory without a memory; name a memory file, or a run that has one.")
    return path / "memory.safetensors" if path / "memory.safetensors" in memories else memories[0]


MemoryArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A memory written by iid-cl, or a run's directory.", callback=memory_file)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key, e.g. memory.ipc=5. Repeatable.",
        autocompletion=complete_key,
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Seed of every random draw.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", autocompletion=complete_device)]
DataRootOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the data sets, or of image_folder's images. Default: $IID_CL_DATA, ~/.cache/iid-cl."),
]


class Launcher(StrEnum):
    """Where independent jobs run."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


LauncherOption = Annotated[
    Launcher,
    typer.Option(metavar="WHERE", help="local: processes here, a GPU each; ray: a cluster; slurm: jobs of Slurm."),
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Jobs at a time. Default: 1; on Ray and Slurm all that fit.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Threads of each job. Default: the cores divided by the workers; 1 on Slurm."),
]
AddressOption = Annotated[str | None, typer.Option(help="Address of a running Ray cluster. Default: start one here.")]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option("--slurm", metavar="KEY=VALUE", help="An option of sbatch, e.g. partition=gpu. Repeatable."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print events as JSON, one per line, instead of text.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
OutOption = Annotated[Path | None, typer.Option(help="Run directory to make. Default: runs/NAME.")]


def resolve(source: str | None, overrides: list[str] | None, seed: int | None, device: str | None) -> Config:
    """The configuration, or the defaults without a source, with the command's options applied."""
    return load_config(source, options_of(overrides, seed, device))


def options_of(overrides: list[str] | None, seed: int | None, device: str | None) -> list[str]:
    """A command's options as ``key=value`` overrides."""
    options = [*(overrides or [])]
    options += [] if seed is None else [f"seed={seed}"]
    return options + ([] if device is None else [f"device={device}"])


def screen_of(name: str, quiet: bool, json: bool) -> Screen:
    """The screen of a command that trains. In a terminal it says at once that it is loading: PyTorch takes seconds.

    Raises:
        UserError: both modes are chosen.
    """
    console = screen(quiet, json)
    if console.mode is Mode.full and console.is_terminal:
        console.print(f"{name}: loading", style="dim", markup=False, soft_wrap=True)
    return console


def screen(quiet: bool, json: bool) -> Screen:
    """The screen that the command prints on.

    Raises:
        UserError: both modes are chosen.
    """
    if quiet and json:
        raise UserError("--quiet and --json exclude each other; choose one.")
    return Screen(Mode.quiet if quiet else Mode.json if json else Mode.full)
