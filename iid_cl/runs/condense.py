"""``iid-cl distill``: a memory of a whole data set, as a file with its picture."""

import time
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from rich.console import Console

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, for_whole_data
from iid_cl.data.datasets import load_dataset
from iid_cl.data.fingerprint import fingerprint
from iid_cl.data.images import ImageDataset
from iid_cl.distill.journal import Journal
from iid_cl.errors import UserError
from iid_cl.files import State, check_output, write_bytes
from iid_cl.launch.jobs import Launch
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import save_memory
from iid_cl.precheck.fits import check_methods
from iid_cl.records.cells import CELLS
from iid_cl.records.checkpoint import Checkpoints, fits_the_run
from iid_cl.records.directory import STATE
from iid_cl.report.pictures import memory_picture
from iid_cl.runs.ending import interruptions
from iid_cl.runs.saver import Saver
from iid_cl.runs.shards import check_shards, shared_memory
from iid_cl.runs.unfinished import Unfinished
from iid_cl.runs.whole import memory_metadata, whole_memory
from iid_cl.terminal.reporter import Reporter
from iid_cl.terminal.screen import in_seconds
from iid_cl.terminal.signals import stop_request


def condense_dataset(
    config: Config,
    data_root: Path | None,
    out: Path,
    console: Console,
    how: Launch | None = None,
    *,
    force: bool = False,
) -> None:
    """Condenses all classes of a data set, as one experience, into the memory file ``out``, and draws it in a PNG.

    With ``how``, workers divide the classes among themselves. With ``force``, files that exist are replaced. Until it
    is finished, ``OUT.unfinished`` holds what has been done, and the same command goes on with it.

    Raises:
        UserError: the data set, the budget or the file is unusable.
    """
    remote = how is not None and how.remote
    device = torch.device("cpu") if remote else resolve_device(config.device)
    if METHODS[config.memory.method].stream_only:
        choices = ", ".join(for_whole_data())
        raise UserError(f"memory.method: {config.memory.method!r} belongs to a stream of experiences; use {choices}.")
    if out.suffix != ".safetensors":
        raise UserError(f"--out: {str(out)!r} must end in .safetensors.")
    if how is not None:
        check_shards(config)
    dataset = load_dataset(config.stream, data_root, config.seed)
    check_methods(config, [config.memory.method], dataset, range(len(dataset.class_names)))
    size = config.memory.budget.allowed(len(dataset.class_names), prod(dataset.shape))
    picture = out.with_suffix(".png")
    for file in (out, picture):
        check_output(file, force=force, size=size)
    folder = out.with_name(f"{out.name}.unfinished")
    task = _Task(config, dataset, data_root, device, how)
    with (
        Unfinished(folder, config, fingerprint(dataset), data_root, device) as unfinished,
        interruptions(folder, console, "the same command"),
        Reporter(console, unfinished.log) as reporter,
        deterministic(config.deterministic, reporter.line),
    ):
        for note in (*dataset.remarks, *unfinished.notes):
            reporter.line(f"note: {note}")
        memory, seconds = task.shared(unfinished, reporter) if how is not None else task.alone(unfinished, reporter)
        drawn = memory_picture(memory, dataset.class_names)
        save_memory(out, memory, memory_metadata(config, dataset, device, seconds))
        write_bytes(picture, drawn)
        reporter.result(
            f"{out}: {len(memory):,} images of {len(memory.classes)} classes ({config.memory.method}), "
            f"{memory.nbytes:,} bytes, {seconds:.1f} s; picture in {picture}"
        )
        reporter.event(
            "finished", file=str(out), picture=str(picture), method=config.memory.method, images=len(memory),
            memory_bytes=memory.nbytes, condense_seconds=seconds,
        )  # fmt: skip
        unfinished.finished = True


@dataclass(frozen=True)
class _Task:
    """What is condensed, by one process or several."""

    config: Config
    dataset: ImageDataset
    data_root: Path | None
    device: torch.device
    how: Launch | None

    def alone(self, unfinished: Unfinished, reporter: Reporter) -> tuple[Exemplars, float]:
        """The memory and the seconds it took, made here; goes on where it was interrupted."""
        started, checkpoints = time.perf_counter(), Checkpoints(unfinished.path / STATE)
        with stop_request() as stop:

            def state(_: State | None) -> State:
                return {"journal": journal.state_dict(), "seconds": time.perf_counter() - started}

            saver = Saver(checkpoints, self.config.checkpoint.every, stop, state)
            journal = Journal(saver.due, saver.save)
            saved = checkpoints.newest(reporter.line)
            if saved is not None:
                with fits_the_run():
                    journal.load_state_dict(saved["journal"])
                    started -= float(saved["seconds"])
                reporter.line(f"resumed after {in_seconds(saved['seconds'])}")
            memory = whole_memory(self.config, self.dataset, self.device, reporter, journal=journal)
        return memory, time.perf_counter() - started

    def shared(self, unfinished: Unfinished, reporter: Reporter) -> tuple[Exemplars, float]:
        """The memory and the seconds it took, made by workers; parts that are finished are not made again."""
        assert self.how is not None
        started, folder = time.perf_counter(), unfinished.path / CELLS
        folder.mkdir(exist_ok=True)
        memory = shared_memory(self.config, self.dataset, self.data_root, self.how, reporter, folder)
        return memory, time.perf_counter() - started
