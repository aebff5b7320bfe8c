"""How long to distil, and with how wide an embedder: accuracy on held-out training images.

    python -m benchmarks.length DATA [--dataset image_folder] [--classes 4] [--seeds 1] [--name length]

DATA is the folder of the data set. A quarter of the training images is held out and judges; the test set is not read.
For each number of images a class it distils the first classes of the set with several lengths and widths. Networks of
width 64 are trained on the images. Writes ``results/NAME.json`` after each seed.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import ledger
from benchmarks.quality import interval
from iid_cl.compute.classifier import Training, accuracy, train_classifier
from iid_cl.config.distill import DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.classes import Classes
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset, LabelledImages
from iid_cl.data.lens import Lens
from iid_cl.distill.engine import run_job
from iid_cl.distill.job import DistillJob
from iid_cl.distill.watch import Watch
from iid_cl.nets import build_network
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

CASES = (  # images a class, iterations, the embedder's width
    (1, 1000, 32), (1, 300, 32), (1, 100, 32),
    (10, 1000, 32), (10, 300, 32), (10, 100, 32), (10, 100, 64), (10, 100, 128),
)  # fmt: skip
NETWORKS, HELD_OUT, UPDATES, WIDTH = 3, 0.25, 300, 64


class Bench:
    """The first classes of a data set, in a part that is distilled and a part that judges."""

    def __init__(self, dataset: ImageDataset, classes: Sequence[int], seed: int) -> None:
        self.dataset, self.classes = dataset, list(classes)
        self.lens = Lens(dataset.normalization, dataset.augmentations, torch.device("cpu"))
        images = dataset.train.by_class()
        self.kept: dict[int, torch.Tensor] = {}
        judges = []
        for label in self.classes:
            order = torch.randperm(len(images[label]), generator=make_generator(seed, "held out", label))
            cut = round(HELD_OUT * len(order))
            self.kept[label] = images[label][order[cut:]]
            judges.append(images[label][order[: min(cut, 1000)]])
        self.judge = self.lens.show(torch.cat(judges))
        self.labels = torch.cat([torch.full((len(part),), place) for place, part in enumerate(judges)])

    def distilled(self, ipc: int, iterations: int, width: int, seed: int) -> tuple[LabelledImages, float]:
        """The images of a case, and the seconds they took."""
        config = DistillConfig(iterations=iterations, embedder=EmbedderConfig(width=width))
        start = time.perf_counter()
        memory = run_job(DistillJob(Classes(self.kept), ipc, config, self.lens, seed), Watch())
        return memory.decoded(), time.perf_counter() - start

    def judged(self, memory: LabelledImages, seed: int) -> float:
        """Mean held-out accuracy of fresh networks, in percent."""
        labels = torch.tensor([self.classes.index(int(label)) for label in memory.labels])
        reached = []
        for number in range(NETWORKS):
            weights = make_generator(seed, "weights", number)
            network = build_network(NetworkConfig(width=WIDTH), self.dataset.shape, len(self.classes), weights)
            train_classifier(
                network, self.lens.show(memory.images), labels, Training(UPDATES, 64, lr=0.03),
                augmentations=self.lens.augmentations, generator=make_generator(seed, "training", number),
            )  # fmt: skip
            reached.append(100 * accuracy(network, self.judge, self.labels))
        return sum(reached) / len(reached)


def main(
    data: Path,
    dataset: str = "image_folder",
    classes: Sequence[int] = (0, 1, 2, 3),
    seeds: int = 1,
    *,
    name: str | None = "length",
    cases: Sequence[tuple[int, int, int]] = CASES,
) -> list[dict[str, Any]]:
    """Measures and writes the ledger; with ``name=None`` it writes nothing."""
    began = time.perf_counter()
    images = load_dataset(StreamConfig(dataset=dataset), data)
    found: dict[tuple[int, int, int], list[float]] = {}
    took: dict[tuple[int, int, int], list[float]] = {}
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        bench = Bench(images, classes, seed)
        for case in cases:
            memory, seconds = bench.distilled(*case, seed)
            found.setdefault(case, []).append(bench.judged(memory, seed))
            took.setdefault(case, []).append(seconds)
            print(seed, case, f"{found[case][-1]:.2f} %, {seconds:.0f} s", flush=True)
        told = {"seeds": f"seeds 0 to {seed}" if seed else "seed 0"}
        rows = []
        for case, values in found.items():
            label = f"{case[0]} images a class, {case[1]} iterations, width {case[2]}"
            spread = interval(values) if len(values) > 1 else {}
            rows.append(ledger.row(label, values, "%", **told, **spread))
            rows.append(ledger.row(f"{label}: duration", took[case], "s", **told))
        if name is not None:
            arguments = f"DATA --dataset {dataset} --classes {' '.join(map(str, classes))} --seeds {seed + 1}"
            ledger.write(name, rows, provenance(torch.device("cpu")), time.perf_counter() - began, arguments, "length")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--dataset", default="image_folder")
    parser.add_argument("--classes", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--name", default="length")
    given = parser.parse_args()
    main(given.data, given.dataset, given.classes, given.seeds, name=given.name)
