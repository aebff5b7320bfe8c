"""The distillation loop: all classes of an experience in one batched step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from iid_cl.compute.arithmetic import measure
from iid_cl.compute.classifier import schedule_state
from iid_cl.config.distill import DistillConfig
from iid_cl.config.networks import is_address
from iid_cl.distill.draws import Draws, Sources, make_embedders
from iid_cl.distill.job import DistillJob
from iid_cl.distill.matching import OBJECTIVES, Objective, OwnObjective
from iid_cl.distill.sampling import ClassSampler
from iid_cl.distill.step import ImageStep
from iid_cl.distill.synthetic import SyntheticImages
from iid_cl.distill.trained import TrainedNetwork, add_soft_labels, train_networks
from iid_cl.distill.watch import Watch
from iid_cl.distill.workload import Workload
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.nets import build_network
from iid_cl.seeding import make_generator

REPORTS = 50  # how often the losses are read back to the host during one distillation


class DivergedError(UserError):
    """The synthetic images are NaN or infinite."""


class Distillation:
    """Runs a job: optimises the synthetic images of all its classes together."""

    def __init__(self, job: DistillJob) -> None:
        config, lens = job.config, job.lens
        self._job = job
        sampler = ClassSampler(job.classes, config.real_batch, lens, job.seed)
        self._images = SyntheticImages(job, sampler)
        probe = job.embedder
        if probe is None:
            probe = build_network(config.embedder, sampler.shape, 1, make_generator(0))
        cost = measure(probe.to(lens.device).eval(), sampler.shape, lens.device)
        work = Workload(
            config, job.iterations, cost, sampler.shape, sampler.classes, job.shown, lens, job.objective is not None
        )
        own = job.embedder is not None or job.objective is not None or is_address(config.embedder.name)
        self._arithmetic = work.arithmetic(own)
        trained = self._trained()
        self._teachers = trained if job.soft_labels else None
        pool = trained if job.centralizes else ()
        embedders = make_embedders(config, sampler, job.embedder, self._arithmetic, lens, job.seed)
        sources = Sources(embedders, self._objectives(cost.feature_bytes // 4), pool)
        self._draws = Draws(job.iterations, sampler, sources, job.seed, self._arithmetic.captures(lens.device))
        self._step = ImageStep(config, sampler, lens, self._arithmetic, work.chunk(pool[0] if pool else None))
        self._optimizer = torch.optim.SGD([self._images.pixels], lr=config.lr, momentum=config.momentum)
        self._schedule = _schedule(self._optimizer, config, job.iterations)
        self._iteration = 0

    def _trained(self) -> Sequence[TrainedNetwork]:
        """Networks for class centralization and soft labels: from the job if it brings any, else trained if needed."""
        job = self._job
        needed = (job.centralizes or job.soft_labels) and len(job.classes) > 1  # one class alone teaches nothing
        if job.trained or not needed:
            return job.trained
        return train_networks(job.classes, job.config.cc, job.lens, job.seed, self._arithmetic)

    def _objectives(self, features: int) -> Callable[[torch.Generator], Objective[Any]]:
        """The function that makes a draw's objective; ``features`` is the size D of a feature vector."""
        config, own = self._job.config, self._job.objective
        if own is not None:
            objective = OwnObjective(own)
            return lambda _: objective
        return lambda draws: OBJECTIVES[config.objective](config, features, draws)

    def run(self, watch: Watch, state: Mapping[str, Any] | None) -> ExemplarSet:
        """Runs all iterations, or the remaining ones after ``state``.

        Raises:
            DivergedError: images are NaN or infinite; noticed when losses are reported or a state is saved.
        """
        if state is None:
            self._snapshot(watch)
        else:
            self.load_state_dict(state)
        iterations = self._job.iterations
        if watch.on_start is not None and self._iteration < iterations:
            watch.on_start(len(self._job.classes), iterations)
        every = max(1, iterations // REPORTS)
        for draw in self._draws:
            read_back = self._images.read_back()
            terms = self._step.gradient(read_back, draw)
            self._images.pixels.grad = read_back.grad
            self._optimizer.step()
            self._images.settle(self._share())
            self._schedule.step()
            self._iteration += 1
            last = self._iteration == iterations
            if self._iteration % every == 0 or last:
                self._check_finite()
                if watch.on_step is not None:
                    watch.on_step(self._iteration, {name: float(term.mean()) for name, term in terms.items()})
            self._snapshot(watch)
            if watch.journal is not None and not last:
                watch.journal.keep(self.state_dict)
        return self.stored()

    def _share(self) -> float:
        """The step's share of the whole distillation; shares add up to 1 if the learning rate is constant."""
        return float(self._schedule.get_last_lr()[0]) / self._job.config.lr / self._job.iterations

    def _snapshot(self, watch: Watch) -> None:
        if watch.on_snapshot is not None and self._iteration in watch.moments(self._job.iterations):
            watch.on_snapshot(self._iteration, self.stored())

    def stored(self) -> ExemplarSet:
        """The images so far, as a memory."""
        job = self._job
        metadata = {
            "method": "distilled",
            "ipc": job.ipc,
            "distill": job.config.model_dump(mode="json"),
            "iterations_done": self._iteration,
            "arithmetic": self._arithmetic.label,
        }
        if job.objective is not None:
            metadata["own_objective"] = getattr(job.objective, "__name__", type(job.objective).__name__)
        memory = ExemplarSet.from_classes(self._images.by_class(), metadata, partition=job.config.factor)
        return memory if self._teachers is None else add_soft_labels(memory, self._teachers, job.lens)

    def _check_finite(self) -> None:
        broken = self._images.broken()
        if broken is not None:
            raise DivergedError(
                f"distill.lr: {self._job.config.lr} makes the images diverge (class {broken}, by iteration "
                f"{self._iteration}); use a smaller rate, or set distill.retry."
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the remaining iterations depend on, except what follows from the seed.

        Raises:
            DivergedError: the images are NaN or infinite, so there is nothing to resume from.
        """
        self._check_finite()
        return {
            "iteration": self._iteration,
            "lr": self._job.config.lr,
            "images": self._images.pixels.detach(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": schedule_state(self._schedule),
            "draws": self._draws.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resumes from ``state``."""
        with torch.no_grad():
            self._images.pixels.copy_(state["images"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._draws.load_state_dict(state["draws"])
        self._iteration = state["iteration"]


def _schedule(
    optimizer: torch.optim.Optimizer, config: DistillConfig, iterations: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if config.lr_schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
