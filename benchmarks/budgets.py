"""What a memory is worth at a number of bytes a class: CIFAR-10's ten classes, networks trained on the memory alone.

    python -m benchmarks.budgets DATA [--budgets 3000 6000] [--seeds 3] [--experiences 2] [--name budgets]

DATA is a CIFAR-10 image folder with train/ and test/. All training images are condensed, experience by experience, so
this is what the end of a stream holds. A network trained on all training images for as many updates shows the learner's
ceiling, and its features herd. The test set chooses nothing. Writes ``results/NAME.json`` after each budget.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import ledger
from benchmarks.quality import interval
from iid_cl.budget import Budget
from iid_cl.compute.classifier import Training, accuracy, train_classifier
from iid_cl.config.distill import DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.classes import Classes
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset, LabelledImages
from iid_cl.data.lens import Lens
from iid_cl.memory.dct_storage import Dct
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Jpeg
from iid_cl.methods.auto import Auto
from iid_cl.methods.base import Method, Scene
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.real import Real
from iid_cl.nets import Network, build_network
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

RIVAL, SAME_FORMAT, DEFAULT = "herded, JPEG of quality 25", "herded, DCT", "auto (distilled, DCT)"


def methods(distill: DistillConfig) -> dict[str, Method]:
    """What is compared, by its name in the ledger."""
    return {
        RIVAL: Real("herding", Jpeg(25)),
        SAME_FORMAT: Real("herding", Dct()),
        DEFAULT: Auto(Distilled(distill)),
    }


class Bench:
    """Trains networks of one kind on memories, and tests them.

    Args:
        dataset: training and test images.
        updates: of each network, in mini-batches of ``batch``.
        width: channels of the networks.
    """

    def __init__(self, dataset: ImageDataset, updates: int, batch: int, width: int) -> None:
        self.dataset, self.updates, self.batch = dataset, updates, batch
        self.network = NetworkConfig(width=width)
        self.lens = Lens(dataset.normalization, dataset.augmentations, torch.device("cpu"))
        self.test = self.lens.show(dataset.test.images)

    def trained(self, data: LabelledImages, seed: int) -> tuple[Network, float]:
        """A network trained on images, and its test accuracy in percent."""
        shape, classes = self.dataset.shape, len(self.dataset.class_names)
        network = build_network(self.network, shape, classes, make_generator(seed, "weights"))
        epochs = max(1, self.updates // -(-len(data) // self.batch))
        train_classifier(
            network, self.lens.show(data.images), data.labels, Training(epochs, self.batch, lr=0.03),
            augmentations=self.lens.augmentations, generator=make_generator(seed, "training"),
        )  # fmt: skip
        return network, 100 * accuracy(network, self.test, self.dataset.test.labels)

    def condensed(self, method: Method, space: Space, scene: Scene, experiences: int) -> Exemplars:
        """The memory at the end of a stream of experiences of equally many classes, in the classes' order."""
        images = self.dataset.train.by_class()
        size = -(-len(images) // experiences)
        memory: Exemplars | None = None
        for first in range(0, len(images), size):
            classes = Classes({label: images[label] for label in range(first, min(first + size, len(images)))})
            arrived = method.condense(classes, space, scene)
            memory = arrived if memory is None else memory.merge(arrived)
        assert memory is not None  # there are classes
        return memory

    def features(self, network: Network) -> Any:
        """Of herding, by a network that is trained."""

        @torch.no_grad()
        def extract(images: Tensor) -> Tensor:
            return torch.cat([network.features(part) for part in self.lens.show(images).split(500)])

        return lambda *_: extract


def main(
    data: Path,
    budgets: Sequence[int] = (3000, 6000),
    seeds: int = 3,
    *,
    name: str | None = "budgets",
    updates: int = 1500,
    batch: int = 32,
    width: int = 32,
    iterations: int = 100,
    experiences: int = 2,
) -> list[dict[str, Any]]:
    """Measures and writes the ledger; the arguments shrink it for a test, with ``name=None`` it writes nothing."""
    began = time.perf_counter()
    bench = Bench(load_dataset(StreamConfig(dataset="image_folder"), data), updates, batch, width)
    distill = DistillConfig(iterations=iterations, embedder=EmbedderConfig(width=width))
    classes = len(bench.dataset.class_names)
    found: dict[tuple[int, str], list[float]] = {}
    shares: dict[tuple[int, str], float] = {}
    seconds: dict[int, list[float]] = {}
    ceiling: list[float] = []
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        network, reached = bench.trained(bench.dataset.train, seed)
        ceiling.append(reached)
        for room in budgets:
            space = Space(Budget(class_bytes=room), room, classes)
            for label, method in methods(distill).items():
                start = time.perf_counter()
                scene = Scene(bench.lens, bench.features(network), make_generator(seed, label))
                memory = bench.condensed(method, space, scene, experiences)
                if label == DEFAULT:
                    seconds.setdefault(room, []).append(time.perf_counter() - start)
                decoded = memory.decoded()
                shares[room, label] = len(decoded) / len(bench.dataset.train)
                found.setdefault((room, label), []).append(bench.trained(decoded, seed)[1])
                print(f"seed {seed}, {room} bytes, {label}: {len(decoded)} images, {memory.nbytes} bytes, "
                      f"{found[room, label][-1]:.1f} %", flush=True)  # fmt: skip
            rows = _rows(found, shares, seconds, ceiling)
            if name is not None:
                measured = sorted({where for where, _ in found})
                arguments = (
                    f"DATA --budgets {' '.join(map(str, measured))} --seeds {seed + 1} --experiences {experiences}"
                )
                spent = time.perf_counter() - began
                ledger.write(name, rows, provenance(torch.device("cpu")), spent, arguments, module="budgets")
    return rows


def _rows(
    found: Mapping[tuple[int, str], list[float]],
    shares: Mapping[tuple[int, str], float],
    seconds: Mapping[int, list[float]],
    ceiling: list[float],
) -> list[dict[str, Any]]:
    rows = [ledger.row("all training images", ceiling, "%", **_told(ceiling))]
    for room in sorted({room for room, _ in found}):
        at = f"{room / 1000:g} kB a class"
        for label in dict.fromkeys(label for where, label in found if where == room):
            values = found[room, label]
            share = f"{100 * shares[room, label]:.2g} % of the images"
            rows.append(ledger.row(f"{at}: {label}, {share}", values, "%", **_told(values)))
        best = found.get((room, DEFAULT), [])
        for rival in (RIVAL, SAME_FORMAT):
            gain = [a - b for a, b in zip(best, found.get((room, rival), []), strict=False)]
            if gain:
                rows.append(ledger.row(f"{at}: auto minus {rival}", gain, "%", **_told(gain)))
        if best:
            rows.append(ledger.row(f"{at}: making auto, ten classes, one core", seconds[room], "s"))
    return rows


def _told(values: list[float]) -> dict[str, Any]:
    seeds = f"seeds 0 to {len(values) - 1}" if len(values) > 1 else "seed 0"
    return {"seeds": seeds, **(interval(values) if len(values) > 1 else {})}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budgets", type=int, nargs="+", default=[3000, 6000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--experiences", type=int, default=2)
    parser.add_argument("--name", default="budgets")
    given = parser.parse_args()
    main(given.data, given.budgets, given.seeds, name=given.name, experiences=given.experiences)
