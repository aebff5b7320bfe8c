"""The published class-incremental protocol on Tiny ImageNet's first 100 classes: distilled against real images.

    python -m benchmarks.protocol --data ROOT [--steps 5 10] [--orders 5] [--iterations 200] [--epochs 50]
        [--minutes 10] [--device cuda] [--set KEY=VALUE ...]

ROOT holds tiny-imagenet-200. The configurations are the shipped ``gdumb_tiny_imagenet_Nstep``: 20 images per class,
each step's classes condensed without any other data, the class orders of seeds 0, 1, ..., and three fresh networks
trained on the memory alone. Their accuracy after the last step depends on the last memory and on nothing before it, so
networks are trained after that step only. Iterations, epochs, batches and the networks trained for the distillation are
smaller than published, where a method's name does not say otherwise.

Each method of a class order is a cell, kept in ``results/protocol_Nstep.csv`` (``..._cpu.csv`` on a CPU): the same
command goes on where it stopped. A cell that would take longer than what is left of the minutes, by the last one of
its method or of the one it lengthens, is not begun. First come random, herded and distilled memories of all class
orders, which make a class order count; then distilled ones with the queue of embedders as configured, real images of
as many updates of the networks as distilled ones have (a stored image shows four), distilled ones of more iterations,
the rivals stored smaller, and twice the iterations. Rows stand in the JSON file of that name, written after each
cell, each with the class orders it has; the device and the commit there are the last cell's, the CSV file has those
of each cell. Without a CUDA device it prints ``not measured``, unless ``--device cpu`` asks for it.
"""

import argparse
import csv
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks import ledger
from benchmarks.quality import interval
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.reading import load_config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import class_order
from iid_cl.evaluate.protocol import judge
from iid_cl.files import write_bytes
from iid_cl.methods.build import make_method
from iid_cl.methods.features import trained_features
from iid_cl.methods.memory import Memory
from iid_cl.records.provenance import provenance

QUEUE = ("distill.queue.networks=2", "distill.queue.steps=10")  # as the configurations have it
METHODS = {
    "random": ("memory.method=random",),
    "herding": ("memory.method=herding",),
    "distilled": ("memory.method=distilled",),
    "distilled, whole queue": ("memory.method=distilled", *QUEUE),
    "random, four times the epochs": ("memory.method=random",),
    "herding, four times the epochs": ("memory.method=herding",),
    "distilled, whole queue, three times the iterations": ("memory.method=distilled", *QUEUE),
    "half-size herding": ("memory.method=herding", "memory.downscale=2"),
    "random JPEG": ("memory.method=random", "memory.jpeg=25"),
    "distilled, twice the iterations": ("memory.method=distilled",),
}
LONGER = {  # times what is asked for
    "distilled, whole queue, three times the iterations": ("distill.iterations", 3),
    "random, four times the epochs": ("evaluate.epochs", 4),
    "herding, four times the epochs": ("evaluate.epochs", 4),
    "distilled, twice the iterations": ("distill.iterations", 2),
}
GAINS = {  # points to win by
    "herding": 8.0,
    "random": 12.0,
    "herding, four times the epochs": None,
    "random, four times the epochs": None,
    "half-size herding": None,
    "random JPEG": None,
}

FIRST = ("random", "herding", "distilled")  # a class order counts with these; the others follow as far as time allows
STEPS, ORDERS, ITERATIONS, EPOCHS = (5, 10), 5, 200, 50
SMALLER = (
    *("distill.queue.networks=1", "distill.queue.steps=2", "distill.cc.trainings=1"),
    "evaluate.batch_size=128",
)
COLUMNS = ("order", "method", "network", "accuracy", "bytes", "seconds", "settings", "device", "commit")


@dataclass(frozen=True)
class Cell:
    """One method in one class order: accuracies of its networks in percent, bytes of its memory, seconds it took.

    ``device`` and ``commit`` are what it ran on; a commit with changes of its own ends in ``+``.
    """

    accuracies: list[float]
    nbytes: int
    seconds: float
    device: str
    commit: str


Found = dict[tuple[int, str], Cell]  # by class order and method


