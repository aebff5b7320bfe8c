"""The commands that train."""

from pathlib import Path
from typing import Annotated

import typer

from iid_cl.budget import KEYS as BUDGETS
from iid_cl.cli.options import (
    AddressOption,
    ConfigArgument,
    DataRootOption,
    DeviceOption,
    ForceOption,
    JsonOption,
    Launcher,
    LauncherOption,
    MemoryArgument,
    OutOption,
    QuietOption,
    SeedOption,
    SetOption,
    SlurmOption,
    ThreadsOption,
    WorkersOption,
    complete_any_method,
    complete_config,
    complete_dataset,
    complete_method,
    complete_methods,
    complete_mode,
    complete_modes,
    complete_study,
    options_of,
    resolve,
    screen_of,
)
from iid_cl.config.experiment import CompareConfig, CompareMethod
from iid_cl.config.methods import METHODS, for_whole_data
from iid_cl.config.reading import parse_section, read_override
from iid_cl.errors import NO_MEMORY, NO_RUN, UserError, must_exist, need
from iid_cl.studies.cases import load_study


def run(
    config: ConfigArgument,
    method: Annotated[
        str | None, typer.Option(help=f"Memory: {', '.join(METHODS)}.", autocompletion=complete_any_method)
    ] = None,
    ipc: Annotated[int | None, typer.Option(help="Images per class.")] = None,
    mode: Annotated[str | None, typer.Option(help="replay, or memory_only.", autocompletion=complete_mode)] = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Train class by class with a memory, and show the results."""
    need("avalanche", "iid-cl run", "avalanche")
    shortcuts = {"memory.method": method, "train.mode": mode, "memory.ipc": ipc}
    chosen = [f"{key}={value}" for key, value in shortcuts.items() if value is not None]
    chosen += [] if ipc is None else [f"memory.{key}=null" for key in BUDGETS if key != "ipc"]
    resolved = resolve(config, [*chosen, *(set_ or [])], seed, device)
    console = screen_of(resolved.name, quiet, json)
    from iid_cl.runs.run import run as run_config

    run_config(resolved, data_root, out, console)


def resume(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of an unfinished run or study.")],
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets, where it has moved. Default: as when the run began.")
    ] = None,
    run_program: Annotated[
        bool, typer.Option("--run-program", help="Run the Python function that its data come from; trust it first.")
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Resume an interrupted run or study. Where only a run's report is missing, it is made."""
    from iid_cl.records.directory import is_study

    must_exist(directory, NO_RUN)
    console = screen_of(str(directory), quiet, json)
    if is_study(directory):
        from iid_cl.studies.resume import resume_study

        resume_study(directory, console, data_root, run_program=run_program)
        return
    need("avalanche", "iid-cl resume", "avalanche")
    from iid_cl.runs.run import resume as resume_run

    resume_run(directory, console, data_root, run_program=run_program)


def compare(
    config: ConfigArgument,
    memories: Annotated[
        str | None,
        typer.Option(help="Comma-separated methods, instead of compare.methods.", autocompletion=complete_methods),
    ] = None,
    modes: Annotated[
        str | None, typer.Option(help="Comma-separated: replay, memory_only.", autocompletion=complete_modes)
    ] = None,
    ipc: Annotated[str | None, typer.Option(help="Comma-separated budgets: images per class.")] = None,
    mem_size: Annotated[str | None, typer.Option(help="Comma-separated budgets: images in total.")] = None,
    mem_bytes: Annotated[str | None, typer.Option(help="Comma-separated budgets: bytes in total.")] = None,
    class_bytes: Annotated[str | None, typer.Option(help="Comma-separated budgets: bytes per class.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, counted up from `seed`.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Method that the rest is compared with.", autocompletion=complete_any_method)
    ] = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    launcher: LauncherOption = Launcher.local,
    address: AddressOption = None,
    gpus_per_cell: Annotated[
        float | None,
        typer.Option(min=0.0, max=1024.0, help="On Ray and Slurm: GPUs of each cell; on Ray 0.25 runs four on one."),
    ] = None,
    slurm: SlurmOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory to make, or of a comparison to continue. Default: runs/NAME.")
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Compare memories at equal bytes, over several seeds. Class orders, initial weights and updates are the same."""
    need("avalanche", "iid-cl compare", "avalanche")
    resolved = resolve(config, set_, seed, device)
    budgets = {"ipc": ipc, "mem_size": mem_size, "mem_bytes": mem_bytes, "class_bytes": class_bytes}
    methods = resolved.compare.methods if memories is None else _chosen(resolved.compare, memories)
    default = resolved.compare.baseline
    if default in [_name(m) for m in resolved.compare.methods] and default not in [_name(m) for m in methods]:
        default = None  # its method is left out
    options = {
        "methods": methods,
        "modes": None if modes is None else _listed(modes),
        "budgets": {key: _numbers(key, text) for key, text in budgets.items() if text is not None} or None,
        "seeds": seeds,
        "baseline": default if baseline is None else baseline,
    }
    changed = {key: value for key, value in options.items() if value is not None}
    section = parse_section(CompareConfig, {**resolved.compare.model_dump(), "baseline": None, **changed}, "compare")
    console = screen_of(resolved.name, quiet, json)
    from iid_cl.compare.compare import compare as run_comparison
    from iid_cl.launch.jobs import Launch

    how = Launch(launcher.value, workers, threads, address, gpus_per_cell, tuple(slurm or ()))
    _, failed = run_comparison(resolved.model_copy(update={"compare": section}), data_root, out, console, how)
    if failed:
        raise typer.Exit(1)


def distill(
    dataset: Annotated[
        str,
        typer.Argument(help="Name of a data set, e.g. digits, cifar10, image_folder.", autocompletion=complete_dataset),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Memory file to write (.safetensors).")],
    ipc: Annotated[int | None, typer.Option(help="Images per class. Default: the configuration's, or 10.")] = None,
    method: Annotated[
        str, typer.Option(help=f"One of {', '.join(for_whole_data())}.", autocompletion=complete_method)
    ] = "distilled",
    config: Annotated[
        str | None,
        typer.Option(help="Configuration to take the `distill` section from.", autocompletion=complete_config),
    ] = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    launcher: LauncherOption = Launcher.local,
    address: AddressOption = None,
    slurm: SlurmOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Condense a whole data set into a memory file. It is drawn in a PNG, too."""
    shortcuts = [f"stream.dataset={dataset}", f"memory.method={method}"]
    shortcuts += [] if ipc is None else [f"memory.ipc={ipc}"]
    resolved = resolve(config, [*shortcuts, *(set_ or [])], seed, device)
    console = screen_of(dataset, quiet, json)
    from iid_cl.launch.jobs import Launch
    from iid_cl.runs.condense import condense_dataset

    how = Launch(launcher.value, workers, threads, address, slurm=tuple(slurm or ()))
    alone = launcher is Launcher.local and (workers or 1) == 1
    condense_dataset(resolved, data_root, out, console, None if alone else how, force=force)


def evaluate(
    memory: MemoryArgument,
    config: Annotated[
        str | None,
        typer.Option(help="Configuration to take the `evaluate` section from.", autocompletion=complete_config),
    ] = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    ranking: Annotated[
        bool, typer.Option("--ranking", help="Also train on real images, for DD-Ranking's two scores.")
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Judge a memory by new networks trained on it alone. They are tested on real images."""
    must_exist(memory, NO_MEMORY)
    resolved = resolve(config, set_, seed, device)
    console = screen_of(str(memory), quiet, json)
    from iid_cl.runs.judge import evaluate_memory

    evaluate_memory(memory, resolved, data_root, console, ranking=ranking)


def study(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study's YAML file, or a shipped study's name.", autocompletion=complete_study
        ),
    ],
    set_: SetOption = None,
    seed: SeedOption = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds. Default: the study's.")] = None,
    device: DeviceOption = None,
    data_root: DataRootOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory to make, or of a study to continue. Default: runs/NAME.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Also store the first seed's memories and pictures.")] = False,
    search: Annotated[
        bool, typer.Option("--search", help="Search for the best values of the study's `search` keys.")
    ] = False,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of a search. Default: the study's, or 20.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue in --out, or in runs/NAME.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Run a study: compare memories, or search for settings. It leaves a CSV and a figure."""
    resolved = load_study(study, map(read_override, options_of(set_, seed, device)), seeds, trials)
    if trials is not None and not search:
        raise UserError(f"--trials: {trials} means nothing without --search; add it.")
    console = screen_of(resolved.name, quiet, json)
    from iid_cl.studies.directory import Place
    from iid_cl.studies.resume import start_study

    place = Place(resolved, data_root, out, keep, search)
    start_study(place.again() if resume else place, console)


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
    """The methods with these names, among them methods that the configuration defines."""
    defined = {method.name: method for method in section.methods if isinstance(method, CompareMethod)}
    return [defined.get(name, name) for name in _listed(text)]
