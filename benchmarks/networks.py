"""Five networks trained on one memory: one after the other, side by side, and in one batched pass.

    python -m benchmarks.networks [--width 32] [--rounds 5] [--networks 5] [--images 64] [--parallel]
    python -m benchmarks.networks --gpu

A step of SGD of each network on augmented images of 32x32, with the published ConvNet. The ways take turns, after a
warm-up that does not count. "Compiled" is the step of ``compile: true``. The ways that differ in their arithmetic are
compared in processor time of one thread, which says the same on a busy machine; ``--parallel`` adds threads and
processes by the clock, which needs an idle one. Writes ``results/networks_WIDTH.json``, or
``results/networks_cuda.json``.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import ledger
from benchmarks.machine import synchronize
from iid_cl.compute.arithmetic import EAGER, Arithmetic
from iid_cl.compute.devices import resolve_device
from iid_cl.compute.sgd_step import SgdStep
from iid_cl.config.distill import NetworkConfig
from iid_cl.data.augmentation import Parameters, augment, draw_each
from iid_cl.nets import Network, build_network
from iid_cl.nets.base import InstanceNorm
from iid_cl.records.provenance import provenance
from iid_cl.seeding import make_generator

SHAPE, CLASSES = (3, 32, 32), 10
NAMES = ("color", "crop", "cutout", "flip", "scale", "rotate")
Inputs = tuple[Tensor, Tensor, Parameters]  # images, labels, augmentations of a network's step
OneStep = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """What is trained: networks of a width, on mini-batches of ``count`` images."""

    networks: int = 5
    width: int = 32
    count: int = 64
    device: torch.device = torch.device("cpu")  # noqa: RUF009, it cannot be changed

    def inputs(self, number: int) -> Inputs:
        """A mini-batch of network ``number``."""
        draws, count = make_generator(0, "batch", number), self.count
        images, labels = torch.randn(count, *SHAPE, generator=draws), torch.randint(CLASSES, (count,), generator=draws)
        parameters = draw_each(count, NAMES, SHAPE[1:], draws, self.device)
        return images.to(self.device), labels.to(self.device), parameters

    def network(self, number: int) -> Network:
        """Network ``number``, in training mode."""
        config, weights = NetworkConfig(width=self.width), make_generator(0, "network", number)
        return build_network(config, SHAPE, CLASSES, weights, self.device)

    def all_networks(self) -> list[Network]:
        """All of them."""
        return [self.network(number) for number in range(self.networks)]

    def joined(self) -> Inputs:
        """The mini-batches of all networks, one behind the other."""
        images, labels, parameters = zip(*(self.inputs(number) for number in range(self.networks)), strict=True)
        tensors = zip(*(one.tensors for one in parameters), strict=True)
        return torch.cat(images), torch.cat(labels), Parameters(*(torch.cat(each) for each in tensors))

    def shown(self, images: Tensor, parameters: Parameters) -> Tensor:
        """All networks' images (N, B, C, H, W), augmented in one call."""
        return augment(images[:, None], parameters).view(self.networks, self.count, *SHAPE)


