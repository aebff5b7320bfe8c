"""One distillation divided among workers: each condenses some classes, and the memories are joined.

With fresh embedders, and without class centralization and soft labels, the classes are independent, see
:func:`iid_cl.distill.distill`. Dividing them changes a stored pixel by a rounding error at most.
"""

import dataclasses
import tempfile
from contextlib import closing
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

from rich.console import Console

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS
from iid_cl.config.objectives import OBJECTIVE_INFO
from iid_cl.data.images import ImageDataset
from iid_cl.data.loaded import dataset_of
from iid_cl.errors import UserError
from iid_cl.files import write_bytes
from iid_cl.launch.jobs import Failure, Launch
from iid_cl.launch.launch import launch
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import load_memory, save_memory
from iid_cl.records.cells import digest_of, read_cell_file, write_cell_file
from iid_cl.records.integrity import check_file, sha256_of
from iid_cl.runs.whole import whole_memory
from iid_cl.terminal.reporter import Reporter

Job = tuple[str, Path | None, list[int]]  # configuration, folder of the data sets, classes


def check_shards(config: Config) -> None:
    """Refuses settings that make classes depend on each other.

    Raises:
        UserError: the method does not distil, or its networks or its budget depend on all classes.
    """
    distill, budget, way_out = config.distill, config.memory.budget, "use one local worker."
    if not METHODS[config.memory.method].distils:
        raise UserError(f"memory.method: {config.memory.method!r} cannot be divided among workers; {way_out}")
    ties = {
        "distill.embedders: queue": distill.embedders == "queue" and distill.embedder_source == "queue",
        f"distill.objective: {distill.objective}": distill.embedder_source != "fresh"
        or OBJECTIVE_INFO[distill.objective].joint,
        f"distill.cc.weight: {distill.cc.weight}": distill.cc.weight > 0,
        "memory.soft_labels: true": config.memory.soft_labels,
        f"memory.jpeg: {config.memory.jpeg}": config.memory.jpeg is not None,
        f"memory.dct: {config.memory.dct}": config.memory.dct is not None,
        f"memory.{budget.key}: {budget.amount}": budget.fixed,
    }
    tie = next((key for key, is_set in ties.items() if is_set), None)
    if tie is not None:
        raise UserError(f"{tie} ties the classes together, so workers cannot divide them; switch it off or {way_out}")


def shared_memory(
    config: Config, dataset: ImageDataset, data_root: Path | None, how: Launch, reporter: Reporter, folder: Path
) -> Exemplars:
    """The memory of :func:`iid_cl.runs.whole.whole_memory`, condensed by several workers.

    Args:
        config: passes :func:`check_shards`.
        dataset: as loaded for ``config.stream``.
        data_root: folder of the data sets, on every machine.
        how: where the workers run; each class is its own job if ``workers`` is None.
        reporter: shows progress.
        folder: keeps the finished parts; those that it holds are not distilled again. On Slurm all machines see it.

    Raises:
        UserError: a worker raised it.
        RuntimeError: a worker failed otherwise, or was lost.
    """
    classes = sorted(dataset.train.by_class())
    count = min(how.workers or len(classes), len(classes))
    jobs: dict[str, Job] = {str(i): (config.model_dump_json(), data_root, classes[i::count]) for i in range(count)}
    parts = {key: kept for key, job in jobs.items() if (kept := _kept(folder, key, job)) is not None}
    if parts:
        reporter.line(f"{len(parts)} of {count} parts distilled before")
    missing = {key: job for key, job in jobs.items() if key not in parts}
    with closing(launch(distil_classes, missing, replace(how.on(config.device), folder=folder))) as outcomes:
        for key, outcome in outcomes:
            if isinstance(outcome, Failure):
                raise UserError(outcome.error) if outcome.user else RuntimeError(outcome.traceback or outcome.error)
            write_bytes(folder / f"{key}.safetensors", outcome)
            digest, sha256 = digest_of(jobs[key][::2]), sha256_of(folder / f"{key}.safetensors")
            write_cell_file(folder / f"{key}.json", {"digest": digest, "sha256": sha256})
            parts[key] = load_memory(folder / f"{key}.safetensors")
            reporter.line(f"{len(parts)} of {count} parts distilled")
    return reduce(lambda joined, part: joined.merge(part), (parts[str(i)] for i in range(count)))


def _kept(folder: Path, key: str, job: Job) -> Exemplars | None:
    """The part that a job has distilled before; None if it has to run."""
    memory = folder / f"{key}.safetensors"

    def convert(record: dict[str, Any]) -> Exemplars:
        check_file(memory, record["sha256"])
        return load_memory(memory)

    return read_cell_file(folder / f"{key}.json", digest_of(job[::2]), None, convert)


def distil_classes(config: str, data_root: Path | None, classes: list[int]) -> bytes:
    """A worker's job: the memory of some classes, as the bytes of a memory file."""
    resolved = Config.model_validate_json(config)
    dataset = dataset_of(resolved, data_root)
    part = dataclasses.replace(dataset, train=dataset.train.of_classes(classes))
    device = resolve_device(resolved.device)
    with (
        Reporter(Console(quiet=True)) as reporter,
        tempfile.TemporaryDirectory() as folder,
        deterministic(resolved.deterministic, reporter.line),
    ):
        file = Path(folder) / "m.safetensors"
        save_memory(file, whole_memory(resolved, part, device, reporter))
        return file.read_bytes()
