"""How sparse changes of images for JPEG are to be, on held-out training images.

    python -m benchmarks.sparsity MNIST CIFAR10 [--seeds 4] [--first-seed 200]

MNIST is torchvision's folder, CIFAR10 an image folder. With the settings of ``compare_mnist.yaml`` and
``compare_cifar10.yaml``, all classes at once: in the bytes of one image a class, random real images as JPEG, and those
that a distillation makes of them, whose changes each iteration makes sparser by so many quantisation steps. Three
networks are trained on each memory, 400 updates of 32 images, and tested on a fifth of the training images, which
nothing was made of. Writes ``results/sparsity.json``.
"""

import argparse
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from benchmarks import ledger
from benchmarks.quality import interval
from iid_cl.budget import Budget
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.reading import load_config
from iid_cl.data.classes import Classes
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset
from iid_cl.distill import distill
from iid_cl.evaluate.protocol import judge
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Jpeg
from iid_cl.methods.mixing import mixture
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

QUALITY = 25
SPARSITIES = (0.0, 0.005, 0.01, 0.02)  # quantisation steps of an iteration
UPDATES, BATCH, NETWORKS = 400, 32, 3


def memory(config: Config, dataset: ImageDataset, sparsity: float | None, seed: int) -> Exemplars:
    """In the bytes of one image a class: images distilled from random ones, or for None these themselves."""
    by_class = dataset.train.by_class()
    draws = make_generator(seed, "order")
    shuffled = {label: torch.randperm(len(images), generator=draws) for label, images in by_class.items()}

    def distil(classes: Classes, count: int) -> ExemplarSet:
        assert sparsity is not None
        return distill(
            classes.images, config.distill, ipc=count, generator=make_generator(seed, "distillation"), device="cpu",
            normalization=dataset.normalization, augmentations=dataset.augmentations, start=classes.start,
            as_stored=JpegFormat(QUALITY, sparsity * config.distill.iterations),
        )  # fmt: skip

    def first(label: int, count: int) -> Tensor:
        return shuffled[label][:count]

    budget = Budget(ipc=1)
    space = Space(budget, budget.room(len(by_class), by_class[0][0].numel()), len(by_class))
    share = 0.0 if sparsity is None else 1.0
    return mixture(Classes(by_class), space, Jpeg(QUALITY), share, distil=distil, ordering=lambda: first)


def held_out(config: Config, dataset: ImageDataset, stored: Exemplars, seed: int) -> float:
    """Mean accuracy of the networks in percent."""
    epochs = max(1, UPDATES // -(-len(stored) // BATCH))
    training = {"network": config.model, "epochs": epochs, "batch_size": BATCH, "lr": config.train.lr}
    (judgement,) = judge(
        stored, dataset.test, config.evaluate.model_copy(update={**training, "networks": NETWORKS}),
        normalization=dataset.normalization, augmentations=dataset.augmentations, seed=seed,
        device=torch.device("cpu"),
    )  # fmt: skip
    return 100 * mean(judgement.accuracies)


def rows_of(name: str, config: Config, data: Path, seeds: range) -> list[dict[str, Any]]:
    """Real images and each sparsity, and what each gains over none."""
    found: dict[float | None, list[float]] = {sparsity: [] for sparsity in (None, *SPARSITIES)}
    counts: dict[float | None, list[float]] = {sparsity: [] for sparsity in found}
    for seed in seeds:
        dataset = load_dataset(config.stream, data, seed=seed)
        for sparsity in found:
            stored = memory(config, dataset, sparsity, seed)
            counts[sparsity].append(len(stored) / len(stored.classes))
            found[sparsity].append(held_out(config, dataset, stored, seed))
            print(f"{name}, seed {seed}, {sparsity}: {counts[sparsity][-1]:.1f} images, {found[sparsity][-1]:.1f} %")
    label = f"seeds {seeds.start} to {seeds.stop - 1}"
    rows = []
    for sparsity, values in found.items():
        what = "real images" if sparsity is None else f"sparsity {sparsity:g}"
        rows.append(ledger.row(f"{name}: {what}, {mean(counts[sparsity]):.1f} a class", values, "%", seeds=label))
    for sparsity in SPARSITIES[1:]:
        gain = [own - other for own, other in zip(found[sparsity], found[0.0], strict=True)]
        rows.append(ledger.row(f"{name}: sparsity {sparsity:g} minus 0", gain, "%", seeds=label, **interval(gain)))
    return rows


def main(
    mnist: Path, cifar10: Path, seeds: range, overrides: tuple[str, ...] = (), name: str | None = "sparsity"
) -> list[dict[str, Any]]:
    """Measures both data sets; with ``name=None`` it writes nothing."""
    began = time.perf_counter()
    rows = []
    for source, data, keys in (
        ("mnist", mnist, ()),
        ("cifar10", cifar10, ("stream.dataset=image_folder",)),
    ):
        config = load_config(f"compare_{source}.yaml", ["stream.validation=0.2", *keys, *overrides])
        rows += rows_of(source, config, data, seeds)
    if name is not None:
        given = f"MNIST CIFAR10 --seeds {len(seeds)} --first-seed {seeds.start}"
        ledger.write(name, rows, provenance(resolve_device("cpu")), time.perf_counter() - began, given)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=200)
    given = parser.parse_args()
    main(given.mnist, given.cifar10, range(given.first_seed, given.first_seed + given.seeds))
