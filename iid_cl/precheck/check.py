"""``iid-cl check``: what a run would do, and about how long it would take."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.grid import cells
from iid_cl.config.methods import MethodName
from iid_cl.data.available import require
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import make_stream
from iid_cl.errors import printable
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.precheck.plan import Step, plan
from iid_cl.precheck.probe import Known, Speed, estimate
from iid_cl.terminal.headline import headline
from iid_cl.terminal.screen import emit, print_table, width_of

SHOWN_CLASSES = 6


def check_config(config: Config, data_root: Path | None, console: Console, *, probe: bool) -> None:
    """Prints what ``iid-cl run`` would do with a configuration; nothing is written or downloaded.

    With ``probe``, a few updates and iterations are timed to estimate the duration.

    Raises:
        UserError: the run would fail before it starts, or its data set is missing.
    """
    for part in config.stream.parts:
        require(part.dataset, data_root)
    device = resolve_device(config.device)
    dataset = load_dataset(config.stream, data_root, config.seed)
    stream = make_stream(config.stream, dataset, config.seed)
    classes = stream.classes
    methods: list[MethodName] = list(dict.fromkeys([config.memory.method, *config.baselines]))
    check_network("model", config.model, dataset)
    check_methods(config, methods, dataset, classes)
    plans = {method: plan(config, method, dataset, stream) for method in methods}
    steps = plans[config.memory.method]
    show(console, headline(config, dataset, device))
    for note in dataset.remarks:
        show(console, f"note: {note}")
    show(console, "Networks, partition and memory fit the data.")
    print_table(console, _table(config, steps, dataset, width_of(console)))
    budget = config.memory.budget
    show(console, f"Memory: {config.memory.method}, {budget.key} {budget.amount:,}; {steps[-1].memory_bytes:,} bytes "
                    f"of {len(classes)} classes in the end.")  # fmt: skip
    show(console, _work(config, steps))
    emit(console, "plan", method=config.memory.method, device=str(device), steps=[asdict(step) for step in steps])
    if config.baselines:
        show(console, f"Baselines, with the same seed and bytes: {', '.join(methods[1:])}.")
    count = len(cells(config, dataset.shape, len(classes)))
    show(console, f"iid-cl compare would run {count} such cells.")
    if probe:
        _estimate(config, methods, dataset, plans, device, console)


def _estimate(
    config: Config,
    methods: Sequence[MethodName],
    dataset: ImageDataset,
    plans: dict[MethodName, list[Step]],
    device: torch.device,
    console: Console,
) -> None:
    total, known = 0.0, Known()
    for method in methods:
        result, speeds = estimate(config, method, dataset, plans[method], device, known)
        total += result.total
        parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in asdict(result).items())
        show(console, f"Estimate for {method}: {duration(result.total)} ({parts}).")
        emit(console, "estimate", method=method, total_seconds=result.total, **asdict(result),
             speeds={name: asdict(speed) for name, speed in speeds.items()})  # fmt: skip
        show(console, f"  From {_timings(speeds)} on {device}, timed just now.")
    if len(methods) > 1:
        show(console, f"Estimate for all: {duration(total)}.")
    show(console, "Estimates multiply these timings by the counts above; other load on the machine changes them.")


def _table(config: Config, steps: Sequence[Step], dataset: ImageDataset, width: int) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    columns = ["experience", "classes", "images", "memory bytes", "updates", "iterations", "test images"]
    least_width = {"images": 60, "updates": 50, "iterations": 70, "test images": 80}
    columns = [column for column in columns if width >= least_width.get(column, 0)]
    for column in columns:
        table.add_column(column, justify="left" if column == "classes" else "right", overflow="fold")
    for number, step in enumerate(steps, start=1):
        names = [printable(dataset.class_names[c]) for c in step.classes]
        more = f" and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
        texts = {
            "experience": f"{number}",
            "classes": ", ".join(names[:SHOWN_CLASSES]) + more,
            "images": f"{step.train_images:,}",
            "memory bytes": f"{step.memory_bytes:,}",
            "updates": f"{step.updates:,}",
            "iterations": f"{sum(config.distill.length(one.count) for one in step.distillations):,}",
            "test images": f"{step.test_images:,}",
        }
        table.add_row(*(Text(texts[column]) for column in columns))
    return table


def _work(config: Config, steps: Sequence[Step]) -> str:
    updates = sum(step.updates for step in steps)
    lengths = [config.distill.length(one.count) for step in steps for one in step.distillations]
    count = len(lengths)
    several = config.train.networks > 1
    trained = f"{updates:,} updates" + (f" of each of {config.train.networks} networks" if several else "")
    each = " or ".join(f"{length:,}" for length in sorted(set(lengths)))
    distilled = f", {count} distillation{'s' if count > 1 else ''} of {each} iterations"
    return f"Work: {trained} in {config.train.mode.replace('_', ' ')} mode{distilled if count else ''}."


def _timings(speeds: dict[str, Speed]) -> str:
    return ", ".join(
        f"{speed.steps} {name}{'s' if speed.steps > 1 else ''} of {_milliseconds(speed.step)} ms"
        for name, speed in speeds.items()
    )


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}" if seconds >= 0.1 else f"{1000 * seconds:.2g}"


def duration(seconds: float) -> str:
    """A duration for a person: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show(console: Console, text: str) -> None:
    """Prints a line, which a file or pipe gets whole."""
    console.print(Text(text), soft_wrap=not console.is_terminal)
