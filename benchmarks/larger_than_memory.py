"""Images on disk against the same images in memory: peak memory, and samples a second while the page cache holds them.

    python -m benchmarks.larger_than_memory FOLDER                  # 3 GB, on disk and in memory
    python -m benchmarks.larger_than_memory FOLDER --imagenet-100   # 19 GB, on disk

Builds a cache of 20,000 images of 224 px in FOLDER, or of ImageNet-100's 126,000. It is removed at the end. The images
are served to a learner, herded and distilled, first from disk, then from memory. A command that was stopped goes on
where it was. Pages of the mapped file, which the system takes back when it needs them, are also counted apart from the
process's own memory (``RssFile`` and ``RssAnon`` of /proc/self/status, every 20 ms). Writes
``results/larger_than_memory.json`` or ``results/imagenet_100_shape.json``.
"""

import argparse
import hashlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

SIDE = 224
SPARE = 2**30  # bytes of the disk
BATCH, BATCHES, PASSES = 64, 15, 5
CONDENSED = 2  # classes
SMALL = ("distill.real_batch=16", "distill.embedder.width=8")
USUAL = ("distill.real_batch=128", "distill.embedder.width=32", "distill.embedder.depth=6")  # the defaults at 224 px


@dataclass(frozen=True)
class Case:
    """A set of images, and what is measured with it.

    Attributes:
        name: of the ledger's file.
        options: of the command.
        classes: number of classes.
        each: images of a class.
        keys: of the distillation, which has two iterations.
        ways: where the images are.
    """

    name: str
    options: str
    classes: int
    each: int
    keys: tuple[str, ...]
    ways: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of images."""
        return self.classes * self.each

    def pictures(self, first: int) -> Iterator[tuple[str, Picture]]:
        """Noise, no two pictures alike."""
        height = SIDE + self.count // 150 + 1
        noise = np.random.default_rng(0).integers(256, size=(height, SIDE + 150, 3), dtype=np.uint8)
        for number in range(first, self.count):
            row, column = divmod(number, 150)
            yield str(number), Picture(noise[row : row + SIDE, column : column + SIDE], False, False, False)


CASES = {
    False: Case("larger_than_memory", "", 10, 2000, SMALL, ("disk", "memory")),
    True: Case("imagenet_100_shape", " --imagenet-100", 100, 1260, USUAL, ("disk",)),
}


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


def speeds(dataset: ImageDataset, classes: int) -> dict[str, list[float]]:
    """Samples a second: mini-batches as the learner gets them, and the same with its training."""
    experience = make_benchmark(dataset, [list(range(classes))]).train_stream[0]
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(body, nn.Linear(8, classes))
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


def condense(train: LabelledImages, keys: Sequence[str]) -> str:
    """Digest of the memory of some classes, half distilled and half herded by small copies of the images."""
    config = load_config("split_digits.yaml", ["device=cpu", "distill.iterations=2", *keys])
    memory = Memory(make_method(config, "hybrid"), ipc=4, normalization=IMAGENET)
    small = nn.AdaptiveAvgPool2d(8)
    memory.update(
        train.of_classes(range(CONDENSED)), device="cpu", features=lambda *_: lambda images: small(images.float())
    )
    assert memory.exemplars is not None  # it has been updated
    return hashlib.sha256(memory.exemplars.image_tensors()["images"].numpy().tobytes()).hexdigest()


def one(images: Tensor, case: Case) -> tuple[dict[str, float], dict[str, list[float]], str]:
    """Peaks, speeds and the memory's digest of one way to hold the images."""
    train = LabelledImages(images, torch.arange(case.classes).repeat_interleave(case.each))
    names = tuple(map(str, range(case.classes)))
    test = LabelledImages(images[:BATCH], train.labels[:BATCH])
    with peaks() as highest:
        found = speeds(ImageDataset("made", train, test, names, IMAGENET, ()), case.classes)
        memory = condense(train, case.keys)
    return highest, found, memory


def main(folder: Path, case: Case) -> list[dict[str, Any]]:
    """Measures and writes the case's ledger."""
    cache, measured = folder / "images", folder / "measured.json"
    needed = 3 * SIDE * SIDE * case.count + SPARE
    if not cache.exists() and (free := shutil.disk_usage(folder).free) < needed:
        raise SystemExit(f"{folder}: has {free / 2**30:.1f} GiB free, and {needed / 2**30:.0f} are needed")
    found: dict[str, Any] = json.loads(measured.read_text()) if measured.is_file() else {}
    for way in case.ways:
        if way not in found:
            began = time.perf_counter()
            mapped, _ = on_disk(Album("made", "made", case.count, case.pictures), cache)
            highest, speed, memory = one(in_memory(mapped) if way == "memory" else mapped, case)
            found[way] = [highest, speed, memory, time.perf_counter() - began]
            measured.write_text(json.dumps(found))
            print(way, *found[way], flush=True)
    if len({found[way][2] for way in case.ways}) > 1:
        raise SystemExit("the two ways give different memories")
    shutil.rmtree(cache)
    measured.unlink()
    rows = rows_of(found)
    ledger.write(case.name, rows, provenance(resolve_device("cpu")), sum(found[way][3] for way in case.ways),
                 f"FOLDER{case.options}", "larger_than_memory")  # fmt: skip
    return rows


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The ledger's rows of what was measured in each way."""
    rows = []
    for way, (highest, *_) in found.items():
        name = "on disk" if way == "disk" else "in memory"
        target = {"target": 6.0, "better": "lower"} if way == "disk" else {}
        rows.append(ledger.row(f"own memory, images {name}", [highest["RssAnon"]], "GiB"))
        rows.append(ledger.row(f"with mapped pages, images {name}", [highest["VmRSS"]], "GiB", **target))
    for what in ("mini-batches", "training"):
        here = found["disk"][1][what]
        ratio = {}
        if "memory" in found:
            there = found["memory"][1][what]
            rows.append(ledger.row(f"{what}, images in memory", there, "images/s"))
            ratio = {"ratio": float(np.median(here) / np.median(there)), "target": 0.8, "better": "higher"}
        rows.append(ledger.row(f"{what}, images on disk", here, "images/s", **ratio))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--imagenet-100", action="store_true")
    given = parser.parse_args()
    missed = ledger.missed(main(given.folder, CASES[given.imagenet_100]))
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