def sgd(parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The optimizer of the published protocol."""
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)


def single(case: Case, number: int, arithmetic: Arithmetic = EAGER) -> OneStep:
    """A step of one network; on a GPU it is recorded and replayed."""
    network, inputs = case.network(number), case.inputs(number)
    return partial(SgdStep(network, sgd(list(network.parameters())), arithmetic), *inputs)


def each(case: Case, arithmetic: Arithmetic = EAGER) -> list[OneStep]:
    """A step of each network."""
    return [single(case, number, arithmetic) for number in range(case.networks)]


def vmapped(case: Case) -> OneStep:
    """A step of all networks by ``torch.func.vmap``."""
    networks = case.all_networks()
    parameters, buffers = torch.func.stack_module_state(networks)  # type: ignore[arg-type]  # a list of modules
    optimizer, (images, labels, draws) = sgd(list(parameters.values())), case.joined()
    targets = labels.view(case.networks, case.count)

    def loss(one: dict[str, Tensor], more: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(networks[0], (one, more), (images,)), labels)

    def step() -> None:
        optimizer.zero_grad()
        torch.func.vmap(loss)(parameters, buffers, case.shown(images, draws), targets).sum().backward()
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


def grouped(case: Case, layout: torch.memory_format) -> OneStep:
    """A step of all networks as one with grouped convolutions."""
    network = Grouped(case.all_networks()).to(case.device, memory_format=layout)
    optimizer, (images, labels, draws) = sgd(list(network.parameters())), case.joined()

    def step() -> None:
        optimizer.zero_grad()
        scores = network(case.shown(images, draws))
        functional.cross_entropy(scores.flatten(0, 1), labels, reduction="sum").div(case.count).backward()
        optimizer.step()

    return step


_STEPS: dict[tuple[Case, int], OneStep] = {}  # of a worker process


def _in_process(case: Case, number: int) -> None:
    if (case, number) not in _STEPS:
        _STEPS[case, number] = single(case, number)
    _STEPS[case, number]()


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


def by_arithmetic(case: Case, compiling: bool) -> dict[str, OneStep]:
    """The ways that differ in their arithmetic."""
    ways = {
        "one after the other": in_turn(each(case)),
        "vmap": vmapped(case),
        "grouped convolutions": grouped(case, torch.contiguous_format),
        "grouped convolutions, channels-last": grouped(case, torch.channels_last),
    }
    if compiling:
        ways |= {"compiled, one after the other": in_turn(each(case, Arithmetic(compiled=True)))}
    return ways


def by_cores(case: Case, cores: int, stack: ExitStack) -> dict[str, OneStep]:
    """The ways that differ in what runs at the same time."""
    one_thread: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (1,)}
    threads = stack.enter_context(ThreadPoolExecutor(cores, **one_thread))
    processes = stack.enter_context(ProcessPoolExecutor(cores, mp_context=get_context("spawn"), **one_thread))
    return {
        "one after the other": in_turn(each(case)),
        "threads": spread(threads, each(case)),
        "processes": spread(processes, [partial(_in_process, case, number) for number in range(case.networks)]),
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


def on_cpu(
    case: Case, rounds: int = 5, compiling: bool = True, parallel: bool = False, name: str | None = "networks"
) -> list[dict[str, Any]]:
    """Measures on the CPU; with ``name=None`` it writes nothing."""
    began, cores = time.perf_counter(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        times = take_turns(by_arithmetic(case, compiling), rounds, time.process_time)
    finally:
        torch.set_num_threads(cores)
    rows = rows_of(times, f"width {case.width}, processor time of one thread")
    if parallel:
        with ExitStack() as stack:
            times = take_turns(by_cores(case, cores, stack), rounds, time.perf_counter)
        rows += rows_of(times, f"width {case.width}, {cores} cores")
    if name is not None:
        arguments = f"--width {case.width} --rounds {rounds} --networks {case.networks} --images {case.count}"
        arguments += " --parallel" * parallel
        origin = provenance(case.device)
        file = f"{name}_{case.width}"
        ledger.write(file, rows, origin, time.perf_counter() - began, arguments, module="networks")
    return rows


def on_gpu(rounds: int = 5, case: Case | None = None, name: str | None = "networks_cuda") -> list[dict[str, Any]]:
    """The ways that differ in their arithmetic, on a GPU; nothing where there is none.

    There, one after the other means recorded steps in float32, whose launches cost nothing.
    """
    if not torch.cuda.is_available():
        print("on a GPU: not measured, no CUDA device")
        return []
    began, device = time.perf_counter(), resolve_device("cuda")
    rows: list[dict[str, Any]] = []
    for width in (32, 128):
        here = case or Case(width=width, device=device)

        def clock(device: torch.device = here.device) -> float:
            synchronize(device)
            return time.perf_counter()

        rows += rows_of(take_turns(by_arithmetic(here, compiling=case is None), rounds, clock), f"width {width}")
        if name is not None:
            ledger.write(name, rows, provenance(device), time.perf_counter() - began, "--gpu", module="networks")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for key, value in (("width", 32), ("rounds", 5), ("networks", 5), ("images", 64)):
        parser.add_argument(f"--{key}", type=int, default=value)
    parser.add_argument("--parallel", action="store_true", help="also ways that need all cores, on an idle machine")
    parser.add_argument("--gpu", action="store_true", help="on a GPU, both widths")
    given = parser.parse_args()
    case = Case(given.networks, given.width, given.images)
    measured = on_gpu(given.rounds) if given.gpu else on_cpu(case, given.rounds, parallel=given.parallel)
    for one in measured:
        print(f"{one['name']}: {one['value']:.0f} ms" + (f", ratio {one['ratio']:.2f}" if "ratio" in one else ""))
