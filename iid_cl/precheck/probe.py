"""Estimates the duration of a run: times a few steps of each kind, with the run's shapes."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn import functional

from iid_cl.compute.classifier import predict
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, MethodName
from iid_cl.data.augmentation import augment_each
from iid_cl.data.images import ImageDataset
from iid_cl.distill.engine import distill
from iid_cl.distill.trained import TrainedNetwork
from iid_cl.methods.base import PlannedDistillation
from iid_cl.nets import build_network
from iid_cl.precheck.plan import Step
from iid_cl.seeding import make_generator

SECONDS = 0.5  # time for each kind of step, or four times as much for LEAST steps after the first, which may compile
LEAST = 3
MOST = 50
FEW = 2  # classes whose iterations are timed on a CPU, where twice as many take twice as long
EVAL_BATCH = 500
CC_BATCH = 64


@dataclass(frozen=True)
class Speed:
    """Seconds of a step, and ``first`` further seconds for what happens once, e.g. compiling; ``steps`` were timed."""

    step: float
    first: float
    steps: int


@dataclass(frozen=True)
class Estimate:
    """Seconds of a method's whole run by kind of work; without loading data and drawing pictures."""

    training: float
    evaluation: float
    condensing: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.training + self.evaluation + self.condensing


class _Enough(Exception):
    """Ends a distillation that has been timed."""


Known = dict[str, Speed]
"""Of kinds of steps that all methods of a run share."""


