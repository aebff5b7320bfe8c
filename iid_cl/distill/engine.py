"""The distillation loop: all classes of an experience in one batched step."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor

from iid_cl.compute.arithmetic import Arithmetic, Cost, choose, classes_per_chunk, measure
from iid_cl.compute.classifier import schedule_state
from iid_cl.config.distill import DistillConfig
from iid_cl.data.classes import Classes
from iid_cl.data.images import Normalization
from iid_cl.data.lens import Lens
from iid_cl.distill.draws import Draws, Sources, make_embedders
from iid_cl.distill.job import DistillJob, LossyFormat
from iid_cl.distill.journal import Journal
from iid_cl.distill.matching import OBJECTIVES, MatchingLoss, Objective, OwnObjective
from iid_cl.distill.plateau import Plateau, hold_out
from iid_cl.distill.sampling import ClassSampler
from iid_cl.distill.step import ImageStep
from iid_cl.distill.trained import TrainedNetwork, add_soft_labels, train_networks
from iid_cl.distill.watch import OnSnapshot, OnStep, Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.partition import pack
from iid_cl.nets import Network, build_network
from iid_cl.seeding import draw_seed, make_generator

REPORTS = 50  # how often the losses are read back to the host during one distillation


class DistillOptions(TypedDict, total=False):
    """What :func:`distill` takes besides, see there."""

    weights: Mapping[int, Tensor]
    start: Mapping[int, Tensor] | None
    as_stored: LossyFormat | None
    embedder: Network | None
    objective: MatchingLoss | None
    trained: Sequence[TrainedNetwork] | None
    soft_labels: bool
    on_step: OnStep | None
    on_snapshot: OnSnapshot | None
    snapshots: Collection[int]
    journal: Journal | None


def distill(
    images_by_class: Mapping[int, Tensor],
    config: DistillConfig,
    *,
    ipc: int,
    generator: torch.Generator,
    device: torch.device | str,
    normalization: Normalization,
    augmentations: Sequence[str] = (),
    **options: Unpack[DistillOptions],
) -> ExemplarSet:
    """Condenses each class into ``ipc`` stored images by matching feature distributions.

    With fresh embedders no class's images depend on another's: a class distilled alone comes out as among
    others. Networks trained on the experience (for class centralization, or a queue of embedders) tie them.

    Args:
        images_by_class: uint8 images (n_c, C, H, W) of each class of the current experience, all of one shape.
        config: objective, weights, iterations, embedder.
        ipc: images per class to store, at most n_c.
        generator: source of all randomness; one number is drawn from it.
        device: where to compute.
        normalization: what networks see; images are optimised in this space.
        augmentations: transformations to draw from where the configuration names none.
        weights: how many images each image of a class stands for, (n_c,) floating point; classes that are left out
            hold images that stand for themselves.
        start: what the images start from, uint8 (m_c, C, H, W) of each class: the first ones, again where there are
            fewer than needed (with a partition each stored image shows several). By default random ones of the class.
        as_stored: the lossy format that the images will be stored in: losses are those of the images as read back, and
            their gradients move the images as if nothing had been lost (the straight-through estimator, Bengio, Léonard
            and Courville 2013). After each step their changes so far become sparser, so that they cost as few bytes as
            what they started from.
        embedder: a network of your own in place of ``config.embedder``, drawn afresh in each iteration, see
            :class:`iid_cl.nets.NamedLayer`; it moves to ``device`` and its weights are frozen.
        objective: a matching loss of your own in place of ``config.objective``'s; all else is as configured. In the
            relative scale the learning rate expects it in units of the real features' spread, see
            :func:`iid_cl.distill.objectives.spread`. Early stopping watches the means' distance all the same.
        trained: networks for class centralization and soft labels; without any they are trained here as
            ``config.cc`` says.
        soft_labels: store with each decoded image the class probabilities that the trained networks see in it.
        on_step: called now and then with the iteration (from 1) and the mean loss terms per class.
        on_snapshot: called with the iteration and the images so far, at each iteration of ``snapshots``; 0 stands
            for the images at the start, and the number of all iterations for those at the end, however early it comes.
            The schedule is that of all iterations.
        journal: takes the state of the distillation where it wants it, and gives back that of an interrupted one.

    Returns:
        The exemplars as stored, uint8; their metadata say after how many iterations, and by which arithmetic.

    Raises:
        UserError: no classes, a class without images or with fewer than ``ipc``, a ``start`` that lacks a class or
            has images of another kind, images that diverge, or an embedder of your own where the configuration asks
            for a queue.
    """
    job = DistillJob(
        Classes(images_by_class, options.get("weights") or {}, options.get("start")),
        ipc,
        config,
        Lens(normalization, tuple(augmentations), torch.device(device)),
        draw_seed(generator),
        options.get("as_stored"),
        options.get("embedder"),
        options.get("objective"),
        options.get("trained") or (),
        options.get("soft_labels", False),
    )
    return run_job(
        job,
        Watch(options.get("on_step"), options.get("on_snapshot"), options.get("snapshots", ()), options.get("journal")),
    )


def run_job(job: DistillJob, watch: Watch) -> ExemplarSet:
    """Condenses each class of a job, see :func:`distill`; goes on where the watch's journal has an interrupted one.

    Raises:
        UserError: see :func:`distill`.
    """
    _check(job.classes.images, job.ipc)
    if job.classes.start is not None:
        _check_start(job.classes.start, job.classes.images)
    journal = watch.journal
    finished = None if journal is None else journal.finished()
    if finished is not None:
        return finished
    kept = None if journal is None else journal.under_way()
    slower = None if job.config.retry is None else job.slower(job.config.retry)
    if slower is not None and kept is not None and kept["lr"] == slower.config.lr:
        memory = Distillation(slower).run(watch, kept)
    else:
        try:
            memory = Distillation(job).run(watch, kept)
        except DivergedError:
            if slower is None:
                raise
            memory = Distillation(slower).run(watch, None)
    if journal is not None:
        journal.finish(memory)
    return memory


class DivergedError(UserError):
    """Synthetic images that are no longer finite."""


class Distillation:
    """Synthetic images of all classes of a job on their way."""

    def __init__(self, job: DistillJob) -> None:
        config, ipc, seed, classes, lens = job.config, job.ipc, job.seed, job.classes, job.lens_in_force
        device, normalization = lens.device, lens.normalization
        embedder, objective, trained = job.embedder, job.objective, job.trained
        self._config, self._ipc, self._lens, self._normalization = config, ipc, lens, normalization
        self._objective, self._as_stored = objective, job.as_stored
        held_out: dict[int, Tensor] = {}
        if config.early_stopping.patience is not None:
            weights = hold_out(classes.weights, seed)[0]  # the same images: the draw depends on the number
            rest, held_out = hold_out(classes.images, seed)
            classes = Classes(rest, weights, classes.start)
            _check(classes.images, ipc)
        self._classes = sorted(classes.images)
        representative = config.sampling == "representative"
        sampler = ClassSampler(classes, config.real_batch, lens, seed, representative)
        shown = ipc * config.factor**2
        start = classes.start
        real = lens.show(sampler.initial(shown) if start is None else _first(start, self._classes, shown))
        self.synthetic: Tensor = pack(real.flatten(0, 1), config.factor).unflatten(0, (len(real), ipc)).requires_grad_()
        self._black, self._white = normalization.limits(device)
        with torch.no_grad():
            self.synthetic.clamp_(self._black, self._white)
        self._start = self.synthetic.detach().clone() if job.as_stored is not None else None

        # A single image has no deviation from its class mean. One class alone gives a network nothing to learn.
        self._use_cc = config.cc.weight > 0 and ipc * config.factor > 1 and config.iterations > 0
        probe = embedder
        if probe is None:
            probe = build_network(config.embedder, sampler.shape, 1, make_generator(0))
        cost = measure(probe.to(device), sampler.shape, device)
        own = embedder is not None or objective is not None
        self._arithmetic = _arithmetic(config, cost, sampler, shown, device, own)
        if not trained and (self._use_cc or job.soft_labels) and len(classes) > 1:
            trained = train_networks(classes, config.cc, lens, seed, self._arithmetic)
        self._teachers = trained if job.soft_labels else None
        pool = trained if self._use_cc else ()
        embedders = make_embedders(config, sampler, embedder, self._arithmetic, lens, seed)
        in_place = self._arithmetic.captures(device)
        features = cost.feature_bytes // 4

        def objective_of(draws: torch.Generator) -> Objective[Any]:
            own = job.objective
            return OBJECTIVES[config.objective](config, features, draws) if own is None else OwnObjective(own)

        self._draws = Draws(config, sampler, Sources(embedders, objective_of, pool), seed, in_place)
        chunk = _chunk(config, cost, sampler, shown, pool, device)
        self._step = ImageStep(config, sampler, lens, self._arithmetic, chunk)
        self._plateau = Plateau(held_out, config, seed, lens, job.embedder) if held_out else None
        self._optimizer = torch.optim.SGD([self.synthetic], lr=config.lr, momentum=config.momentum)
        self._schedule = _schedule(self._optimizer, config)
        self._iteration = 0

    def run(self, watch: Watch, kept: Mapping[str, Any] | None) -> ExemplarSet:
        """All iterations, or those after the state ``kept``.

        Raises:
            DivergedError: images are not finite any more; found when losses are reported or a state is kept.
        """
        config, every = self._config, max(1, self._config.iterations // REPORTS)

        def snapshot() -> None:
            asked = self._iteration in watch.snapshots or (last and config.iterations in watch.snapshots)
            if watch.on_snapshot is not None and asked:
                watch.on_snapshot(self._iteration, self.stored())

        last = False
        if kept is None:
            snapshot()
        else:
            self.load_state_dict(kept)
        drawn = iter(self._draws)
        last = self._iteration >= config.iterations
        while not last:
            if self._iteration % config.steps_per_draw == 0:
                draw = next(drawn)
            read_back = self._read_back()
            terms = self._step.gradient(read_back, draw)
            self.synthetic.grad = read_back.grad
            self._optimizer.step()
            with torch.no_grad():
                self._simplify()
                self.synthetic.clamp_(self._black, self._white)  # storage knows nothing below black or above white
            self._schedule.step()
            self._iteration += 1
            last = self._iteration == config.iterations or (
                self._plateau is not None and self._plateau.reached(self._iteration, self._read_back().detach())
            )
            if self._iteration % every == 0 or last:
                self._check_finite()
                if watch.on_step is not None:
                    watch.on_step(self._iteration, {name: float(term.mean()) for name, term in terms.items()})
            snapshot()
            if watch.journal is not None and not last and self._iteration % config.steps_per_draw == 0:
                watch.journal.keep(self.state_dict)
        return self.stored()

    def _simplify(self) -> None:
        """Takes from the images' changes what costs bytes in the format they will be stored in and matters little."""
        if self._as_stored is None or self._start is None:
            return
        # of a distillation at the full learning rate: the same in all, however many iterations
        share = float(self._schedule.get_last_lr()[0]) / self._config.lr / self._config.iterations
        grey = 255 / (self._white - self._black)
        changes = ((self.synthetic - self._start) * grey).flatten(0, 1)
        self.synthetic.copy_(self._start + self._as_stored.sparser(changes, share).view_as(self._start) / grey)

    def _read_back(self) -> Tensor:
        """The images as networks will see them."""
        if self._as_stored is None:
            return self.synthetic
        images = self._as_stored.read_back(self._normalization.invert(self.synthetic.detach().flatten(0, 1)))
        read_back: Tensor = self._normalization.apply(images).view_as(self.synthetic)
        return read_back

    def stored(self) -> ExemplarSet:
        """The images so far, as a memory."""
        images = self._normalization.invert(self.synthetic.detach()).cpu()
        by_class = dict(zip(self._classes, images, strict=True))
        metadata = {
            "method": "distilled",
            "ipc": self._ipc,
            "distill": self._config.model_dump(mode="json"),
            "iterations_done": self._iteration,
            "arithmetic": self._arithmetic.label,
        }
        if self._objective is not None:
            metadata["own_objective"] = getattr(self._objective, "__name__", type(self._objective).__name__)
        memory = ExemplarSet.from_classes(by_class, metadata, partition=self._config.factor)
        if self._teachers is None:
            return memory
        return add_soft_labels(memory, self._teachers, self._lens)

    def _check_finite(self) -> None:
        broken = (~self.synthetic.detach().flatten(1).isfinite().all(1)).nonzero()
        if len(broken):
            exponential = self._use_cc and self._config.cc.form == "exponential"
            alpha = " or a smaller distill.cc.alpha" if exponential else ""
            raise DivergedError(
                f"distill.lr: {self._config.lr} makes the images diverge (class {self._classes[int(broken[0])]}, by "
                f"iteration {self._iteration}); use a smaller rate{alpha}, or set distill.retry."
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the iterations to come depend on, but for what follows from the seed.

        Raises:
            DivergedError: the images are no state to go on from.
        """
        self._check_finite()
        return {
            "iteration": self._iteration,
            "lr": self._config.lr,
            "images": self.synthetic.detach(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": schedule_state(self._schedule),
            "draws": self._draws.state_dict(),
            "plateau": None if self._plateau is None else self._plateau.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        with torch.no_grad():
            self.synthetic.copy_(state["images"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._draws.load_state_dict(state["draws"])
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
        self._iteration = state["iteration"]


def _first(images_by_class: Mapping[int, Tensor], classes: Sequence[int], count: int) -> Tensor:
    """The first ``count`` images of each class (K, count, C, H, W), again where there are fewer."""
    return torch.stack([images_by_class[c][torch.arange(count) % len(images_by_class[c])] for c in classes])


def _arithmetic(
    config: DistillConfig, cost: Cost, sampler: ClassSampler, shown: int, device: torch.device, own: bool
) -> Arithmetic:
    """That of the networks' passes; ``shown`` synthetic images a class."""
    draws = config.iterations / config.steps_per_draw
    images = sampler.classes * (draws * config.real_batch + 3 * config.iterations * shown)  # backward: twice forward
    if config.embedder_source == "queue":
        images += 3 * draws * config.queue.networks * config.queue.steps * config.queue.batch_size
    return choose(config.precision, config.compile, device, images * cost.flops, own)


def _chunk(
    config: DistillConfig,
    cost: Cost,
    sampler: ClassSampler,
    shown: int,
    pool: Sequence[TrainedNetwork],
    device: torch.device,
) -> int:
    """How many classes to take at a time.

    Synthetic images keep their activations; of real ones a few copies, and their features, are alive at a time.
    """
    kept = cost.activation_bytes
    if pool:
        kept += measure(pool[0].network, sampler.shape, device).activation_bytes
    pixels = 4 * math.prod(sampler.shape)
    per_class = 2 * shown * kept + config.real_batch * (4 * pixels + 3 * cost.feature_bytes)
    return min(sampler.classes, classes_per_chunk(per_class, device))


def _schedule(optimizer: torch.optim.Optimizer, config: DistillConfig) -> torch.optim.lr_scheduler.LRScheduler:
    if config.lr_schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.iterations)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _check(images_by_class: Mapping[int, Tensor], ipc: int) -> None:
    if not images_by_class:
        raise UserError("there are no classes to condense; the experience is empty.")
    for label, images in images_by_class.items():
        if len(images) < ipc:
            raise UserError(
                f"memory.ipc: {ipc} images are asked of class {label}, which has {len(images)}; "
                f"use at most {len(images)}."
                if len(images)
                else f"class {label} has no images; remove it from the stream."
            )


def _check_start(start: Mapping[int, Tensor], images_by_class: Mapping[int, Tensor]) -> None:
    for label, images in images_by_class.items():
        first = start.get(label)
        if first is None or not len(first) or first.dtype != torch.uint8 or first.shape[1:] != images.shape[1:]:
            shape = "none" if first is None else f"{first.dtype} {tuple(first.shape)}"
            raise UserError(
                f"start: class {label} has {shape} where uint8 images of shape {tuple(images.shape[1:])} are needed; "
                "give at least one of each class."
            )
