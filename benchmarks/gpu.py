"""Everything that needs a GPU, in one go: the engine's speed and the published settings.

    python -m benchmarks.gpu DATA [--mnist ROOT] [--iterations 20000]

DATA is a CIFAR-10 image folder with train/ and test/, ROOT the folder of torchvision's MNIST. Without a CUDA device
it prints ``not measured`` and writes nothing. The whole data set's accuracy tells what a JPEG copy costs against the
published 84.8 %. Tests that need a GPU run with ``python -m pytest -m gpu``.
"""

import argparse
import time
from pathlib import Path

import torch

from benchmarks import ledger, quality
from iid_cl.config import DistillConfig, NetworkConfig, StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import Normalization
from iid_cl.devices import resolve_device
from iid_cl.distill import distill
from iid_cl.nets import build_network
from iid_cl.runs.provenance import provenance
from iid_cl.seeding import make_generator
from iid_cl.training import accuracy, train_classifier


def engine_rate(device: torch.device, iterations: int, config: DistillConfig) -> float:
    """Iterations per second on ten classes of 1,000 made 32x32 colour images, IPC 10, after a warm-up."""
    images = torch.randint(256, (10, 1000, 3, 32, 32), dtype=torch.uint8, generator=make_generator(0))
    by_class = dict(enumerate(images))

    def seconds(count: int) -> float:
        start = time.perf_counter()
        distill(
            by_class,
            config.model_copy(update={"iterations": count}),
            ipc=10,
            generator=make_generator(0),
            device=device,
            normalization=Normalization((0.5,) * 3, (0.25,) * 3),
            augmentations=("color", "crop", "cutout", "flip", "scale", "rotate"),
        )
        return time.perf_counter() - start

    seconds(max(1, iterations // 10))
    return iterations / seconds(iterations)


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


def main(data: Path, mnist: Path | None, iterations: int, epochs: int = 60) -> None:
    """Measures, or says that nothing could be measured."""
    if not torch.cuda.is_available():
        print("not measured: no CUDA device")
        return
    device = resolve_device("cuda")
    start = time.perf_counter()
    rows = [
        ledger.row(
            "engine, CIFAR-10 shape, IPC 10, real batch 256, width 128",
            [engine_rate(device, 200, DistillConfig())],
            "it/s",
        ),
        ledger.row(
            "ConvNet on the whole JPEG copy (published, lossless: 84.8)", [whole_accuracy(device, data, epochs)], "%"
        ),
    ]
    arguments = f"DATA --iterations {iterations}"
    ledger.write("gpu", rows, provenance(device), time.perf_counter() - start, arguments)
    common = [f"distill.iterations={iterations}", "device=cuda"]
    quality.main("published_cifar10.yaml", data, ["stream.dataset=image_folder", *common], None, None)
    if mnist is not None:
        quality.main("published_mnist.yaml", mnist, common, None, None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--iterations", type=int, default=20_000)
    arguments = parser.parse_args()
    main(arguments.data, arguments.mnist, arguments.iterations)
