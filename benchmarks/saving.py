"""What saving costs: the share of a run's time that went into checkpoints, by its own account.

    python -m benchmarks.saving [--data CIFAR]

Runs the demo without its baseline at the default interval, and, where CIFAR is an image folder of CIFAR-10, two
experiences of it with a ResNet-18 as learner and IDM's queue of embedders, saved every 5 seconds: a state of some
100 MB. Also how long the demo takes from SIGTERM to its end. Writes ``results/saving.json``.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import ledger
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.reading import load_config
from iid_cl.records.provenance import provenance
from iid_cl.runs.run import run

IDM = ["memory.method=distilled", "distill.objective=idm", "distill.iterations=2000"]
LARGE = [
    "stream.dataset=image_folder",
    "stream.experiences=5",
    "stream.classes=[[0, 1], [2, 3]]",
    "stream.train_limit=200",
    "stream.test_limit=50",
    "model.name=resnet18",
    "train.epochs=3",
    "distill.iterations=60",
    "distill.real_batch=64",
    "distill.embedder.width=64",
    "checkpoint.every=5",
]


def measure(name: str, config: Config, data: Path | None) -> list[dict[str, Any]]:
    """A run's rows: the share of its time, and what one save took."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        path = run(config, data, Path(folder) / "run", Console())
        seconds = time.perf_counter() - began
        saved = json.loads((path / "run.json").read_text(encoding="utf-8"))["checkpoints"]
    share = 100 * saved["seconds"] / seconds
    return [
        ledger.row(f"{name}: share of its time", [share], "%", target=2.0, better="lower"),
        ledger.row(f"{name}: a save", [1000 * saved["seconds"] / saved["saves"]], "ms"),
        ledger.row(f"{name}: saves", [saved["saves"]], ""),
    ]


def stop(delay: float) -> float:
    """Seconds from SIGTERM to the end of the demo, sent so many seconds after it was begun."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", "from iid_cl.cli import main; main()", "run", "split_digits.yaml"]
        process = subprocess.Popen([*words, "--out", str(Path(folder) / "run")], stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        began = time.perf_counter()
        if process.wait() != 128 + signal.SIGTERM:
            raise SystemExit(f"the demo ended with {process.returncode} before it was stopped")
        return time.perf_counter() - began


def main(cifar: Path | None) -> list[dict[str, Any]]:
    """Measures and writes ``results/saving.json``."""
    began = time.perf_counter()
    rows = measure("split digits", load_config("split_digits.yaml", ["baselines=[]"]), None)
    if cifar is not None:
        rows += measure("CIFAR-10, ResNet-18 and IDM", load_config("split_cifar10.yaml", [*IDM, *LARGE]), cifar)
    seconds = [stop(12 + 3 * number) for number in range(3)]
    rows.append(ledger.row("SIGTERM to the end, the longest of 3", [max(seconds)], "s", target=5.0, better="lower"))
    arguments = "" if cifar is None else "--data CIFAR"
    ledger.write("saving", rows, provenance(resolve_device("auto")), time.perf_counter() - began, arguments)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    missed = ledger.missed(main(parser.parse_args().data))
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
