"""CIFAR-10 from image files, ten images per class: distilled, herding and random, judged from scratch.

    python -m benchmarks.cifar10_distill DATA [--seeds 3] [--validation 0.2]

DATA is an image folder with train/ and test/. Settings small enough for two CPU cores: ConvNet-3 of width 64,
300 iterations with 64 real images per class, then 300 epochs on the memory. With ``--validation`` the test
set is not touched and nothing is written.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import ledger
from iid_cl.config_files import load_config
from iid_cl.devices import resolve_device
from iid_cl.runs.memories import condense_dataset, evaluate_memory
from iid_cl.runs.provenance import provenance

SETTINGS = (
    "stream.dataset=image_folder",
    "model.width=64",
    "distill.cc.epochs=3",  # of the network that herding takes its features from
    "distill.iterations=300",
    "distill.real_batch=64",
    "distill.embedder.width=64",
    "evaluate.network.width=64",
    "evaluate.epochs=300",
    "evaluate.networks=1",
)


def main(data: Path, seeds: int, overrides: tuple[str, ...] = (), name: str | None = "cifar10_distill") -> list[Any]:
    """Condenses and judges once per seed and method; writes ``results/NAME.json``."""
    start = time.perf_counter()
    console = Console()
    accuracies: dict[str, list[float]] = {"random": [], "herding": [], "distilled": []}
    for seed in range(seeds):
        for method in accuracies:
            config = load_config(None, [*SETTINGS, *overrides, f"memory.method={method}", f"seed={seed}"])
            with tempfile.TemporaryDirectory() as folder:
                memory = Path(folder) / "memory.safetensors"
                condense_dataset(config, data, memory, console)
                (accuracy,) = evaluate_memory(memory, config, data, console)
            accuracies[method].append(100 * accuracy)
    described = f"seeds 0 to {seeds - 1}"
    rows = [
        ledger.row(
            f"CIFAR-10 (JPEG), IPC 10: {method}",
            values,
            "%",
            seeds=described,
            **({"target": 39.0, "better": "higher"} if method == "distilled" else {}),
        )
        for method, values in accuracies.items()
    ]
    if name is not None:
        seconds_taken = time.perf_counter() - start
        ledger.write(name, rows, provenance(resolve_device("auto")), seconds_taken, f"DATA --seeds {seeds}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", type=float, default=0.0)
    arguments = parser.parse_args()
    held_out = (f"stream.validation={arguments.validation}",) if arguments.validation else ()
    found = main(arguments.data, arguments.seeds, held_out, None if held_out else "cifar10_distill")
    missed = ledger.missed(found)
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
