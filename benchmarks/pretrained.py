"""Memories for a pretrained, frozen network, at equal bytes: distilled images, real ones, and statistics of features.

    python -m benchmarks.pretrained DATA FOLDER [--minutes 60]     # works so long; give it again until it is done
    python -m benchmarks.pretrained DATA FOLDER --write            # the ledger, from all seeds

DATA holds tiny-imagenet-200, with pictures of 64 pixels or already of 32. Half of its classes (every second one) train
the network, at 32 pixels. The memories are of the other half, which it has never seen: each seed has ten classes of its
own. Learning rates are chosen on yet another ten. FOLDER keeps what has been done.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from benchmarks import ledger
from benchmarks.quality import interval
from iid_cl import distill
from iid_cl.config.distill import CovarianceConfig, DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.data.augmentation import augment_each
from iid_cl.data.images import ALL_AUGMENTATIONS, IMAGENET, ImageDataset, LabelledImages
from iid_cl.evaluate.model import TrainedModel, save_model
from iid_cl.files import read_pt
from iid_cl.nets import Network, build_network
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

SIDE, WIDTH = 32, 32
KNOWN = list(range(0, 200, 2))  # classes that train the network
STEPS, BATCH, RATE = 4000, 64, 0.05  # of the network's training
CONFIG = NetworkConfig(width=WIDTH, norm="batch")
AUGMENTATIONS = ("crop", "flip")  # of the network's training
UNSEEN = list(range(1, 200, 2))  # classes that the network has never seen
EACH, AT_ONCE = 10, 5  # classes of a seed, and of an experience
SEEDS, PILOT_SEED = 3, 9
BUDGETS = (1, 5)  # images a class
IMAGE_BYTES = 3 * SIDE * SIDE + 2  # with the label
ITERATIONS, REAL_BATCH = 50, 16
PILOT, TRIED = 25, (0.002, 0.01, 0.05, 0.2)  # iterations and learning rates
VIEWS = 32  # augmented views of a stored image that a head is trained on
SHRINK = 0.5  # of covariances, towards their mean variance


def opened(path: Path) -> np.ndarray[Any, Any]:
    """A picture at 32 pixels: of 64 pixels, the mean of four."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").reduce(picture.width // SIDE))


def data_of(data: Path, folder: Path) -> ImageDataset:
    """Tiny ImageNet at 32 pixels."""
    file, base = folder / "images.npz", data / "tiny-imagenet-200"
    names = sorted((base / "wnids.txt").read_text().split())
    if not file.is_file():
        val = [line.split("\t")[:2] for line in (base / "val" / "val_annotations.txt").read_text().splitlines()]
        train, test = [], []
        for c, class_name in enumerate(names):
            train += [(c, path) for path in sorted((base / "train" / class_name / "images").iterdir())]
            test += [(c, base / "val" / "images" / name) for name, of in val if of == class_name]
        arrays = {}
        for part, members in (("train", train), ("test", test)):
            arrays[f"{part}_images"] = np.stack([opened(path) for _, path in members]).transpose(0, 3, 1, 2)
            arrays[f"{part}_labels"] = np.array([c for c, _ in members])
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, **arrays)
    kept = {name: torch.from_numpy(array) for name, array in np.load(file).items()}
    parts = [LabelledImages(kept[f"{part}_images"], kept[f"{part}_labels"]) for part in ("train", "test")]
    return ImageDataset("tiny_imagenet", *parts, tuple(names), IMAGENET, ALL_AUGMENTATIONS)


