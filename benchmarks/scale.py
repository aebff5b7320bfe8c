"""What a run of ImageNet-1k would cost, computed from measured rates.

    python -m benchmarks.scale            # rewrites the table of docs/scale.md
    python -m benchmarks.scale --check    # only says whether it is current

Nothing is run: operations and bytes are counted, and the ledger's rates on a GPU turn them into hours.
"""

import json
import sys
from dataclasses import dataclass
from functools import cache

import torch

from benchmarks import ledger
from benchmarks.machine import convnet_traffic
from iid_cl.compute.arithmetic import Cost, measure
from iid_cl.config.distill import DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.nets import build_network
from iid_cl.seeding import make_generator

PAGE = ledger.ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- computed: python -m benchmarks.scale -->\n", "<!-- end of computed -->"
HALF = 2  # bytes of a bfloat16
EMBEDDER = EmbedderConfig(width=128)  # as published, and as the rates were measured


@dataclass(frozen=True)
class Run:
    """A class-incremental run; the defaults are ImageNet-1k."""

    classes: int = 1000
    images: int = 1300  # of a class, the most that ImageNet-1k has
    side: int = 224
    experiences: int = 10
    ipc: int = 10
    iterations: int = 1000
    epochs: int = 10
    gpus: int = 8

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image."""
        return 3, self.side, self.side

    @property
    def image_bytes(self) -> int:
        """Of an image as uint8."""
        return 3 * self.side**2

    @property
    def total(self) -> int:
        """All training images."""
        return self.classes * self.images


def rate(name: str, figure: str) -> float:
    """A figure of the ledger whose name ends so."""
    rows = json.loads((ledger.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    (value,) = [one["value"] for one in rows if one["name"].endswith(figure)]
    return float(value)


@cache
def cost(config: NetworkConfig, shape: tuple[int, int, int], classes: int) -> Cost:
    """Operations and activations of an image, without computing any."""
    network = build_network(config, shape, classes, make_generator(0)).to("meta")
    return measure(network, shape, torch.device("meta"))


def step_seconds(run: Run, real_batch: int) -> float:
    """An iteration of one class on a GPU: its operations or bytes, at the share of the floor that was measured."""
    passes = real_batch + 3 * run.ipc  # synthetic images are passed back, which costs two forward passes
    flops = passes * cost(EMBEDDER, run.shape, 1).flops
    traffic = passes * convnet_traffic(EMBEDDER, run.shape, HALF)
    operations = 1e9 * rate("engine_cuda", "ceiling, matrix product")
    memory = 1e9 * rate("engine_cuda", "ceiling, copy")
    share = rate("engine_cuda", "share of the floor (operations or bytes)")
    return max(flops / operations, traffic / memory) / share


def learner_rate(run: Run) -> float:
    """Samples per second of the ResNet-18 on one GPU, by its operations."""
    network = NetworkConfig(name="resnet18", norm="batch")
    small, large = (cost(network, shape, run.classes).flops for shape in ((3, 32, 32), run.shape))
    return rate("training_cuda", "against Avalanche's loader") * small / large


def growth() -> dict[str, float]:
    """How many times an image of 64 pixels costs one of 32: by operations, by bytes, and measured by classes."""
    config = NetworkConfig(width=64)
    operations = cost(config, (3, 64, 64), 1).flops / cost(config, (3, 32, 32), 1).flops
    traffic = convnet_traffic(config, (3, 64, 64), HALF) / convnet_traffic(config, (3, 32, 32), HALF)
    return {"operations": operations, "bytes": traffic, **{
        str(classes): per_class(classes, 64) / per_class(classes, 32) for classes in (10, 200)
    }}  # fmt: skip


def per_class(classes: int, side: int) -> float:
    """Milliseconds of an iteration and class, as measured on a CPU."""
    return rate("scaling", f"{classes} classes, 10 images each, {side}x{side}: per iteration and class")


def rows(run: Run) -> list[tuple[str, str]]:
    """The figures of the page."""
    config = DistillConfig()
    one = cost(EMBEDDER, run.shape, 1)
    step = step_seconds(run, config.real_batch)
    alone = step * run.classes * run.iterations / 3600
    samples, seen = learner_rate(run), 2 * run.total * run.epochs  # half of a mini-batch comes from the memory
    grown = growth()
    return [
        ("an image of 64 pixels over one of 32: operations counted", f"{grown['operations']:.1f} times"),
        ("the same: bytes counted", f"{grown['bytes']:.1f} times"),
        ("the same: seconds measured, 10 and 200 classes, CPU",
         f"{grown['10']:.1f} and {grown['200']:.1f} times"),
        ("a class's seconds among 200 classes over those among 10, measured, CPU",
         f"{per_class(200, 32) / per_class(10, 32):.2f} times"),
        (f"ConvNet of {EMBEDDER.blocks(run.side, run.side)} blocks, forward pass of an image",
         f"{one.flops / 1e9:.1f} GFLOP, {convnet_traffic(EMBEDDER, run.shape, HALF) / 1e6:.0f} MB"),
        (f"an iteration of one class, {config.real_batch} real and {run.ipc} synthetic images",
         f"{1000 * step:.1f} ms"),
        (f"{run.iterations:,} iterations of {run.classes:,} classes on one GPU", f"{alone:.1f} h"),
        (f"the same, classes divided among {run.gpus} GPUs", f"{alone / run.gpus:.1f} h"),
        ("training images on each of them, uint8", f"{run.total * run.image_bytes / run.gpus / 1e9:.1f} GB"),
        ("the memory, uint8", f"{run.classes * run.ipc * run.image_bytes / 1e9:.2f} GB"),
        ("learner, ResNet-18 on one GPU", f"{samples:.0f} samples/s"),
        (f"learner, {run.epochs} epochs of each experience with as many images of the memory",
         f"{seen / samples / 3600:.0f} h"),
        ("to the device in each epoch over all classes, Avalanche's loader, float32",
         f"{4 * run.total * run.image_bytes / 1e9:.0f} GB"),
        ("to the device once, from memory, uint8", f"{run.total * run.image_bytes / 1e9:.0f} GB"),
        (f"on the device at a time, one of {run.experiences} experiences, uint8",
         f"{run.total * run.image_bytes / run.experiences / 1e9:.1f} GB"),
    ]  # fmt: skip


def table() -> str:
    """The page's table of ImageNet-1k."""
    lines = [f"| {name} | {value} |" for name, value in rows(Run())]
    return "\n".join(["| figure | value |", "|---|---:|", *lines, ""])


def update(text: str) -> str:
    """The page with the table as computed now."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def main() -> int:
    """Rewrites the page; with ``--check`` only says whether it is current."""
    text = PAGE.read_text(encoding="utf-8")
    stale = update(text) != text
    if stale and "--check" not in sys.argv:
        PAGE.write_text(update(text), encoding="utf-8")
    print("stale" if stale and "--check" in sys.argv else "rewritten" if stale else "current")
    return int(stale and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
