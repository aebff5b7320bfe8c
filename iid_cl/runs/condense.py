"""``iid-cl distill``: a memory of a whole data set, as a file with its picture."""

import time
from math import prod
from pathlib import Path

from rich.console import Console

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, for_whole_data
from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.files import check_output, write_bytes
from iid_cl.launch.jobs import Launch
from iid_cl.memory.files import save_memory
from iid_cl.precheck.fits import check_methods
from iid_cl.report.pictures import memory_picture
from iid_cl.runs.shards import check_shards, shared_memory
from iid_cl.runs.whole import memory_metadata, whole_memory
from iid_cl.terminal.reporter import Reporter


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

    With ``how``, workers divide the classes among themselves. With ``force``, files that exist are replaced.

    Raises:
        UserError: the data set, the budget or the file is unusable.
    """
    device = resolve_device(config.device)
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
    with Reporter(console) as reporter, deterministic(config.deterministic, reporter.line):
        for note in dataset.remarks:
            reporter.line(f"note: {note}")
        started = time.perf_counter()
        if how is None:
            memory = whole_memory(config, dataset, device, reporter)
        else:
            memory = shared_memory(config, dataset, data_root, how, reporter)
        seconds = time.perf_counter() - started
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