def estimate(
    config: Config,
    method: MethodName,
    dataset: ImageDataset,
    steps: list[Step],
    device: torch.device,
    known: Known | None = None,
) -> tuple[Estimate, dict[str, Speed]]:
    """Times a few updates, predictions and iterations, and multiplies them by what ``steps`` counts.

    Args:
        config: the whole configuration.
        method: of the run.
        dataset: its data.
        steps: its plan.
        device: where to time.
        known: takes what has been timed, for the next method of the same configuration.
    """
    known = {} if known is None else known
    if not known:
        known |= {"update": _update(config, dataset, device), "evaluation": _prediction(config, dataset, device)}
    speeds = dict(known)
    networks = config.train.networks if config.train.mode == "memory_only" else 1
    updates = sum(step.updates for step in steps) * networks
    batches = sum(-(-step.test_images // EVAL_BATCH) for step in steps) * networks
    condensing = condensing_seconds(config, method, dataset, steps, device, speeds)
    training = speeds["update"].first + updates * speeds["update"].step
    return Estimate(training, batches * speeds["evaluation"].step, condensing), speeds


def condensing_seconds(
    config: Config,
    method: MethodName,
    dataset: ImageDataset,
    steps: list[Step],
    device: torch.device,
    speeds: dict[str, Speed],
) -> float:
    """Seconds that a method takes to make its memories; adds what it has timed to ``speeds``."""
    condensing = 0.0
    for lossy, name in ((False, "iteration"), (True, "iteration in a lossy format")):
        planned = [(step, part) for step in steps for part in step.distillations if (part.lossy is not None) == lossy]
        if planned:
            speeds[name] = speed = _iteration(config, dataset, *planned[0], device)
            per_class = speed.step / planned[0][1].classes
            condensing += per_class * sum(part.classes * config.distill.length(part.count) for _, part in planned)
            condensing += speed.first * len(planned)
    trainings = _trainings(config, method)
    if trainings:
        network = config.distill.cc.network if METHODS[method].distils else config.model
        speeds["network update"] = _network_update(network, dataset, device)
        passes = sum(-(-step.train_images // CC_BATCH) for step in steps)
        condensing += trainings * config.distill.cc.epochs * passes * speeds["network update"].step
    if METHODS[method].needs_features and not trainings:
        if "evaluation" not in speeds:
            speeds["evaluation"] = _prediction(config, dataset, device)
        images = sum(step.train_images for step in steps)
        condensing += images / EVAL_BATCH * speeds["evaluation"].step
    return condensing


def _trainings(config: Config, method: MethodName) -> int:
    """Number of networks trained for each experience's memory."""
    if METHODS[method].distils and (config.distill.cc.weight > 0 or config.memory.soft_labels):
        return config.distill.cc.trainings
    trains = config.train.mode == "memory_only" and config.model.freeze == "none"
    return int(METHODS[method].needs_features and trains)


def _timed(step: Callable[[], object], device: torch.device) -> Speed:
    """Repeats a step until the median is reliable."""
    times: list[float] = []
    while not _enough(len(times) - 1, sum(times)):
        start = time.perf_counter()
        step()
        _wait(device)
        times.append(time.perf_counter() - start)
    return _speed(times[0], times[1:])


def _enough(steps: int, seconds: float) -> bool:
    """Whether ``steps`` after the first, in ``seconds`` with it, tell the speed."""
    if steps <= LEAST:
        return steps >= 1 and seconds >= 4 * SECONDS
    return seconds >= SECONDS or steps >= MOST


def _speed(first: float, later: list[float]) -> Speed:
    median = sorted(later)[len(later) // 2]
    return Speed(median, max(0.0, first - median), len(later))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _update(config: Config, dataset: ImageDataset, device: torch.device) -> Speed:
    """An update of the learner, replayed images included."""
    size = config.train.batch_size
    if config.train.mode == "replay":
        size += config.train.memory_batch_size or size
    names = dataset.augmentations if config.train.augment else ()
    return _network_update(config.model, dataset, device, size, names)


def judging_seconds(config: Config, dataset: ImageDataset, images: int, device: torch.device) -> float:
    """Seconds that the protocol takes to train its networks on a memory of ``images`` images, and to test them."""
    protocol, total = config.evaluate, 0.0
    for network in (protocol.network, *protocol.transfer):
        size = min(protocol.batch_size, images)
        update = _network_update(network, dataset, device, size, dataset.augmentations)
        prediction = _prediction(config.model_copy(update={"model": network}), dataset, device)
        epochs = protocol.epochs * -(-images // size) * update.step
        total += epochs + -(-len(dataset.test) // EVAL_BATCH) * prediction.step
    return total * protocol.networks


def _network_update(
    config: NetworkConfig,
    dataset: ImageDataset,
    device: torch.device,
    size: int = CC_BATCH,
    names: tuple[str, ...] | None = None,
) -> Speed:
    network = build_network(config, dataset.shape, len(dataset.class_names), make_generator(0), device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-9)
    rows = torch.arange(size) % len(dataset.train)
    images = dataset.normalization.apply(dataset.train.images[rows].to(device))
    labels = dataset.train.labels[rows].to(device)
    draws = make_generator(0)
    network.train()

    def step() -> None:
        batch = augment_each(images, dataset.augmentations if names is None else names, draws)
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(network(batch), labels).backward()
        optimizer.step()

    return _timed(step, device)


def _prediction(config: Config, dataset: ImageDataset, device: torch.device) -> Speed:
    network = build_network(config.model, dataset.shape, len(dataset.class_names), make_generator(0), device)
    rows = torch.arange(EVAL_BATCH) % len(dataset.test)
    images = dataset.normalization.apply(dataset.test.images[rows].to(device))
    return _timed(lambda: list(predict(network, images)), device)


def _iteration(
    config: Config, dataset: ImageDataset, step: Step, distillation: PlannedDistillation, device: torch.device
) -> Speed:
    """One of the run's distillations, ended after a few iterations; its networks are not really trained."""
    by_class = dataset.train.by_class()
    settings = distillation.config or config.distill
    independent = device.type == "cpu" and settings.embedder_source == "fresh"
    few = step.classes[:FEW] if independent else step.classes
    images, share = {c: by_class[c] for c in few}, len(step.classes) / len(few)
    count = min(distillation.count, *map(len, images.values()), 2**31)
    pool: list[TrainedNetwork] = []
    cc = settings.cc
    if cc.weight > 0:
        network = build_network(cc.network, dataset.shape, len(images), make_generator(0), device)
        pool = [TrainedNetwork(network.eval().requires_grad_(False), torch.ones(len(images), device=device))]
    times: list[float] = []

    def on_snapshot(iteration: int, _: object) -> None:
        _wait(device)
        times.append(time.perf_counter())
        if _enough(len(times) - 2, times[-1] - start):
            raise _Enough

    start = time.perf_counter()
    with suppress(_Enough):
        distill(
            images, settings, ipc=count, generator=make_generator(config.seed), device=device,
            normalization=dataset.normalization, augmentations=dataset.augmentations, trained=pool or None,
            precision=config.precision, compile=config.compile,
            as_stored=distillation.lossy,
            on_snapshot=on_snapshot, snapshots=range(settings.length(count) + 1),
        )  # fmt: skip
    if len(times) < 3:  # at most one iteration
        return Speed(share * (times[-1] - start) / max(1, len(times) - 1), 0.0, len(times) - 1)
    speed = _speed(times[1] - start, [end - begin for begin, end in pairwise(times[1:])])
    return Speed(share * speed.step, speed.first, speed.steps)
