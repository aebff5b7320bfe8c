"""Five networks trained on one memory: one after the other, side by side, and in one batched pass.

    python -m benchmarks.networks [--width 32] [--rounds 5] [--networks 5] [--images 64] [--parallel]

A step of SGD of each network on augmented images of 32x32, with the published ConvNet. The ways take turns, after a
warm-up that does not count. "Compiled" is the step of ``compile: true``. The ways that differ in their arithmetic are
compared in processor time of one thread, which says the same on a busy machine; ``--parallel`` adds threads and
processes by the clock, which needs an idle one. Writes ``results/networks_WIDTH.json``.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import ledger
from iid_cl.compute.arithmetic import EAGER, Arithmetic
from iid_cl.compute.sgd_step import SgdStep
from iid_cl.config.distill import NetworkConfig
from iid_cl.data.augmentation import Parameters, augment, draw_each
from iid_cl.nets import build_network
from iid_cl.nets.base import InstanceNorm
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

SHAPE, CLASSES = (3, 32, 32), 10
NAMES = ("color", "crop", "cutout", "flip", "scale", "rotate")
Inputs = tuple[Tensor, Tensor, Parameters]  # images, labels, augmentations of a network's step
OneStep = Callable[[], None]


def inputs_of(number: int, count: int) -> Inputs:
    """A mini-batch of network ``number``."""
    draws = make_generator(0, "batch", number)
    images, labels = torch.randn(count, *SHAPE, generator=draws), torch.randint(CLASSES, (count,), generator=draws)
    return images, labels, draw_each(count, NAMES, SHAPE[1:], draws, images.device)


def network_of(number: int, width: int) -> nn.Module:
    """Network ``number``, in training mode."""
    return build_network(NetworkConfig(width=width), SHAPE, CLASSES, make_generator(0, "network", number))


def sgd(parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The optimizer of the published protocol."""
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)


def single(number: int, width: int, count: int, arithmetic: Arithmetic = EAGER) -> OneStep:
    """A step of one network."""
    network, inputs = network_of(number, width), inputs_of(number, count)
    step: Any = SgdStep(network, sgd(list(network.parameters())), arithmetic)
    return partial(step, *inputs)


def joined(numbers: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """All networks' images (N, B, C, H, W), augmented in one call, and their labels (N, B)."""
    images, labels, parameters = zip(*(inputs_of(number, count) for number in numbers), strict=True)
    tensors = zip(*(one.tensors for one in parameters), strict=True)
    shown = augment(torch.cat(images)[:, None], Parameters(*(torch.cat(each) for each in tensors)))
    return shown.view(len(numbers), count, *SHAPE), torch.stack(labels)


def vmapped(numbers: Sequence[int], width: int, count: int) -> OneStep:
    """A step of all networks by ``torch.func.vmap``."""
    networks = [network_of(number, width) for number in numbers]
    parameters, buffers = torch.func.stack_module_state(networks)
    optimizer = sgd(list(parameters.values()))
    skeleton = networks[0]

    def loss(one: dict[str, Tensor], more: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(skeleton, (one, more), (images,)), labels)

    def step() -> None:
        optimizer.zero_grad()
        torch.func.vmap(loss)(parameters, buffers, *joined(numbers, count)).sum().backward()
        optimizer.step()

    return step


class Grouped(nn.Module):
    """N ConvNets as one: N times the channels, of which each network's form a group of the convolutions."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(networks)
        blocks: list[nn.Module] = []
        for layers in zip(*(network.blocks for network in networks), strict=True):  # type: ignore[call-overload]
            layer = layers[0]
            if isinstance(layer, nn.Conv2d):
                channels = self.count * layer.in_channels, self.count * layer.out_channels
                layer = nn.Conv2d(*channels, 3, padding=1, groups=self.count)
            elif isinstance(layer, InstanceNorm):
                layer = InstanceNorm(self.count * layer.num_channels)
            for name, parameter in layer.named_parameters():
                parameter.data = torch.cat([getattr(one, name).detach() for one in layers])
            blocks.append(layer)
        self.blocks = nn.Sequential(*blocks)
        self.weight = nn.Parameter(torch.stack([network.classifier.weight.detach().T for network in networks]))
        self.bias = nn.Parameter(torch.stack([network.classifier.bias.detach() for network in networks]))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, B, K) of images (N, B, c, H, W)."""
        count = images.shape[1]
        features = self.blocks(images.transpose(0, 1).flatten(1, 2))
        features = features.reshape(count, self.count, -1).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], features, self.weight)


