"""Everything that needs a GPU, in one go: speed, a whole run, the published settings.

    python -m benchmarks.gpu DATA [--mnist ROOT] [--tiny-imagenet ROOT] [--iterations 20000]

DATA is a CIFAR-10 image folder with train/ and test/, ROOT the folder of torchvision's MNIST, or that of
tiny-imagenet-200. Runs, in this order and each into a ledger of its own: engine against reference, cost over classes
and sizes, training against Avalanche's loader, a run of Split-CIFAR-100's shape, the published protocol on Tiny
ImageNet, time to the reference's accuracy, the JPEG copy's own accuracy, and the published CIFAR-10 and MNIST studies.
Without a CUDA device it prints ``not measured`` and writes nothing. Tests that need a GPU run with
``python -m pytest -m gpu``.
"""

import argparse
import io
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import engine, ledger, protocol, quality, scaling, time_to_accuracy, training
from iid_cl.config import Config, StreamConfig
from iid_cl.config_distill import NetworkConfig
from iid_cl.config_files import parse_config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset, LabelledImages, Normalization
from iid_cl.devices import resolve_device
from iid_cl.nets import build_network
from iid_cl.runs.experiment import run_method
from iid_cl.runs.provenance import provenance
from iid_cl.runs.reporter import Reporter
from iid_cl.seeding import make_generator
from iid_cl.training import accuracy, train_classifier

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
        epochs=epochs,
        batch_size=256,
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        augmentations=dataset.augmentations,
        generator=make_generator(1),
    )
    return 100 * accuracy(network, *sides["test"])


def main(data: Path, mnist: Path | None, iterations: int, epochs: int = 60, tiny: Path | None = None) -> None:
    """Measures, or says that nothing could be measured."""
    if not torch.cuda.is_available():
        print("not measured: no CUDA device")
        return
    device = resolve_device("cuda")
    engine.main(device_name="cuda", iterations=100)
    scaling.main("cuda")
    training.on_gpu()
    start = time.perf_counter()
    row = whole_run(device, parse_config(WHOLE_RUN, "WHOLE_RUN"))
    ledger.write("whole_run_cuda", [row], provenance(device), time.perf_counter() - start, "DATA", module="gpu")
    if tiny is not None:
        protocol.main(tiny)
    time_to_accuracy.main(data, device_name="cuda")
    start = time.perf_counter()
    reached = ledger.row(
        "ConvNet on the whole JPEG copy (published, lossless: 84.8)", [whole_accuracy(device, data, epochs)], "%"
    )
    ledger.write("jpeg_copy", [reached], provenance(device), time.perf_counter() - start, "DATA", module="gpu")
    common = [f"distill.iterations={iterations}", "device=cuda"]
    quality.main("published_cifar10.yaml", data, ["stream.dataset=image_folder", *common], None, None)
    if mnist is not None:
        quality.main("published_mnist.yaml", mnist, common, None, None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--tiny-imagenet", type=Path)
    parser.add_argument("--iterations", type=int, default=20_000)
    arguments = parser.parse_args()
    main(arguments.data, arguments.mnist, arguments.iterations, tiny=arguments.tiny_imagenet)
