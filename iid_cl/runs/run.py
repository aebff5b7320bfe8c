"""``iid-cl run``: methods trained one after the other, results kept in a directory."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

from iid_cl.config import Config, Method
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import class_order
from iid_cl.devices import resolve_device
from iid_cl.report.pictures import save_memory_picture
from iid_cl.report.tables import results_table
from iid_cl.runs.checks import check_methods, check_network
from iid_cl.runs.directory import RunDirectory, free_directory
from iid_cl.runs.experiment import Result, run_method
from iid_cl.runs.loggers import Loggers, check_loggers
from iid_cl.runs.provenance import provenance
from iid_cl.runs.reporter import Reporter
from iid_cl.screen import emit

WIDE = 76  # columns of a terminal that has room for the full table


def run(config: Config, data_root: Path | None, out: Path | None, console: Console) -> Path:
    """Runs the configured memory and its ``baselines`` with one seed; returns the run directory.

    Raises:
        UserError: something the user can mend; found before the directory is made wherever possible.
    """
    methods = list(dict.fromkeys([config.memory.method, *config.baselines]))
    device, dataset = _prepare(config, methods, data_root)
    results = []
    with RunDirectory(out if out is not None else free_directory(config.name)) as directory:
        directory.write_config(config)
        with Reporter(console, directory.log) as reporter:
            reporter.line(headline(config, dataset, device))
            for method in methods:
                prefix = f"{method}: " if len(methods) > 1 else ""
                stem = "memory" if method == config.memory.method else f"memory-{method}"
                results.append(_run_and_keep(config, method, dataset, device, directory, reporter, prefix, stem))
        mode = config.train.mode.replace("_", " ")
        _finish(directory, results, device, console, f"{config.name}: seed {config.seed}, {mode}")
    return directory.path


def _prepare(config: Config, methods: Sequence[Method], data_root: Path | None) -> tuple[torch.device, ImageDataset]:
    """Device and data, and everything checked that can be before anything is written."""
    check_loggers(config)
    device = resolve_device(config.device)
    dataset = load_dataset(config.stream, data_root, config.seed)
    order = class_order(config.stream, len(dataset.class_names), config.seed)
    check_network("model", config.model, dataset)
    check_methods(config, methods, dataset, [c for group in order for c in group])
    return device, dataset


def _run_and_keep(
    config: Config,
    method: Method,
    dataset: ImageDataset,
    device: torch.device,
    directory: RunDirectory,
    reporter: Reporter,
    prefix: str,
    stem: str,
) -> Result:
    """Runs one method; its metrics, memory and picture go to the directory."""

    def keep(record: Any) -> None:
        directory.add_metrics({"method": method, "seed": config.seed, **record})
        reporter.event("experience", method=method, seed=config.seed, **record)

    with Loggers(config, method, directory.path, dataset.class_names) as loggers:
        result, memory = run_method(
            config, method, dataset, device, reporter, prefix=prefix, on_experience=keep, loggers=loggers
        )
    if memory is not None and memory.exemplars is not None:
        memory.save(directory.path / f"{stem}.safetensors")
        save_memory_picture(directory.path / f"{stem}.png", memory.exemplars, dataset.class_names)
    return result


def headline(config: Config, dataset: ImageDataset, device: torch.device | str) -> str:
    """What runs on which data, in a line."""
    channels, height, width = dataset.shape
    judged = "held-out training images" if config.stream.validation else "test images"
    return (
        f"{config.name}: {dataset.name}, {len(dataset.train):,} training and {len(dataset.test):,} {judged} of "
        f"{height}x{width}x{channels}, on {device}"
    )


def _finish(
    directory: RunDirectory, results: Sequence[Result], device: torch.device, console: Console, title: str
) -> None:
    directory.write_summary("run.json", {**provenance(device), "results": [asdict(result) for result in results]})
    for result in results:
        emit(console, "result", **asdict(result))
    console.print(results_table(results, title, full=console.width >= WIDE))
    Console(file=directory.log, width=110, color_system=None).print(results_table(results, title))
    console.print(Text(f"Everything is in {directory.path}"), soft_wrap=True)
    emit(console, "finished", directory=str(directory.path))
