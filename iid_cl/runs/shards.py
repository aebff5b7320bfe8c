"""One distillation shared out by classes: each worker condenses some, and the memories are joined.

With fresh embedders and neither class centralization nor soft labels no class depends on another, see
:func:`iid_cl.distill.distill`: sharing out changes a stored pixel by a rounding at most.
"""

import dataclasses
import tempfile
from contextlib import closing
from functools import reduce
from pathlib import Path

from rich.console import Console

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS
from iid_cl.data.images import ImageDataset
from iid_cl.data.loaded import dataset_of
from iid_cl.errors import UserError
from iid_cl.launch.jobs import Failure, Launch
from iid_cl.launch.launch import launch
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import load_memory, save_memory
from iid_cl.runs.whole import whole_memory
from iid_cl.terminal.reporter import Reporter


def check_shards(config: Config) -> None:
    """Refuses what ties classes together.

    Raises:
        UserError: the method is not distilled, or its networks or its budget see all classes.
    """
    distill, budget, way_out = config.distill, config.memory.budget, "use one local worker."
    if not METHODS[config.memory.method].distils:
        raise UserError(f"memory.method: {config.memory.method!r} cannot be shared out by classes; {way_out}")
    ties = {
        f"distill.objective: {distill.objective}": distill.embedder_source != "fresh",
        f"distill.cc.weight: {distill.cc.weight}": distill.cc.weight > 0,
        "memory.soft_labels: true": config.memory.soft_labels,
        f"memory.jpeg: {config.memory.jpeg}": config.memory.jpeg is not None,
        f"memory.{budget.key}: {budget.amount}": budget.fixed,
    }
    tie = next((key for key, tied in ties.items() if tied), None)
    if tie is not None:
        raise UserError(
            f"{tie} ties the classes together, so workers cannot share them out; switch it off or {way_out}"
        )


def shared_memory(
    config: Config, dataset: ImageDataset, data_root: Path | None, how: Launch, reporter: Reporter
) -> Exemplars:
    """The memory of :func:`iid_cl.runs.whole.whole_memory`, its classes condensed by several workers.

    Args:
        config: which passes :func:`check_shards`.
        dataset: as loaded for it.
        data_root: folder of the data sets, on every machine.
        how: where; classes are dealt out to ``workers``, or each alone where that is None.
        reporter: shows progress.

    Raises:
        UserError: a worker says so.
        RuntimeError: a worker failed otherwise, or was lost.
    """
    classes = sorted(dataset.train.by_class())
    count = min(how.workers or len(classes), len(classes))
    jobs = {str(i): (config.model_dump_json(), data_root, classes[i::count]) for i in range(count)}
    parts: dict[int, Exemplars] = {}
    with tempfile.TemporaryDirectory() as folder, closing(launch(distil_classes, jobs, how)) as outcomes:
        for done, (key, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Failure):
                raise UserError(outcome.error) if outcome.user else RuntimeError(outcome.traceback or outcome.error)
            file = Path(folder) / f"{key}.safetensors"
            file.write_bytes(outcome)
            parts[int(key)] = load_memory(file)
            reporter.line(f"{done} of {count} parts distilled")
    return reduce(lambda joined, part: joined.merge(part), (parts[i] for i in range(count)))


def distil_classes(config: str, data_root: Path | None, classes: list[int]) -> bytes:
    """A worker's part: the memory of some classes, as the contents of a memory file."""
    resolved = Config.model_validate_json(config)
    dataset = dataset_of(resolved, data_root)
    mine = dataclasses.replace(dataset, train=dataset.train.of_classes(classes))
    device = resolve_device(resolved.device)
    with (
        Reporter(Console(quiet=True)) as reporter,
        tempfile.TemporaryDirectory() as folder,
        deterministic(resolved.deterministic, reporter.line),
    ):
        file = Path(folder) / "m.safetensors"
        memory = whole_memory(resolved, mine, device, reporter)
        save_memory(file, memory)
        return file.read_bytes()
