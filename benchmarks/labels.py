"""What soft labels are worth in memories of coefficients, and in how few bits: accuracy on held-out training images.

    python -m benchmarks.labels DATA [--budget 3000] [--seeds 1] [--name labels]

DATA is a CIFAR-10 image folder. 300 training images a class are held out and judge; the test set is not read. The ten
classes come in experiences of 2, 5 or 10. A teacher of each experience, trained on it alone, gives each decoded image
the probabilities of that experience's classes. Its bytes and those of the labels are not counted, so the figures are
the most that labels can be worth. Writes ``results/NAME.json`` after each seed.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import ledger
from benchmarks.quality import interval
from iid_cl.budget import Budget
from iid_cl.compute.arithmetic import for_training
from iid_cl.compute.batches import batch_sizes
from iid_cl.compute.classifier import Training, accuracy, predict, train_classifier
from iid_cl.compute.sgd_step import SgdStep
from iid_cl.config.distill import DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.augmentation import augment_each
from iid_cl.data.classes import Classes
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import LabelledImages
from iid_cl.data.lens import Lens
from iid_cl.memory.dct_storage import Dct
from iid_cl.memory.space import Space
from iid_cl.methods.base import Scene
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.real import Real
from iid_cl.nets import Network, build_network
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

HELD_OUT, WIDTH, UPDATES, BATCH, ITERATIONS = 300, 32, 1500, 32, 100
SEEN = 20_000  # images that a teacher sees, at least one epoch
SIZES = (10, 5, 2)  # classes of an experience
CLOSER = 5  # of these, few bits and the teacher itself are tried
BITS = 4  # of a probability, besides full precision
Target = Callable[[Tensor, Tensor], Tensor]


class Bench:
    def __init__(self, data: Path, seed: int) -> None:
        self.dataset, self.seed = load_dataset(StreamConfig(dataset="image_folder"), data), seed
        self.lens = Lens(self.dataset.normalization, self.dataset.augmentations, torch.device("cpu"))
        self.kept: dict[int, Tensor] = {}
        judges: dict[int, Tensor] = {}
        for label, images in self.dataset.train.by_class().items():
            order = torch.randperm(len(images), generator=make_generator(seed, "held out", label))
            judges[label], self.kept[label] = images[order[:HELD_OUT]], images[order[HELD_OUT:]]
        self.judge = self.lens.show(torch.cat([judges[c] for c in sorted(judges)]))
        self.labels = torch.arange(len(judges)).repeat_interleave(HELD_OUT)

    def network(self, *names: object) -> Network:
        classes = len(self.dataset.class_names)
        return build_network(NetworkConfig(width=WIDTH), self.dataset.shape, classes, make_generator(self.seed, *names))

    def teachers(self, size: int) -> list[tuple[list[int], Network]]:
        """A network for each experience of ``size`` classes."""
        found = []
        for first in range(0, len(self.kept), size):
            classes = list(range(first, first + size))
            images = torch.cat([self.kept[c] for c in classes])
            labels = torch.cat([torch.full((len(self.kept[c]),), c) for c in classes])
            network = self.network("teacher", size, first)
            epochs = max(1, round(SEEN / len(images)))
            train_classifier(
                network, self.lens.show(images), labels, Training(epochs, BATCH, lr=0.03),
                augmentations=self.lens.augmentations, generator=make_generator(self.seed, "teaching", size, first),
            )  # fmt: skip
            found.append((classes, network.eval().requires_grad_(False)))
        return found

    def judged(self, memory: LabelledImages, target: Target) -> float:
        """Held-out accuracy in percent of a network whose targets are a function of augmented images and labels."""
        network, draws = self.network("weights"), make_generator(self.seed, "training")
        images = self.lens.show(memory.images)
        epochs = max(1, round(UPDATES * BATCH / len(images)))
        arithmetic = for_training(network, self.dataset.shape, epochs * len(images), images.device)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
        step = SgdStep(network, optimizer, arithmetic)
        network.train()
        for epoch in range(epochs):
            if epoch == (epochs + 1) // 2:
                optimizer.param_groups[0]["lr"] = 0.003
            order, first = torch.randperm(len(images), generator=draws), 0
            for count in batch_sizes(len(order), BATCH, network):
                rows = order[first : first + count]
                seen = augment_each(images[rows], self.lens.augmentations, draws)
                step(seen, target(seen, rows))
                first += count
        return 100 * accuracy(network, self.judge, self.labels)


def soft(teachers: Sequence[tuple[list[int], Network]], images: Tensor, labels: Tensor) -> Tensor:
    """Probabilities (N, K) under the teacher of each image's experience; zero for other classes."""
    total = 1 + max(label for classes, _ in teachers for label in classes)
    targets = torch.zeros(len(images), total)
    for classes, network in teachers:
        own = torch.isin(labels, torch.tensor(classes))
        if bool(own.any()):
            scores = torch.cat(list(predict(network, images[own])))
            mask = torch.full((total,), -torch.inf)
            mask[classes] = 0.0
            targets[own] = (scores + mask).softmax(1)
    return targets


