"""What the continual-learning loop costs around the network: mini-batches from memory against Avalanche's loaders.

    python -m benchmarks.training

One experience of 3x32x32 images is trained with replay, 128 current and 128 memory images per step, in an Avalanche
strategy. Seconds are those of ``strategy.train``, reading the data included and making the memory left out; the raw
loop is the same training without Avalanche. The ways take turns, each repetition on a new strategy and new data
sets. On the CPU the network is linear and one thread works, so that the data path shows; on a GPU it is a ResNet-18,
and without one that part prints ``not measured``.
"""

import sys
import time
from collections.abc import Callable, Mapping
from statistics import median, stdev
from typing import Any

import matplotlib.figure
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import Tensor, nn
from torchvision import transforms

from benchmarks import ledger
from iid_cl.compute.devices import resolve_device
from iid_cl.config.distill import NetworkConfig
from iid_cl.data.images import Normalization
from iid_cl.data.tensors import TensorImages
from iid_cl.data.transforms import random_crop, random_flip
from iid_cl.nets import build_network
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator
from iid_cl.strategies import FastStepPlugin, InMemoryPlugin, MemoryReplayPlugin, RandomBuffer

BATCH, IPC, SIDE = 128, 100, 32
MEAN, STD = (0.5,) * 3, (0.25,) * 3
NORMALIZATION = Normalization(MEAN, STD)
PER_IMAGE = transforms.Compose(
    [
        transforms.RandomCrop(SIDE, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ConvertImageDtype(torch.float32),
        transforms.Normalize(MEAN, STD),
    ]
)
COLOURS = {"a raw PyTorch loop": "#999999", "Avalanche's loader": "#D55E00", "from memory": "#0072B2"}

Way = Callable[[], float]  # trains once and gives samples per second


def batch_transform() -> Callable[[Tensor], Tensor]:
    """What ``PER_IMAGE`` does, for batches."""
    generator = make_generator(0, "augmentation")
    return lambda images: NORMALIZATION.apply(random_flip(random_crop(images, 4, generator), generator))


def make_images(count: int, floats: bool) -> tuple[Tensor, Tensor]:
    """2 * ``count`` images of ten classes, half of them in the experience that is measured."""
    images = torch.randint(256, (2 * count, 3, SIDE, SIDE), dtype=torch.uint8, generator=make_generator(0))
    return images / 255 if floats else images, torch.arange(2 * count) % 10


def make_network(device: torch.device) -> nn.Module:
    """Linear on the CPU, a ResNet-18 on a GPU."""
    if device.type == "cpu":
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 10))
    return build_network(NetworkConfig(name="resnet18"), (3, SIDE, SIDE), 10, make_generator(0), device)