def grouped(numbers: Sequence[int], width: int, count: int, layout: torch.memory_format) -> OneStep:
    """A step of all networks as one with grouped convolutions."""
    network = Grouped([network_of(number, width) for number in numbers]).to(memory_format=layout)
    optimizer = sgd(list(network.parameters()))

    def step() -> None:
        optimizer.zero_grad()
        images, labels = joined(numbers, count)
        scores = network(images)
        functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="sum").div(count).backward()
        optimizer.step()

    return step


_STEPS: dict[tuple[int, int, int], OneStep] = {}  # of a worker process


def _in_process(number: int, width: int, count: int) -> None:
    key = number, width, count
    _STEPS.setdefault(key, single(*key))()


def spread(pool: Executor, steps: Sequence[OneStep]) -> OneStep:
    """All steps, by the pool's workers."""

    def step() -> None:
        for done in [pool.submit(one) for one in steps]:
            done.result()

    return step


def in_turn(steps: Sequence[OneStep]) -> OneStep:
    """All steps, one after the other."""

    def step() -> None:
        for one in steps:
            one()

    return step


def on_one_core(numbers: Sequence[int], width: int, count: int, compiling: bool) -> dict[str, OneStep]:
    """The ways that differ in their arithmetic."""
    ways = {
        "one after the other": in_turn([single(number, width, count) for number in numbers]),
        "vmap": vmapped(numbers, width, count),
        "grouped convolutions": grouped(numbers, width, count, torch.contiguous_format),
        "grouped convolutions, channels-last": grouped(numbers, width, count, torch.channels_last),
    }
    if compiling:
        compiled = [single(number, width, count, Arithmetic(compiled=True)) for number in numbers]
        ways |= {"compiled, one after the other": in_turn(compiled)}
    return ways


def on_all_cores(numbers: Sequence[int], width: int, count: int, cores: int, stack: ExitStack) -> dict[str, OneStep]:
    """The ways that differ in what runs at the same time."""
    eager = [single(number, width, count) for number in numbers]
    one_thread: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (1,)}
    threads = stack.enter_context(ThreadPoolExecutor(cores, **one_thread))
    processes = stack.enter_context(ProcessPoolExecutor(cores, mp_context=get_context("spawn"), **one_thread))
    return {
        "one after the other": in_turn(eager),
        "threads": spread(threads, eager),
        "processes": spread(processes, [partial(_in_process, number, width, count) for number in numbers]),
    }


def take_turns(ways: dict[str, OneStep], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each way's rounds; one more round, the first, does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, step in ways.items():
            start = clock()
            step()
            if turn:
                times[name].append(clock() - start)
    return times


def rows_of(times: dict[str, list[float]], what: str) -> list[dict[str, Any]]:
    """A row per way: the median, and how many times as fast as the first way it is, round by round."""
    base, rows = next(iter(times.values())), []
    for name, values in times.items():
        ratio = median(other / own for own, other in zip(values, base, strict=True))
        more = {} if values is base else {"baseline": median(base), "ratio": ratio}
        rows.append(ledger.row(f"{what}: {name}", [1000 * median(values)], "ms", **more))
    return rows


def main(
    width: int = 32,
    rounds: int = 5,
    networks: int = 5,
    count: int = 64,
    compiling: bool = True,
    parallel: bool = False,
    name: str | None = "networks",
) -> list[dict[str, Any]]:
    """Measures; the arguments shrink it for a test, and with ``name=None`` it writes nothing."""
    began, cores, numbers = time.perf_counter(), torch.get_num_threads(), range(networks)
    try:
        torch.set_num_threads(1)
        times = take_turns(on_one_core(numbers, width, count, compiling), rounds, time.process_time)
    finally:
        torch.set_num_threads(cores)
    rows = rows_of(times, f"width {width}, processor time of one thread")
    if parallel:
        with ExitStack() as stack:
            times = take_turns(on_all_cores(numbers, width, count, cores, stack), rounds, time.perf_counter)
        rows += rows_of(times, f"width {width}, {cores} cores")
    if name is not None:
        arguments = f"--width {width} --rounds {rounds} --networks {networks} --images {count}"
        arguments += " --parallel" * parallel
        origin = provenance(torch.device("cpu"))
        ledger.write(f"{name}_{width}", rows, origin, time.perf_counter() - began, arguments, module="networks")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--parallel", action="store_true", help="also ways that need all cores, on an idle machine")
    given = parser.parse_args()
    for one in main(given.width, given.rounds, given.networks, given.images, parallel=given.parallel):
        print(f"{one['name']}: {one['value']:.0f} ms" + (f", ratio {one['ratio']:.2f}" if "ratio" in one else ""))