def few_bits(targets: Tensor, bits: int) -> Tensor:
    """Probabilities whose square roots are rounded to ``2 ** bits`` levels, and sum to 1 again."""
    most = 2**bits - 1
    rounded = ((targets.sqrt() * most).round() / most).square()
    return rounded / rounded.sum(1, keepdim=True).clamp_min(1e-9)


def main(data: Path, budget: int = 3000, seeds: int = 1, *, name: str | None = "labels") -> list[dict[str, Any]]:
    """Measures and writes the ledger."""
    began = time.perf_counter()
    found: dict[str, list[float]] = {}
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        bench = Bench(data, seed)
        teachers = {size: bench.teachers(size) for size in sorted(SIZES)}
        config = DistillConfig(iterations=ITERATIONS, embedder=EmbedderConfig(width=WIDTH))
        ways = {"real": Real("random", Dct()), "distilled": Distilled(config, Dct())}
        for kind, method in ways.items():
            scene = Scene(bench.lens, lambda *_: lambda x: x, make_generator(seed, kind))
            space = Space(Budget(class_bytes=budget), budget, len(bench.kept))
            memory = method.condense(Classes(bench.kept), space, scene).decoded()
            shown, labels = bench.lens.show(memory.images), memory.labels
            cases: dict[str, Target] = {"hard labels": lambda _, rows, y=labels: y[rows]}
            for size in SIZES:
                targets = soft(teachers[size], shown, labels)
                cases[f"soft labels of {size} classes"] = lambda _, rows, t=targets: t[rows]
                if size == CLOSER:
                    few = few_bits(targets, BITS)
                    cases[f"soft labels of {size} classes in {BITS} bits"] = lambda _, rows, t=few: t[rows]
                    cases[f"teacher of {size} classes asked about each view"] = (
                        lambda seen, rows, t=teachers[size], y=labels: soft(t, seen, y[rows])
                    )
            for label, target in cases.items():
                values = found.setdefault(f"{kind}: {label}", [])
                values.append(bench.judged(memory, target))
                print(seed, kind, label, len(memory), f"{values[-1]:.1f}", flush=True)
        told = {"seeds": f"seeds 0 to {seed}" if seed else "seed 0"}
        rows = [
            ledger.row(label, values, "%", **told, **(interval(values) if len(values) > 1 else {}))
            for label, values in found.items()
        ]
        if name is not None:
            arguments = f"DATA --budget {budget} --seeds {seed + 1}"
            ledger.write(name, rows, provenance(torch.device("cpu")), time.perf_counter() - began, arguments, "labels")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budget", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--name", default="labels")
    given = parser.parse_args()
    main(given.data, given.budget, given.seeds, name=given.name)
