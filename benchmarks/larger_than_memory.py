"""Images on disk against the same images in memory: peak memory, and samples a second while the page cache holds them.

    python -m benchmarks.larger_than_memory FOLDER

Builds a cache of 20,000 images of 224 px (3 GB) in FOLDER, which is removed at the end. The images are served to a
learner, herded and distilled, first from disk, then from memory. A command that was stopped goes on where it was.
Pages of the mapped file, which the system takes back when it needs them, are counted apart from the process's own
memory (``RssFile`` and ``RssAnon`` of /proc/self/status, every 20 ms). Writes ``results/larger_than_memory.json``.
"""

import argparse
import hashlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avalanche.training.supervised import Naive
from torch import Tensor, nn

from benchmarks import ledger
from iid_cl.compute.devices import resolve_device
from iid_cl.config.reading import load_config
from iid_cl.data.album import Album
from iid_cl.data.cache import on_disk
from iid_cl.data.images import IMAGENET, ImageDataset, LabelledImages
from iid_cl.data.mapped import chunks, in_memory
from iid_cl.data.pictures import Picture
from iid_cl.methods.build import make_method
from iid_cl.methods.memory import Memory
from iid_cl.records.provenance import provenance
from iid_cl.strategies import InMemoryPlugin
from iid_cl.strategies.benchmark import make_benchmark

CLASSES, EACH, SIDE = 10, 2000, 224
NEEDED = 4 * 2**30  # bytes
BATCH, BATCHES, PASSES = 64, 15, 5
KEYS = ["distill.iterations=2", "distill.real_batch=16", "distill.embedder.width=8", "device=cpu"]
CONDENSED = 2  # classes


def pictures(first: int) -> Iterator[tuple[str, Picture]]:
    """Noise, no two pictures alike."""
    noise = np.random.default_rng(0).integers(256, size=(SIDE + 200, SIDE + 200, 3), dtype=np.uint8)
    for number in range(first, CLASSES * EACH):
        row, column = divmod(number, 150)
        yield str(number), Picture(noise[row : row + SIDE, column : column + SIDE], False, False, False)


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


def speeds(dataset: ImageDataset) -> dict[str, list[float]]:
    """Samples a second: mini-batches as the learner gets them, and the same with its training."""
    experience = make_benchmark(dataset, [list(range(CLASSES))]).train_stream[0]
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(body, nn.Linear(8, CLASSES))
    plugin, optimizer = InMemoryPlugin(), torch.optim.SGD(model.parameters(), lr=1e-3)
    strategy = Naive(model=model, optimizer=optimizer, train_mb_size=BATCH, plugins=[plugin], evaluator=None)
    strategy.experience, strategy.adapted_dataset = experience, experience.dataset
    strategy.make_train_dataloader()
    plugin.before_training_epoch(strategy)
    criterion = nn.CrossEntropyLoss()

    def batches(train: bool) -> float:
        began, count = time.perf_counter(), 0
        for number, (x, y, *_) in enumerate(strategy.dataloader):
            if train:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            count += len(y)
            if number + 1 == BATCHES:
                break
        return count / (time.perf_counter() - began)

    assert max(int(chunk.max()) for chunk in chunks(dataset.train.images)) == 255  # the page cache holds them now
    batches(True)
    return {"mini-batches": [batches(False) for _ in range(PASSES)], "training": [batches(True) for _ in range(PASSES)]}


def condense(train: LabelledImages) -> str:
    """Digest of the memory of some classes, half distilled and half herded by small copies of the images."""
    memory = Memory(make_method(load_config("split_digits.yaml", KEYS), "hybrid"), ipc=4, normalization=IMAGENET)
    small = nn.AdaptiveAvgPool2d(8)
    memory.update(
        train.of_classes(range(CONDENSED)), device="cpu", features=lambda *_: lambda images: small(images.float())
    )
    assert memory.exemplars is not None  # it has been updated
    return hashlib.sha256(memory.exemplars.image_tensors()["images"].numpy().tobytes()).hexdigest()


def one(images: Tensor) -> tuple[dict[str, float], dict[str, list[float]], str]:
    """Peaks, speeds and the memory's digest of one way to hold the images."""
    train = LabelledImages(images, torch.arange(CLASSES).repeat_interleave(EACH))
    names = tuple(map(str, range(CLASSES)))
    test = LabelledImages(images[:BATCH], train.labels[:BATCH])
    with peaks() as highest:
        found = speeds(ImageDataset("made", train, test, names, IMAGENET, ()))
        memory = condense(train)
    return highest, found, memory


def main(folder: Path) -> list[dict[str, Any]]:
    """Measures and writes ``results/larger_than_memory.json``."""
    cache, measured = folder / "images", folder / "measured.json"
    if (free := shutil.disk_usage(folder).free) < NEEDED:
        raise SystemExit(f"{folder}: has {free / 2**30:.1f} GiB free, and {NEEDED / 2**30:.0f} are needed")
    found: dict[str, Any] = json.loads(measured.read_text()) if measured.is_file() else {}
    for way, take in (("disk", lambda images: images), ("memory", in_memory)):
        if way not in found:
            began = time.perf_counter()
            mapped, _ = on_disk(Album("made", "made", CLASSES * EACH, pictures), cache)
            found[way] = [*one(take(mapped)), time.perf_counter() - began]
            measured.write_text(json.dumps(found))
            print(way, *found[way], flush=True)
    disk, ram = found["disk"], found["memory"]
    if disk[2] != ram[2]:
        raise SystemExit("the two ways give different memories")
    shutil.rmtree(cache)
    measured.unlink()
    rows = []
    for (highest, *_), name in ((disk, "on disk"), (ram, "in memory")):
        target = {"target": 6.0, "better": "lower"} if name == "on disk" else {}
        rows.append(ledger.row(f"own memory, images {name}", [highest["RssAnon"]], "GiB", **target))
        rows.append(ledger.row(f"with mapped pages, images {name}", [highest["VmRSS"]], "GiB"))
    for what in ("mini-batches", "training"):
        here, there = disk[1][what], ram[1][what]
        ratio = float(np.median(here) / np.median(there))
        rows.append(ledger.row(f"{what}, images in memory", there, "images/s"))
        rows.append(ledger.row(f"{what}, images on disk", here, "images/s", ratio=ratio, target=0.8, better="higher"))
    ledger.write("larger_than_memory", rows, provenance(resolve_device("cpu")), disk[3] + ram[3], "FOLDER")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    missed = ledger.missed(main(parser.parse_args().folder))
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
