"""Images on disk against the same images in memory: peak memory, and samples a second while the page cache holds them.

    python -m benchmarks.larger_than_memory FOLDER

Makes 20,000 images of 224 px (3 GB) below FOLDER as BMP files, unless FOLDER holds ``train`` and ``test`` already.
Reads them with ``stream.cache`` ``never`` and ``always``, each in a process of its own, and removes all it wrote; it
needs 10 GiB. Pages of the mapped file, which the system takes back when it needs them, are counted apart from the
process's own memory (``RssFile`` and ``RssAnon`` of /proc/self/status, every 20 ms). Writes
``results/larger_than_memory.json``.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from benchmarks import ledger
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.reading import load_config
from iid_cl.data.datasets import load_dataset
from iid_cl.records.provenance import provenance
from iid_cl.runs.run import run
from iid_cl.strategies import InMemoryPlugin
from iid_cl.strategies.benchmark import make_benchmark

CLASSES, EACH, TESTED, SIDE = 10, 2000, 20, 224
NEEDED = 10 * 2**30  # bytes: the files, the cache of either way, and a reserve
BATCH = 64
BATCHES = 50
PASSES = 5
KEYS = [
    "stream.dataset=image_folder",
    "stream.experiences=2",
    "model.width=8",
    "train.mode=memory_only",
    "train.memory_updates=3",
    "memory.method=auto",
    "memory.ipc=2",
    "baselines=[]",
    "distill.iterations=3",
    "distill.real_batch=32",
    "distill.embedder.width=8",
    "distill.cc.network.width=8",
    "distill.cc.trainings=1",
    "distill.cc.epochs=1",
    "distill.cc.snapshots=1",
    "device=cpu",
]


def make(folder: Path) -> None:
    """Smooth pictures with noise, so that classes differ and no two files are alike."""
    draws = np.random.default_rng(0)
    for part, count in (("train", EACH), ("test", TESTED)):
        for label in range(CLASSES):
            (folder / part / f"{label}").mkdir(parents=True)
            base = np.asarray(Image.fromarray(draws.integers(256, size=(4, 4, 3), dtype=np.uint8)).resize((SIDE, SIDE)))
            noise = draws.integers(64, size=(SIDE + 97, SIDE + 89, 3), dtype=np.uint8)
            for number in range(count):
                row, column = number % 97, number // 97
                image = base // 2 + noise[row : row + SIDE, column : column + SIDE]
                Image.fromarray(image).save(folder / part / f"{label}" / f"{number:05}.bmp")


@contextmanager
def peaks() -> Iterator[dict[str, float]]:
    """Highest GiB of the process within the block: its own memory, mapped files, and both together."""
    highest = {"RssAnon": 0.0, "RssFile": 0.0, "VmRSS": 0.0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(":")
                if name in highest:
                    highest[name] = max(highest[name], int(value.split()[0]) / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        done.set()
        watcher.join()


def speeds(config: Config, data: Path) -> dict[str, list[float]]:
    """Samples a second: mini-batches as the learner gets them, and the same with its training."""
    from avalanche.training.supervised import Naive

    dataset = load_dataset(config.stream, data)
    experience = make_benchmark(dataset, [list(range(CLASSES))]).train_stream[0]
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
    model = torch.nn.Sequential(network, torch.nn.Flatten(), torch.nn.Linear(8, CLASSES))
    plugin = InMemoryPlugin()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    strategy = Naive(model=model, optimizer=optimizer, train_mb_size=BATCH, plugins=[plugin], evaluator=None)
    strategy.experience = experience
    strategy.adapted_dataset = experience.dataset
    strategy.make_train_dataloader()
    plugin.before_training_epoch(strategy)
    criterion = torch.nn.CrossEntropyLoss()

    def batches(train: bool, most: int = BATCHES) -> float:
        began, count = time.perf_counter(), 0
        for number, (x, y, *_) in enumerate(strategy.dataloader):
            if train:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            count += len(y)
            if number + 1 == most:
                break
        return count / (time.perf_counter() - began)

    batches(False, sys.maxsize)  # all images once: from now on the page cache and the map hold them
    return {"mini-batches": [batches(False) for _ in range(PASSES)], "training": [batches(True) for _ in range(PASSES)]}


def one(mode: str, work: str, data: Path) -> dict[str, Any]:
    """What the process of a way measures."""
    config = load_config("split_digits.yaml", [*KEYS, f"stream.cache={mode}"])
    with peaks() as highest:
        if work == "speeds":
            found: dict[str, Any] = {"speeds": speeds(config, data)}
        else:
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                path = run(config, data, Path(folder) / "run", Console(file=sys.stderr))
                result = json.loads((path / "run.json").read_text(encoding="utf-8"))
            found = {"seconds": time.perf_counter() - began, "matrix": result["results"][0]["matrix"],
                     "memory": result["checks"]["auto"]["sha256"]}  # fmt: skip
    return {**found, "peaks": highest}


def in_process(mode: str, work: str, data: Path) -> dict[str, Any]:
    """:func:`one` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.larger_than_memory", str(data), "--mode", mode, "--work", work]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(mode, work, found, flush=True)
    return found


def main(folder: Path) -> list[dict[str, Any]]:
    """Measures and writes ``results/larger_than_memory.json``."""
    began = time.perf_counter()
    if (free := shutil.disk_usage(folder).free) < NEEDED:
        raise SystemExit(f"{folder}: has {free / 2**30:.1f} GiB free, and {NEEDED / 2**30:.0f} are needed")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        os.environ["IID_CL_CACHE"] = str(Path(place) / "cache")
        data = folder if (folder / "train").is_dir() else Path(place)
        if data != folder:
            make(data)
        print(f"images made in {time.perf_counter() - began:.0f} s", flush=True)
        runs = {mode: in_process(mode, "run", data) for mode in ("always", "never")}
        both = {mode: in_process(mode, "speeds", data) for mode in ("always", "never")}
    if any(runs["always"][key] != runs["never"][key] for key in ("matrix", "memory")):
        raise SystemExit("the two ways give different results")
    rows = rows_of(runs, both)
    ledger.write("larger_than_memory", rows, provenance(resolve_device("cpu")), time.perf_counter() - began, "FOLDER")
    return rows


def rows_of(runs: dict[str, Any], both: dict[str, Any]) -> list[dict[str, Any]]:
    """The ledger's rows."""
    rows = []
    for mode, name in (("always", "on disk"), ("never", "in memory")):
        target = {"target": 6.0, "better": "lower"} if mode == "always" else {}
        for part, what in (("RssAnon", "own memory"), ("VmRSS", "with mapped pages")):
            goal = target if part == "RssAnon" else {}
            rows.append(ledger.row(f"a run, {name}: {what}", [runs[mode]["peaks"][part]], "GiB", **goal))
    for what in ("mini-batches", "training"):
        here, there = (both[mode]["speeds"][what] for mode in ("always", "never"))
        ratio = float(np.median(here) / np.median(there))
        rows.append(ledger.row(f"{what}, in memory", there, "images/s"))
        rows.append(ledger.row(f"{what}, on disk", here, "images/s", ratio=ratio, target=0.8, better="higher"))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mode", choices=["always", "never"])
    parser.add_argument("--work", choices=["run", "speeds"])
    chosen = parser.parse_args()
    if chosen.mode:
        print(json.dumps(one(chosen.mode, chosen.work, chosen.folder)))
    else:
        missed = ledger.missed(main(chosen.folder))
        print("\n".join(missed) or "all targets reached")
        sys.exit(bool(missed))