def read_cells(file: Path, settings: str) -> Found:
    """The cells of these settings that a file holds; others are not for this measurement."""
    if not file.is_file():
        return {}
    found: Found = {}
    for line in csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))):
        if line["settings"] == settings:
            empty = Cell([], int(line["bytes"]), float(line["seconds"]), line["device"], line["commit"])
            cell = found.setdefault((int(line["order"]), line["method"]), empty)
            cell.accuracies.append(float(line["accuracy"]))
    return found


def write_cells(file: Path, settings: str, found: Found) -> None:
    """A line for each network."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for (order, method), cell in sorted(found.items()):
        for network, accuracy in enumerate(cell.accuracies):
            made = (cell.nbytes, round(cell.seconds, 1), settings, cell.device, cell.commit)
            lines.writerow([order, method, network, accuracy, *made])
    file.parent.mkdir(exist_ok=True)
    write_bytes(file, text.getvalue().encode())


def last_memory(config: Config, dataset: ImageDataset, device: torch.device) -> Memory:
    """The memory after the last experience, as a run in memory_only mode fills it."""
    memory = Memory(
        make_method(config, config.memory.method),
        config.memory.budget,
        seed=config.seed,
        normalization=dataset.normalization,
        augmentations=dataset.augmentations,
    )
    features = trained_features(config.model, config.distill.cc)
    for classes in class_order(config.stream, len(dataset.class_names), config.seed):
        memory.update(dataset.train.of_classes(classes), device=device, features=features)
    return memory


def final_accuracies(memory: Memory, config: Config, dataset: ImageDataset, device: torch.device) -> list[float]:
    """Accuracies in percent over all classes, one per network trained on the memory alone."""
    assert memory.exemplars is not None  # the stream has experiences
    (judgement,) = judge(
        memory.exemplars,
        dataset.test,
        config.evaluate,
        normalization=dataset.normalization,
        augmentations=dataset.augmentations,
        seed=config.seed,
        device=device,
    )
    return [100 * value for value in judgement.accuracies]


def measure(config: Config, dataset: ImageDataset, device: torch.device) -> Cell:
    """Fills the memory and trains networks on it."""
    start = time.perf_counter()
    memory = last_memory(config, dataset, device)
    accuracies = final_accuracies(memory, config, dataset, device)
    seconds, made = time.perf_counter() - start, provenance(device)
    return Cell(accuracies, memory.nbytes, seconds, made["device"], str(made["commit"]))


def complete(found: Found, orders: int) -> list[int]:
    """The class orders that have a cell of each of the first methods."""
    return [order for order in range(orders) if all((order, method) in found for method in FIRST)]


def rows_of(found: Found, orders: Sequence[int], networks: int) -> list[dict[str, Any]]:
    """A row per method over all orders and networks, and distilled against each, paired by class order.

    A method counts in those of the orders that it has.
    """
    having = {method: [order for order in orders if (order, method) in found] for method in METHODS}
    rows = []
    for method in [method for method in METHODS if having[method]]:
        values = [value for order in having[method] for value in found[order, method].accuracies]
        nbytes = max(found[order, method].nbytes for order in having[method])
        seeds = _seeds(having[method], networks)
        rows.append(ledger.row(f"{method}: final accuracy, {nbytes:,} bytes", values, "%", seeds=seeds))
    for ours in [method for method in METHODS if method.startswith("distilled")]:
        for rival, target in GAINS.items():
            both = [order for order in having[ours] if order in having[rival]]
            if both:
                gain = [mean(found[order, ours].accuracies) - mean(found[order, rival].accuracies) for order in both]
                goal = {} if target is None else {"target": target, "better": "higher"}
                seeds = _seeds(both, networks)
                rows.append(ledger.row(f"{ours} minus {rival}", gain, "%", seeds=seeds, **interval(gain), **goal))
    return rows


def _seeds(orders: Sequence[int], networks: int) -> str:
    """Class orders in words; they are measured in this order."""
    last = f" to {orders[-1]}" if len(orders) > 1 else ""
    return f"class order{'s of seeds' if last else ' of seed'} {orders[0]}{last}, {networks} networks each"


def main(
    data: Path | None,
    *,
    steps: Sequence[int] = STEPS,
    orders: int = ORDERS,
    iterations: int = ITERATIONS,
    epochs: int = EPOCHS,
    minutes: float = 10.0,
    device_name: str = "cuda",
    overrides: Sequence[str] = (),
) -> tuple[dict[int, list[dict[str, Any]]], int]:
    """The rows of each number of steps that has a complete class order, and how many cells are left."""
    if device_name == "cuda" and not torch.cuda.is_available():
        print("the protocol on Tiny ImageNet: not measured, no CUDA device")
        return {}, len(steps) * orders * len(METHODS)
    began = time.perf_counter()
    device = resolve_device(device_name)
    keys = _keys(iterations, epochs, overrides)
    # many cells share what compiling costs; --set has the last word
    compiled = ["distill.compile=true", "evaluate.compile=true"] if device.type == "cuda" else []
    settings = " ".join(keys)
    given = {"distill.iterations": iterations, "evaluate.epochs": epochs}
    names = {count: f"protocol_{count}step" + ("_cpu" if device.type == "cpu" else "") for count in steps}
    files = {count: ledger.RESULTS / f"{name}.csv" for count, name in names.items()}
    found = {count: read_cells(files[count], settings) for count in steps}
    todo = [
        (order, count, method)
        for methods in (FIRST, *([method] for method in METHODS if method not in FIRST))
        for order in range(orders)
        for count in steps
        for method in methods
        if (order, method) not in found[count]
    ]
    dataset = load_dataset(load_config(_name(steps[0]), keys).stream, data) if todo else None
    rows: dict[int, list[dict[str, Any]]] = {}

    def write_rows(count: int) -> None:
        whole = complete(found[count], orders)
        if whole:
            networks = len(found[count][whole[0], "distilled"].accuracies)
            rows[count] = rows_of(found[count], whole, networks)
            command = f"--data DATA --steps {count} --orders {len(whole)} --iterations {iterations} --epochs {epochs}"
            command += "".join(f" --set {text}" for text in overrides)
            command += " --device cpu" if device.type == "cpu" else ""
            spent = sum(cell.seconds for (order, _), cell in found[count].items() if order in whole)
            ledger.write(names[count], rows[count], provenance(device), spent, command, module="protocol")

    lasted = {method: cell.seconds for cells in found.values() for (_, method), cell in cells.items()}
    first = True
    while todo and dataset is not None:
        order, count, method = todo[0]
        key, times = LONGER.get(method, ("distill.iterations", 1))
        like = times * lasted.get(method.rpartition(",")[0], max(lasted.values(), default=0.0))
        if not first and time.perf_counter() - began + lasted.get(method, like) > 60 * minutes:
            break
        longer = [f"{key}={times * given[key]}"] if method in LONGER else []
        config = load_config(_name(count), [*compiled, *keys, *METHODS[method], *longer, f"seed={order}"])
        cell = found[count][order, method] = measure(config, dataset, device)
        write_cells(files[count], settings, found[count])
        write_rows(count)
        lasted[method] = cell.seconds
        first = False
        shown = " ".join(f"{value:.1f}" for value in cell.accuracies)
        print(f"{count} steps, order {order}, {method}: {shown} %, {cell.seconds:.0f} s", flush=True)
        del todo[0]
    for count in steps:
        write_rows(count)
    if todo:
        print(f"{len(todo)} of {orders * len(steps) * len(METHODS)} cells are left; the same command goes on")
    return rows, len(todo)


def left() -> int:
    """Cells of the whole measurement on a GPU, as set by default, that are not there yet."""
    settings = " ".join(_keys(ITERATIONS, EPOCHS, ()))
    found = [read_cells(ledger.RESULTS / f"protocol_{count}step.csv", settings) for count in STEPS]
    return sum((order, method) not in each for each in found for order in range(ORDERS) for method in METHODS)


def _keys(iterations: int, epochs: int, overrides: Sequence[str]) -> list[str]:
    return [f"distill.iterations={iterations}", f"evaluate.epochs={epochs}", *SMALLER, *overrides]


def _name(steps: int) -> str:
    return f"gdumb_tiny_imagenet_{steps}step.yaml"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", choices=(5, 10), default=list(STEPS))
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    measured, left = main(
        arguments.data,
        steps=arguments.steps,
        orders=arguments.orders,
        iterations=arguments.iterations,
        epochs=arguments.epochs,
        minutes=arguments.minutes,
        device_name=arguments.device,
        overrides=arguments.set,
    )
    missed = [line for rows in measured.values() for line in ledger.missed(rows)]
    if measured and not left:
        print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed or left))
