"""Everything that needs a GPU: tests, speed, the published protocol, a whole run, the published settings.

    python -m benchmarks.gpu [DATA] [--tiny-imagenet ROOT] [--mnist ROOT] [--minutes 9] [--only PART ...]
        [--iterations 20000]

ROOT holds tiny-imagenet-200 or torchvision's MNIST, DATA is a CIFAR-10 image folder with train/ and test/. Parts, each
into a ledger of its own, the most valuable first: engine against reference and floor, the learner against Avalanche's
loader, five networks on one memory, a run of Split-CIFAR-100's shape; then the tests marked ``gpu``, the published
protocol on Tiny ImageNet, cost over classes and sizes, time to the reference's accuracy, the JPEG copy's own accuracy,
and the published CIFAR-10 and MNIST studies.

Parts whose ledger is there already are not repeated: the same command goes on, and says what is left. With
``--minutes`` no part begins once half of them are spent; the protocol stops between its own cells and takes as many
calls as it needs. Delete a ledger to measure it again. ``--only`` leaves out the others, such as one that fits into no
call. Without a CUDA device it prints ``not measured`` and writes nothing. ``benchmarks/gpu.sh`` is one such call on a
machine without a network.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from rich.console import Console

from benchmarks import engine, ledger, networks, protocol, quality, scaling, time_to_accuracy, training
from iid_cl.compute.classifier import Training, accuracy, train_classifier
from iid_cl.compute.devices import resolve_device
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import Config, StreamConfig
from iid_cl.config.reading import parse_config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset, LabelledImages, Normalization
from iid_cl.nets import build_network
from iid_cl.records.provenance import provenance
from iid_cl.runs.experiment import run_method
from iid_cl.seeding import make_generator
from iid_cl.terminal.reporter import Reporter

WHOLE_RUN = {
    "name": "split_cifar100_shape",
    "stream": {"experiences": 10},
    "model": {"name": "resnet18"},
    "train": {"epochs": 30, "batch_size": 128, "lr": 0.1},
    "memory": {"ipc": 10},
    "distill": {"iterations": 1000},
}
WHOLE_RUN_MINUTES = 10.0


def whole_run(device: torch.device, config: Config, classes: int = 100, count: int = 500) -> dict[str, Any]:
    """Minutes of a class-incremental run on made 32x32 colour images: distillation, training and evaluation."""
    made = engine.made_images(classes, count + count // 5)

    def side(part: slice) -> LabelledImages:
        images = [images[part] for images in made.values()]
        labels = torch.arange(classes).repeat_interleave(len(images[0]))
        return LabelledImages(torch.cat(images), labels)

    dataset = ImageDataset(
        "made", side(slice(count)), side(slice(count, None)), tuple(f"class {c}" for c in range(classes)),
        Normalization((0.5,) * 3, (0.25,) * 3), engine.NAMES,
    )  # fmt: skip
    start = time.perf_counter()
    with Reporter(Console(file=io.StringIO())) as reporter:
        result, _ = run_method(config, "distilled", dataset, device, reporter)
    minutes = (time.perf_counter() - start) / 60
    return ledger.row(
        f"{classes} classes in {config.stream.experiences} experiences, IPC {config.memory.budget.amount}, "
        f"{config.distill.iterations} iterations each ({result.condense_seconds / 60:.1f} min of it distillation)",
        [minutes], "min", target=WHOLE_RUN_MINUTES, better="lower",
    )  # fmt: skip


def whole_accuracy(device: torch.device, data: Path, epochs: int) -> float:
    """Test accuracy in percent of the published ConvNet trained on all images of an image folder."""
    dataset = load_dataset(StreamConfig(dataset="image_folder"), data)
    network = build_network(NetworkConfig(), dataset.shape, len(dataset.class_names), make_generator(0), device)
    sides = {
        name: (dataset.normalization.apply(part.images.to(device)), part.labels.to(device))
        for name, part in (("train", dataset.train), ("test", dataset.test))
    }
    train_classifier(
        network,
        *sides["train"],
        Training(epochs, batch_size=256),
        augmentations=dataset.augmentations,
        generator=make_generator(1),
    )
    return 100 * accuracy(network, *sides["test"])


def gpu_tests(folder: Path = ledger.ROOT, workers: int = 8) -> dict[str, Any]:
    """How many of the tests marked ``gpu`` pass; all are to."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.xml"
        # side by side, since most of them compile; pytest-benchmark, where it is installed, objects to that
        options = ["-q", "-m", "gpu", "-n", str(workers), "-p", "no:benchmark", f"--junitxml={report}"]
        subprocess.run([sys.executable, "-m", "pytest", *options], cwd=folder)
        suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    total = int(suite.attrib["tests"])
    passed = total - sum(int(suite.attrib[kind]) for kind in ("failures", "errors", "skipped"))
    return ledger.row("tests marked gpu that pass", [float(passed)], "tests", target=float(total), better="higher")