def train_backbone(dataset: ImageDataset, folder: Path, deadline: float) -> bool:
    """Trains the network further; returns whether it has taken all its steps."""
    if (folder / "model.safetensors").is_file():
        return True
    known = KNOWN
    train, test = dataset.train.of_classes(known), dataset.test.of_classes(known)
    network = build_network(CONFIG, dataset.shape, len(known), make_generator(0, "backbone"))
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / STEPS)))
    state_file, step = folder / "training.pt", 0
    if state_file.is_file():
        state = read_pt(state_file)
        step = state["step"]
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    network.train()
    while step < STEPS and time.perf_counter() < deadline:
        draws = make_generator(0, "backbone batch", step)
        rows = torch.randint(len(train), (BATCH,), generator=draws)
        images = augment_each(dataset.normalization.apply(train.images[rows]), AUGMENTATIONS, draws)
        loss = functional.cross_entropy(network(images), train.labels[rows] // 2)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        step += 1
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.2f}, {deadline - time.perf_counter():.0f} s left", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"step": step, "network": network.state_dict(), "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict()}, state_file)  # fmt: skip
    if step < STEPS:
        return False
    network.eval()
    with torch.no_grad():
        scores = torch.cat([network(dataset.normalization.apply(part)) for part in test.images.split(500)])
    accuracy = float((scores.argmax(1) == test.labels // 2).float().mean())
    names = tuple(dataset.class_names[c] for c in known)
    model = TrainedModel(network, CONFIG, dataset.shape, names, dataset.normalization, [list(range(len(known)))])
    save_model(folder / "model.safetensors", model)
    (folder / "backbone.json").write_text(json.dumps({"accuracy": accuracy, "steps": STEPS}))
    print(f"the network classifies {100 * accuracy:.1f} % of the test images of its own {len(known)} classes")
    return True


def memories_of(scene: "Scene", folder: Path, ipc: int, rates: dict[str, float], deadline: float) -> bool:
    """Makes and judges a seed's memories of so many images; keeps each figure at once. Returns whether all are."""
    file = folder / f"seed-{scene.seed}.json"
    found: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}

    def keep(name: str, value: float) -> None:
        found[name] = value
        file.write_text(json.dumps(found, indent=1))
        print(f"{name}: {100 * value:.1f} %", flush=True)

    if "all images" not in found:
        for name, value in scene.statistics().items():
            keep(name, value)
    for kind in ("random", "herding", "dm", "lgm"):
        if f"{kind}, {ipc}: linear" in found:
            continue
        if time.perf_counter() > deadline:
            return False
        began = time.perf_counter()
        images = scene.images(kind, ipc, ITERATIONS, rates.get(kind, 0.0))
        found[f"{kind}, {ipc}: seconds"] = time.perf_counter() - began
        linear, nearest = scene.judge(images)
        keep(f"{kind}, {ipc}: nearest mean", nearest)
        keep(f"{kind}, {ipc}: linear", linear)
    return True


@dataclass(frozen=True)
class Scene:
    """The stream of a seed, as a frozen network sees it."""

    dataset: ImageDataset
    embedder: EmbedderConfig
    network: Network
    order: list[list[int]]
    train: dict[int, Tensor]  # images of each class
    features: dict[int, Tensor]  # of these, (n, D)
    test: Tensor
    labels: Tensor
    seed: int

    @classmethod
    def of(cls, dataset: ImageDataset, folder: Path, seed: int) -> "Scene":
        """No two seeds have a class in common."""
        embedder = EmbedderConfig(width=WIDTH, norm="batch", weights=str(folder))
        network = build_network(embedder, dataset.shape, 1, make_generator(0)).eval().requires_grad_(False)
        shuffled = [UNSEEN[i] for i in torch.randperm(len(UNSEEN), generator=make_generator(0, "classes")).tolist()]
        classes = shuffled[seed * EACH : (seed + 1) * EACH]
        order = [classes[i : i + AT_ONCE] for i in range(0, EACH, AT_ONCE)]
        train = dataset.train.of_classes(classes).by_class()
        tested = dataset.test.of_classes(classes)

        def see(images: Tensor) -> Tensor:
            with torch.no_grad():
                shown = (dataset.normalization.apply(part) for part in images.split(500))
                return torch.cat([network.features(part) for part in shown])

        features = {c: see(images) for c, images in train.items()}
        places = {c: number for number, c in enumerate(sorted(train))}
        labels = torch.tensor([places[c] for c in tested.labels.tolist()])
        return cls(dataset, embedder, network, order, train, features, see(tested.images), labels, seed)

    def images(self, kind: str, ipc: int, iterations: int, rate: float) -> dict[int, Tensor]:
        """The stored images of each class, made experience by experience."""
        stored: dict[int, Tensor] = {}
        for number, classes in enumerate(self.order):
            draws = make_generator(self.seed, kind, ipc, number)
            arrived = {c: self.train[c] for c in classes}
            if kind == "random":
                stored |= {c: v[torch.randperm(len(v), generator=draws)[:ipc]] for c, v in arrived.items()}
            elif kind == "herding":
                stored |= {c: v[herd(self.features[c], ipc)] for c, v in arrived.items()}
            else:
                settings = DistillConfig(
                    objective=kind, iterations=iterations, real_batch=REAL_BATCH, lr=rate,
                    cm=CovarianceConfig(weight=0.0), embedder=self.embedder,
                )  # fmt: skip
                memory = distill(arrived, settings, ipc=ipc, generator=draws, device="cpu", progress=False,
                                 normalization=self.dataset.normalization,
                                 augmentations=self.dataset.augmentations)  # fmt: skip
                stored |= memory.by_class()
        return stored

    def judge(self, stored: dict[int, Tensor]) -> tuple[float, float]:
        """Accuracies of a linear head, and of the nearest mean, from augmented views of the stored images."""
        draws = make_generator(self.seed, "views")
        features, labels = [], []
        for number, c in enumerate(sorted(stored)):
            shown = self.dataset.normalization.apply(stored[c]).repeat_interleave(VIEWS, 0)
            with torch.no_grad():
                features.append(self.network.features(augment_each(shown, self.dataset.augmentations, draws)))
            labels.append(torch.full((len(shown),), number))
        means = torch.stack([part.mean(0) for part in features])
        return (
            _linear(torch.cat(features), torch.cat(labels), self.test, self.labels),
            _accuracy(-torch.cdist(self.test, means), self.labels),
        )

    def statistics(self) -> dict[str, float]:
        """Accuracies of what a memory of features can hold, in half precision, and of all images."""
        classes = sorted(self.features)
        all_features = torch.cat([self.features[c] for c in classes])
        targets = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(self.features[c]) for c in classes]))
        values = {"all images": _linear(all_features, targets, self.test, self.labels)}
        means = torch.stack([self.features[c].mean(0) for c in classes]).half().float()
        values["class means: nearest mean"] = _accuracy(-torch.cdist(self.test, means), self.labels)
        for ipc in BUDGETS:
            rank = rank_within(ipc * IMAGE_BYTES, means.shape[1])
            distances = torch.stack([
                _mahalanobis(self.test, mean, self.features[c], rank) for c, mean in zip(classes, means, strict=True)
            ], 1)  # fmt: skip
            values[f"covariances, {ipc}: distance"] = _accuracy(-distances, self.labels)
        return values


