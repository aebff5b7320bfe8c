"""What a newcomer waits for: the demo's time and memory, and commands that don't train.

python -m benchmarks.startup
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import ledger
from iid_cl.compute.devices import resolve_device
from iid_cl.records.provenance import provenance

COMMAND = str(Path(sys.executable).with_name("iid-cl"))
QUICK = (["--help"], ["configs"], ["run", "--help"])


def seconds(arguments: list[str], folder: str) -> float:
    """Wall time of the command, start-up included."""
    start = time.perf_counter()
    subprocess.run([COMMAND, *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> list[dict[str, Any]]:
    """Measures and writes ``results/startup.json``."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        quick = [
            ledger.row(
                f"iid-cl {' '.join(arguments)}, median of 5",
                [median(seconds(arguments, folder) for _ in range(5))],
                "s",
                target=1.5,
                better="lower",
            )
            for arguments in QUICK
        ]
        demo = seconds(["run", "split_digits.yaml"], folder)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    rows = [
        ledger.row("iid-cl run split_digits.yaml (with herding beside it)", [demo], "s", target=60.0, better="lower"),
        ledger.row("its peak memory", [peak], "GiB", target=2.0, better="lower"),
        *quick,
    ]
    ledger.write("startup", rows, provenance(resolve_device("cpu")), time.perf_counter() - start)
    return rows


if __name__ == "__main__":
    missed = ledger.missed(main())
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