def samples(count: int, epochs: int) -> int:
    """Current and memory images trained on."""
    return epochs * (count + -(-count // BATCH) * BATCH)


def finish(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_avalanche(
    images: Tensor, labels: Tensor, epochs: int, device: torch.device, transform: Any, plugins: list[Any]
) -> float:
    """Samples per second of a strategy; the second of two experiences of five classes."""
    data = as_classification_dataset(TensorImages(images, labels))
    benchmark = nc_benchmark(
        data, data, n_experiences=2, task_labels=False, fixed_class_order=list(range(10)), train_transform=transform
    )
    network = make_network(device)
    buffer = RandomBuffer(min(IPC, len(images) // 20))
    strategy = Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        train_epochs=epochs,
        device=device,
        plugins=[MemoryReplayPlugin(buffer), *plugins],
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True)),
    )
    first, second = benchmark.train_stream
    buffer.post_adapt(strategy, first)
    making = buffer.seconds
    finish(device)
    start = time.perf_counter()
    strategy.train(second)
    finish(device)
    seconds = time.perf_counter() - start - (buffer.seconds - making)
    return samples(len(images) // 2, epochs) / seconds


def raw_loop(images: Tensor, labels: Tensor, epochs: int) -> float:
    """Samples per second of the same training on the CPU without Avalanche."""
    current = (labels >= 5).nonzero().squeeze(1)
    stored = 5 * min(IPC, len(images) // 20)
    memory, memory_labels = images[:stored], labels[:stored]
    images, labels = images[current], labels[current]
    network = make_network(torch.device("cpu"))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()
    generator = make_generator(0)
    count = 0
    start = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator).split(BATCH)
        replayed: list[Tensor] = []
        for rows in order:
            if not replayed:
                replayed = list(torch.randperm(len(memory), generator=generator).split(BATCH))
            old = replayed.pop()
            x = torch.cat([images.index_select(0, rows), memory.index_select(0, old)])
            y = torch.cat([labels.index_select(0, rows), memory_labels.index_select(0, old)])
            optimizer.zero_grad()
            criterion(network(x), y).backward()
            optimizer.step()
            count += len(y)
    return count / (time.perf_counter() - start)


def take_turns(ways: Mapping[str, Way], repeats: int) -> dict[str, list[float]]:
    """Each way's samples per second, after one turn that doesn't count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            rate = way()
            if turn:
                found[name].append(rate)
    return found


def ways(images: Tensor, labels: Tensor, epochs: int, device: torch.device, augmented: bool) -> dict[str, Way]:
    """Avalanche's loader and ours, on images that both leave as they are or that both augment and normalise.

    On a GPU, ours also with the faster step.
    """
    transform = PER_IMAGE if augmented else None

    def ours(fast: bool = False) -> float:
        plugin = InMemoryPlugin(batch_transform() if augmented else None)
        more = [FastStepPlugin(trainings=1000)] if fast else []  # as in a run that is long enough to compile
        return in_avalanche(images, labels, epochs, device, transform, [plugin, *more])

    found: dict[str, Way] = {
        "Avalanche's loader": lambda: in_avalanche(images, labels, epochs, device, transform, []),
        "from memory": ours,
    }
    return found | ({"from memory, faster step": lambda: ours(fast=True)} if device.type == "cuda" else {})


def rows_of(rates: Mapping[str, list[float]], what: str, baseline: str, target: float) -> list[dict[str, Any]]:
    """A row per way: the median and the spread, and for ours the ratio to the baseline, turn by turn."""
    found = []
    for name, values in rates.items():
        more: dict[str, Any] = {"std": stdev(values)} if len(values) > 1 else {}
        label = name
        if name.startswith("from memory"):
            ratio = median(own / other for own, other in zip(values, rates[baseline], strict=True))
            more |= {"baseline": median(rates[baseline]), "ratio": ratio, "target": target, "better": "higher"}
            label += f", against {baseline}"
        found.append(ledger.row(f"{what}: {label}", [median(values)], "samples/s", **more))
    return found


def save_figure(measured: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Bars of samples per second as ``docs/images/benchmark-training.png``."""
    figure = matplotlib.figure.Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.subplots()
    bars = [(what, name, median(values)) for what, rates in measured.items() for name, values in rates.items()]
    places = range(len(bars))
    drawn = axes.barh(places, [value / 1000 for _, _, value in bars], color=[COLOURS[name] for _, name, _ in bars])
    axes.bar_label(drawn, fmt="%.0f", padding=3)
    axes.margins(x=0.08)
    axes.set_yticks(places, [f"{what}\n{name}" for what, name, _ in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("thousand samples per second, one CPU thread, linear network")
    axes.spines[["top", "right"]].set_visible(False)
    images = ledger.ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    figure.savefig(images / "benchmark-training.png", dpi=150)


def on_cpu(count: int, epochs: int, repeats: int, name: str | None) -> list[dict[str, Any]]:
    """Measures one thread; writes ``results/NAME.json`` and the figure unless ``name`` is None."""
    start = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        cpu = resolve_device("cpu")
        images, labels = make_images(count, floats=True)
        plain = take_turns(
            {
                "a raw PyTorch loop": lambda: raw_loop(images, labels, epochs),
                **ways(images, labels, epochs, cpu, augmented=False),
            },
            repeats,
        )
        augmented = take_turns(ways(*make_images(count, floats=False), epochs, cpu, augmented=True), repeats)
        what = f"{count} images, epochs: {epochs}"
        rows = [
            *rows_of(plain, f"no transforms, {what}", "a raw PyTorch loop", 0.9),
            *rows_of(augmented, f"crop, flip and normalisation, {what}", "Avalanche's loader", 6.0),
        ]
        if name is not None:
            save_figure({"no transforms": plain, "crop, flip, normalise": augmented})
            ledger.write(name, rows, provenance(cpu), time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return rows


def on_gpu(
    count: int = 10_000, epochs: int = 1, repeats: int = 3, name: str | None = "training"
) -> list[dict[str, Any]]:
    """The same with a ResNet-18 on a GPU, as ``results/NAME_cuda.json``; nothing where there is none.

    By default it is shorter, because Avalanche's loader takes minutes.
    """
    if not torch.cuda.is_available():
        print("on a GPU: not measured, no CUDA device")
        return []
    start = time.perf_counter()
    device = resolve_device("cuda")
    rates = take_turns(ways(*make_images(count, floats=False), epochs, device, augmented=True), repeats)
    what = f"ResNet-18, crop, flip and normalisation, {count} images, epochs: {epochs}"
    rows = rows_of(rates, what, "Avalanche's loader", 5.0)
    if name is not None:
        ledger.write(f"{name}_cuda", rows, provenance(device), time.perf_counter() - start, module="training")
    return rows


def main(count: int = 10_000, epochs: int = 3, repeats: int = 5, name: str | None = "training") -> list[dict[str, Any]]:
    """Measures, and writes what ``name`` says."""
    return [*on_cpu(count, epochs, repeats, name), *on_gpu(count, epochs, repeats, name)]


if __name__ == "__main__":
    missed = ledger.missed(main())
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
