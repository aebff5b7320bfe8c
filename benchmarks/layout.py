"""How channels lie in memory on a CPU: contiguous against channels-last, one thread, five rounds side by side.

    python -m benchmarks.layout

A step of training (16 images of 32x32, cross-entropy, no optimizer) and the passes of a distillation (a frozen network,
gradients of the images). Writes ``results/layout.json``.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks import ledger
from iid_cl.config.distill import NetworkConfig
from iid_cl.nets import build_network
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

LAYOUTS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}
NETWORKS = {
    "ConvNet, width 32, instance norm": NetworkConfig(width=32),
    "ConvNet, width 128, instance norm": NetworkConfig(),
    "ResNet-18, batch norm": NetworkConfig(name="resnet18", norm="batch"),
}


def main(rounds: int = 5, images: int = 16, name: str | None = "layout") -> list[dict[str, Any]]:
    """Measures and writes the ledger; the arguments shrink it for a test, with ``name=None`` it writes nothing."""
    began, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    try:
        for label, config in NETWORKS.items():
            for work in ("training", "distilling"):
                steps = {layout: _step(config, images, form, work) for layout, form in LAYOUTS.items()}
                times: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
                for number in range(rounds + 1):
                    for layout, step in steps.items():
                        start = time.process_time()
                        step()
                        if number:  # the first warms up
                            times[layout].append(1000 * (time.process_time() - start))
                before, after = (median(times[layout]) for layout in LAYOUTS)
                figure = f"{label}, {work}: contiguous over channels-last"
                rows.append(ledger.row(figure, [after], "ms", baseline=before, ratio=before / after))
    finally:
        torch.set_num_threads(threads)
    if name is not None:
        ledger.write(name, rows, provenance(torch.device("cpu")), time.perf_counter() - began)
    return rows


def _step(config: NetworkConfig, count: int, layout: torch.memory_format, work: str) -> Callable[[], None]:
    draws = make_generator(0, "layout")
    network = build_network(config, (3, 32, 32), 10, draws).to(memory_format=layout)
    images = torch.randn(count, 3, 32, 32, generator=draws).contiguous(memory_format=layout)
    labels = torch.randint(10, (count,), generator=draws)
    if work == "distilling":
        network.eval().requires_grad_(False)

    def step() -> None:
        if work == "training":
            cross_entropy(network(images), labels).backward()
        else:
            network.embed(images.clone().requires_grad_()).sum().backward()

    return step


if __name__ == "__main__":
    for row in main():
        print(f"{row['name']}: {row['value']:.0f} ms, ratio {row['ratio']:.2f}")