def rank_within(nbytes: int, dimensions: int) -> int:
    """Directions of a covariance that fit beside a mean and a diagonal, all in half precision."""
    return nbytes // (2 * dimensions) - 2


def herd(features: Tensor, count: int) -> Tensor:
    """Rows that iCaRL's herding picks, in their order."""
    unit = functional.normalize(features, dim=1)
    target, total, rows = unit.mean(0), torch.zeros(unit.shape[1]), []
    for number in range(1, count + 1):
        distance = (target - (total + unit) / number).square().sum(1)
        distance[rows] = torch.inf
        rows.append(int(distance.argmin()))
        total = total + unit[rows[-1]]
    return torch.tensor(rows)


def _mahalanobis(test: Tensor, mean: Tensor, features: Tensor, rank: int) -> Tensor:
    """Gaussian distance of test features to a class whose covariance is kept as a diagonal and ``rank`` directions.

    As FeCAM (arXiv 2309.14062) the covariance is shrunk: here towards its mean variance, by a half.
    """
    centred = features - mean
    variance = centred.square().mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False)
    kept = (directions.Vh[:rank] * directions.S[:rank, None] / len(centred) ** 0.5).half().float()
    rest = (variance - kept.square().sum(0)).clamp_min(0).half().float()
    diagonal = (1 - SHRINK) * rest + SHRINK * variance.mean()
    kept = kept * (1 - SHRINK) ** 0.5
    apart = test - mean
    # Woodbury: the inverse of diagonal + kept' kept
    inner = torch.eye(rank) + (kept / diagonal) @ kept.T
    along = (apart / diagonal) @ kept.T
    squares = (apart.square() / diagonal).sum(1) - (along * torch.linalg.solve(inner, along.T).T).sum(1)
    return squares + diagonal.log().sum() + torch.logdet(inner)


