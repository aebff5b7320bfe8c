"""One cell of a comparison, run in any process: from a configuration to a result and its memory's files."""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from iid_cl.audit.audit import Audit, promise_of
from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.data.loaded import dataset_of, fingerprint_of
from iid_cl.data.streams import make_stream
from iid_cl.records.nameless import machine_id
from iid_cl.records.provenance import provenance
from iid_cl.records.recording import Recording
from iid_cl.records.result import Result
from iid_cl.report.pictures import save_memory_picture
from iid_cl.runs.experiment import run_method
from iid_cl.runs.whole import origin_of
from iid_cl.terminal.reporter import Reporter

VERSIONS = ("torch", "iid-cl")  # that a cell's result may depend on


@dataclass(frozen=True)
class Outcome:
    """What a worker returns.

    Attributes:
        data: fingerprint of the data, see :func:`iid_cl.data.loaded.fingerprint_of`.
        versions: of torch and iid-cl.
        host: tells the workers' machines apart, without their names.
        files: contents of the memory's files, by suffix.
        checks: see :meth:`iid_cl.audit.audit.Audit.verify`; None without a memory.
        remarks: lines for a person.
    """

    result: Result
    seconds: float
    data: str
    versions: dict[str, str | None]
    host: str
    files: dict[str, bytes]
    checks: dict[str, Any] | None = None
    remarks: list[str] = field(default_factory=list)


def run_cell(config: str, data_root: Path | None, record: bool) -> Outcome:
    """Runs the configured memory; writes nothing.

    Args:
        config: the whole configuration as JSON.
        data_root: folder of the data sets, on the worker's machine.
        record: also return the recording of the distillations.

    Raises:
        UserError: a mistake of the user.
    """
    start = time.perf_counter()
    resolved = Config.model_validate_json(config)
    dataset = dataset_of(resolved, data_root)
    device = resolve_device(resolved.device)
    method = resolved.memory.method
    audit = Audit(dataset, make_stream(resolved.stream, dataset, resolved.seed))
    remarks: list[str] = []
    recording = Recording(dataset.class_names) if record else None
    with Reporter(Console(quiet=True)) as reporter, deterministic(resolved.deterministic, remarks.append):
        watch = audit.watch(method)
        result, memory = run_method(resolved, method, dataset, device, reporter, on_images=watch, recording=recording)
    files, checks = {}, None
    if memory is not None and memory.exemplars is not None:
        with tempfile.TemporaryDirectory() as folder:
            memory.save(Path(folder) / "m.safetensors", origin_of(resolved, dataset))
            file, budget = Path(folder) / "m.safetensors", resolved.memory.budget
            checks = audit.verify(method, file, result.memory_bytes, budget, promise_of(memory.method))
            save_memory_picture(Path(folder) / "m.png", memory.exemplars, dataset.class_names)
            if recording is not None:
                recording.write(Path(folder), "m.")
            files = {path.name.removeprefix("m"): path.read_bytes() for path in Path(folder).iterdir()}
    seconds, data = time.perf_counter() - start, fingerprint_of(resolved, data_root)
    versions = {name: provenance(device)["versions"][name] for name in VERSIONS}
    return Outcome(result, seconds, data, versions, machine_id(), files, checks, remarks)
