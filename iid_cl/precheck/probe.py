"""How long things take here: a few steps of each kind with a run's own shapes, timed."""

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
from iid_cl.methods.judging import BATCH, TRIALS, UPDATES, trial_network
from iid_cl.nets import Network, build_network
from iid_cl.precheck.plan import Step
from iid_cl.seeding import make_generator

SECONDS = 2.0  # of each kind of step, if that is enough for LEAST of them
LEAST = 3
MOST = 50
EVAL_BATCH = 500
CC_BATCH = 64


@dataclass(frozen=True)
class Speed:
    """Seconds of a step, after ``first`` more for what happens once (compiling, say); ``steps`` were timed."""

    step: float
    first: float
    steps: int


@dataclass(frozen=True)
class Estimate:
    """Seconds of a method's whole run, by what they go into; data loading and pictures are left out."""

    training: float
    evaluation: float
    condensing: float

    @property
    def total(self) -> float:
        """Of everything."""
        return self.training + self.evaluation + self.condensing


class _Enough(Exception):
    """Ends a distillation that was only tried."""


def estimate(
    config: Config, method: MethodName, dataset: ImageDataset, steps: list[Step], device: torch.device
) -> tuple[Estimate, dict[str, Speed]]:
    """Times a few updates, predictions and iterations, and multiplies them by what ``steps`` counts."""
    speeds = {"update": _update(config, dataset, device), "evaluation": _prediction(config, dataset, device)}
    networks = config.train.networks if config.train.mode == "memory_only" else 1
    updates = sum(step.updates for step in steps) * networks
    batches = sum(-(-step.test_images // EVAL_BATCH) for step in steps) * networks
    condensing = 0.0
    for lossy, name in ((False, "iteration"), (True, "JPEG iteration")):
        each = [(step, one) for step in steps for one in step.distillations if (one.lossy is not None) == lossy]
        if each:
            speeds[name] = speed = _iteration(config, dataset, *each[0], device)
            per_class = speed.step / each[0][1].classes
            condensing += config.distill.iterations * per_class * sum(one.classes for _, one in each)
            condensing += speed.first * len(each)
    judged = sum(step.judged for step in steps)
    if judged:
        judge = trial_network(config.distill.embedder)
        speeds["trial update"] = speed = _network_update(judge, dataset, device, BATCH)
        condensing += judged * TRIALS * UPDATES * speed.step
    trainings = _trainings(config, method)
    if trainings:
        network = config.distill.cc.network if METHODS[method].distils else config.model
        speeds["network update"] = _network_update(network, dataset, device)
        passes = sum(-(-step.train_images // CC_BATCH) for step in steps)
        condensing += trainings * config.distill.cc.epochs * passes * speeds["network update"].step
    if METHODS[method].needs_features and not trainings:
        images = sum(step.train_images for step in steps)
        condensing += images / EVAL_BATCH * speeds["evaluation"].step
    training = speeds["update"].first + updates * speeds["update"].step
    return Estimate(training, batches * speeds["evaluation"].step, condensing), speeds


def _trainings(config: Config, method: MethodName) -> int:
    """Networks trained for each experience's memory."""
    if METHODS[method].distils and (config.distill.cc.weight > 0 or config.memory.soft_labels):
        return config.distill.cc.trainings
    return int(METHODS[method].needs_features and config.train.mode == "memory_only")


def _timed(step: Callable[[], object], device: torch.device) -> Speed:
    """Repeats a step until that tells something."""
    times: list[float] = []
    while len(times) <= LEAST or (sum(times[1:]) < SECONDS and len(times) <= MOST):
        start = time.perf_counter()
        step()
        _wait(device)
        times.append(time.perf_counter() - start)
    rest = sorted(times[1:])
    usual = rest[len(rest) // 2]
    return Speed(usual, max(0.0, times[0] - usual), len(rest))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _update(config: Config, dataset: ImageDataset, device: torch.device) -> Speed:
    """An update of the learner: current images and replayed ones, or the memory's."""
    size = config.train.batch_size
    if config.train.mode == "replay":
        size += config.train.memory_batch_size or size
    names = dataset.augmentations if config.train.augment else ()
    return _network_update(config.model, dataset, device, size, names)


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
    """One of the run's own distillations, left after a few iterations; networks trained for it are made up."""
    by_class = dataset.train.by_class()
    images = {c: by_class[c] for c in step.classes}
    count = min(distillation.count, *(len(each) for each in images.values()), 2**31)
    pool: list[TrainedNetwork] = []
    if config.distill.cc.weight > 0:
        network: Network = build_network(
            config.distill.cc.network, dataset.shape, len(images), make_generator(0), device
        )
        pool = [TrainedNetwork(network.eval().requires_grad_(False), torch.ones(len(images), device=device))]
    times: list[float] = []

    def look(iteration: int, _: object) -> None:
        _wait(device)
        times.append(time.perf_counter())
        done = len(times) - 1
        if done > LEAST and (times[-1] - times[1] > SECONDS or done > MOST):
            raise _Enough

    start = time.perf_counter()
    with suppress(_Enough):
        distill(
            images, config.distill, ipc=count, generator=make_generator(config.seed), device=device,
            normalization=dataset.normalization, augmentations=dataset.augmentations, trained=pool or None,
            precision=config.precision, compile=config.compile,
            as_stored=distillation.lossy,
            on_snapshot=look, snapshots=range(config.distill.iterations + 1),
        )  # fmt: skip
    if len(times) < 3:  # of two iterations or fewer
        return Speed((times[-1] - start) / max(1, len(times) - 1), 0.0, len(times) - 1)
    between = sorted(later - before for before, later in pairwise(times[1:]))
    usual = between[len(between) // 2]
    return Speed(usual, max(0.0, times[1] - start - usual), len(between))