def _linear(features: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Accuracy of a linear classifier of standardised features, trained on all of them at once."""
    mean, scale = features.mean(0), features.std(0).clamp_min(1e-3)
    features, test = (features - mean) / scale, (test - mean) / scale
    head = torch.nn.Linear(features.shape[1], int(labels.max()) + 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        functional.cross_entropy(head(features), labels).backward()
        optimizer.step()
    with torch.no_grad():
        return _accuracy(head(test), test_labels)


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).float().mean())


def pilot(dataset: ImageDataset, folder: Path) -> dict[str, float]:
    """The best learning rate of each objective for one image a class, judged on classes that no seed has."""
    file = folder / "rates.json"
    if not file.is_file():
        scene, rates = Scene.of(dataset, folder, PILOT_SEED), {}
        for kind in ("dm", "lgm"):
            judged = {rate: scene.judge(scene.images(kind, 1, PILOT, rate))[0] for rate in TRIED}
            print(kind, {rate: f"{100 * value:.1f} %" for rate, value in judged.items()}, flush=True)
            rates[kind] = max(judged, key=lambda rate: judged[rate])
        file.write_text(json.dumps(rates))
    chosen: dict[str, float] = json.loads(file.read_text())
    return chosen


def work(data: Path, folder: Path, deadline: float) -> bool:
    """Does what is left to do, or some of it; returns whether all is done."""
    dataset = data_of(data, folder)
    assert dataset.shape == (3, SIDE, SIDE)  # equal bytes are counted by it
    if not train_backbone(dataset, folder, deadline):
        return False
    rates = pilot(dataset, folder)
    scene = cache(partial(Scene.of, dataset, folder))
    return all(memories_of(scene(seed), folder, ipc, rates, deadline) for ipc in BUDGETS for seed in range(SEEDS))


NAMES = {
    "random": "random images",
    "herding": "herded images",
    "dm": "distilled, mean matching",
    "lgm": "distilled, linear gradient matching",
    "covariances": "means and covariances",
}
LEADS = (
    ("dm, 1: linear", "herding, 1: linear"),
    ("dm, 1: nearest mean", "herding, 1: nearest mean"),
    ("lgm, 1: linear", "herding, 1: linear"),
    ("lgm, 1: linear", "dm, 1: linear"),
    ("class means: nearest mean", "dm, 1: linear"),
    ("class means: nearest mean", "dm, 1: nearest mean"),
    ("class means: nearest mean", "lgm, 1: linear"),
    ("covariances, 5: distance", "dm, 5: linear"),
    ("covariances, 5: distance", "lgm, 5: linear"),
    ("dm, 5: linear", "herding, 5: linear"),
    ("lgm, 5: linear", "dm, 5: linear"),
)
"""Pairs that the predictions are about. The lead of the first over the second is taken within each seed."""


def title(name: str) -> str:
    """What a figure of a seed is called in the ledger."""
    kind, _, rest = name.partition(", ")
    return f"{int(rest[0]) * IMAGE_BYTES:,} bytes a class, {NAMES[kind]}{rest[1:]}" if kind in NAMES else name


def rows(folder: Path) -> tuple[list[dict[str, Any]], float]:
    """The ledger's rows of what is done for all seeds, and the seconds that it took to make the memories."""
    seeds = [json.loads(file.read_text()) for file in sorted(folder.glob("seed-*.json"))]
    told = f"seeds 0 to {len(seeds) - 1}" if len(seeds) > 1 else "seed 0"
    backbone = json.loads((folder / "backbone.json").read_text())["accuracy"]
    made = [ledger.row("the network, on its own 100 classes", [100 * backbone], "%", seeds=told)]
    common = [name for name in seeds[0] if all(name in one for one in seeds)]
    for name in (name for name in common if "seconds" not in name):
        made.append(ledger.row(title(name), [100 * one[name] for one in seeds], "%", seeds=told))
    for ahead, behind in (pair for pair in LEADS if set(pair) <= set(common)):
        values = [100 * (one[ahead] - one[behind]) for one in seeds]
        figure = f"lead of {title(ahead)}, over {title(behind)}"
        made.append({**ledger.row(figure, values, "points", seeds=told), **interval(values)})
    return made, sum(value for one in seeds for name, value in one.items() if "seconds" in name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    began = time.perf_counter()
    if given.write:
        found, seconds = rows(given.folder)
        ledger.write("pretrained", found, provenance(torch.device("cpu")), seconds, "DATA FOLDER --write")
    elif not work(given.data, given.folder, began + 60 * given.minutes):
        print("not done; give the command again")