def measured_row(name: str, arguments: str, make: Callable[[], dict[str, Any]]) -> None:
    """Writes a ledger of one row."""
    start, device = time.perf_counter(), resolve_device("cuda")
    row = make()
    ledger.write(name, [row], provenance(device), time.perf_counter() - start, arguments, module="gpu")


def parts(data: Path | None, mnist: Path | None, tiny: Path | None, iterations: int, epochs: int) -> dict[str, Any]:
    """What there is to measure, by its ledger's name: a function of the minutes left; None: data are missing."""
    device, common = resolve_device("cuda"), [f"distill.iterations={iterations}", "device=cuda"]

    def copy_accuracy() -> dict[str, Any]:
        assert data is not None
        name = "ConvNet on the whole JPEG copy (published, lossless: 84.8)"
        return ledger.row(name, [whole_accuracy(device, data, epochs)], "%")

    def study(name: str, folder: Path | None, *keys: str) -> Any:
        return folder and (lambda _: quality.main(f"{name}.yaml", folder, [*keys, *common], None, None))

    return {
        "engine_cuda": lambda _: engine.main(device_name="cuda", iterations=100),
        "training_cuda": lambda _: training.on_gpu(),
        "networks_cuda": lambda _: networks.on_gpu(),
        "whole_run_cuda": lambda _: measured_row(
            "whole_run_cuda", "--only whole_run_cuda", lambda: whole_run(device, parse_config(WHOLE_RUN, "WHOLE_RUN"))
        ),
        "gpu_tests": lambda _: measured_row("gpu_tests", "--only gpu_tests", gpu_tests),
        "protocol": tiny and (lambda minutes: protocol.main(tiny, minutes=minutes)),
        "scaling_cuda": lambda _: scaling.main("cuda"),
        "time_to_accuracy_cuda": data and (lambda _: time_to_accuracy.main(data, device_name="cuda")),
        "jpeg_copy": data and (lambda _: measured_row("jpeg_copy", "DATA --only jpeg_copy", copy_accuracy)),
        "published_cifar10": study("published_cifar10", data, "stream.dataset=image_folder"),
        "published_mnist": study("published_mnist", mnist),
    }


def done(name: str) -> bool:
    """Whether a part's ledger is there; the protocol's parts are its cells, of which none may be left."""
    if name == "protocol":
        return protocol.left() == 0
    return (ledger.RESULTS / f"{name}.json").is_file()


def main(
    data: Path | None,
    mnist: Path | None,
    iterations: int,
    epochs: int = 60,
    tiny: Path | None = None,
    minutes: float | None = None,
    only: Collection[str] = (),
) -> list[str]:
    """Measures what is not there yet, or says that nothing could be measured; returns the names of what is left."""
    if not torch.cuda.is_available():
        print("not measured: no CUDA device")
        return []
    began = time.perf_counter()
    limit = float("inf") if minutes is None else minutes
    wanted = {
        name: make for name, make in parts(data, mnist, tiny, iterations, epochs).items() if name in (only or [name])
    }
    for name in [name for name, make in wanted.items() if make is None]:
        print(f"{name}: its data are not given, left out")
        del wanted[name]
    first = True
    for name, make in wanted.items():
        spent = (time.perf_counter() - began) / 60
        if done(name) or (spent > limit / 2 and not first):
            continue
        print(f"== {name}", flush=True)
        make(limit - spent)
        first = False
    left = [name for name in wanted if not done(name)]
    print(f"left, by the same command: {', '.join(left)}" if left else "nothing is left of these parts")
    return left


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--tiny-imagenet", type=Path)
    parser.add_argument("--iterations", type=int, default=20_000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--only", nargs="+", default=[], metavar="PART")
    arguments = parser.parse_args()
    main(
        arguments.data,
        arguments.mnist,
        arguments.iterations,
        tiny=arguments.tiny_imagenet,
        minutes=arguments.minutes,
        only=arguments.only,
    )
