"""The distillation loop: all classes of an experience in one batched step."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from iid_cl.acceleration import Arithmetic, Cost, choose, classes_per_chunk, measure
from iid_cl.config_distill import DistillConfig
from iid_cl.data.images import Normalization
from iid_cl.distill.draws import draws, make_embedders
from iid_cl.distill.plateau import Plateau, hold_out
from iid_cl.distill.sampling import ClassSampler
from iid_cl.distill.step import ImageStep
from iid_cl.distill.trained import TrainedNetwork, add_soft_labels, train_networks
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.partition import pack
from iid_cl.nets import Network, build_network
from iid_cl.seeding import draw_seed, make_generator

REPORTS = 50  # how often the losses are read back to the host during one distillation

OnStep = Callable[[int, dict[str, float]], None]
OnSnapshot = Callable[[int, ExemplarSet], None]


def distill(
    images_by_class: Mapping[int, Tensor],
    config: DistillConfig,
    *,
    ipc: int,
    generator: torch.Generator,
    device: torch.device | str,
    normalization: Normalization,
    augmentations: Sequence[str] = (),
    weights: Mapping[int, Tensor] | None = None,
    embedder: Network | None = None,
    trained: Sequence[TrainedNetwork] | None = None,
    soft_labels: bool = False,
    on_step: OnStep | None = None,
    on_snapshot: OnSnapshot | None = None,
    snapshots: Collection[int] = (),
) -> ExemplarSet:
    """Condenses each class into ``ipc`` stored images by matching feature distributions.

    With fresh embedders no class's images depend on another's: a class distilled alone comes out as among
    others. Networks trained on the experience (for class centralization, or a queue of embedders) tie them.

    Args:
        images_by_class: uint8 images (n_c, C, H, W) of each class of the current experience, all of one shape.
        config: objective, weights, iterations, embedder.
        ipc: images per class to store, at most n_c (they start as real images).
        generator: source of all randomness; one number is drawn from it.
        device: where to compute.
        normalization: what networks see; images are optimised in this space.
        augmentations: transformations to draw from where the configuration names none.
        weights: how many images each image of a class stands for, (n_c,) floating point; classes that are left out
            hold images that stand for themselves.
        embedder: a network of your own in place of ``config.embedder``, drawn afresh in each iteration, see
            :class:`iid_cl.nets.NamedLayer`; it moves to ``device`` and its weights are frozen.
        trained: networks for class centralization and soft labels; without any they are trained here as
            ``config.cc`` says.
        soft_labels: store with each decoded image the class probabilities that the trained networks see in it.
        on_step: called now and then with the iteration (from 1) and the mean loss terms per class.
        on_snapshot: called with the iteration and the images so far, at each iteration of ``snapshots``; 0 stands
            for the images at the start. The schedule is that of all iterations.

    Returns:
        The exemplars as stored, uint8; their metadata say after how many iterations, and by which arithmetic.

    Raises:
        UserError: no classes, a class without images or with fewer than ``ipc``, images that diverge, or an
            embedder of your own where the configuration asks for a queue.
    """
    _check(images_by_class, ipc)
    device = torch.device(device)
    seed = draw_seed(generator)
    names = config.augment if config.augment is not None else list(augmentations)
    held_out: dict[int, Tensor] = {}
    if config.early_stopping.patience is not None:
        weights = hold_out(weights, seed)[0] if weights else None  # the same images: the draw depends on their number
        images_by_class, held_out = hold_out(images_by_class, seed)
        _check(images_by_class, ipc)
    representative = config.sampling == "representative"
    sampler = ClassSampler(images_by_class, config.real_batch, names, seed, device, representative, weights)
    shown = ipc * config.factor**2
    start = normalization.apply(sampler.initial(shown))
    synthetic = pack(start.flatten(0, 1), config.factor).unflatten(0, (len(start), ipc)).requires_grad_()
    black, white = normalization.limits(device)
    with torch.no_grad():
        synthetic.clamp_(black, white)

    iteration = 0

    def stored() -> ExemplarSet:
        images = normalization.invert(synthetic.detach()).cpu()
        by_class = dict(zip(sorted(images_by_class), images, strict=True))
        settings = config.model_dump(mode="json")
        done = {"iterations_done": iteration, "arithmetic": arithmetic.label}
        metadata = {"method": "distilled", "ipc": ipc, "distill": settings, **done}
        memory = ExemplarSet.from_classes(by_class, metadata, partition=config.factor)
        return add_soft_labels(memory, trained or [], normalization, device) if soft_labels else memory

    def snapshot(iteration: int) -> None:
        if on_snapshot is not None and iteration in snapshots:
            on_snapshot(iteration, stored())

    # A single image has no deviation from its class mean. One class alone gives a network nothing to learn.
    use_cc = config.cc.weight > 0 and ipc * config.factor > 1 and config.iterations > 0
    probe = embedder if embedder is not None else build_network(config.embedder, sampler.shape, 1, make_generator(0))
    cost = measure(probe.to(device), sampler.shape, device)
    arithmetic = _arithmetic(config, cost, sampler, shown, device, embedder is not None)
    if not trained and (use_cc or soft_labels) and len(images_by_class) > 1:
        trained = train_networks(
            images_by_class,
            config.cc,
            seed=seed,
            device=device,
            normalization=normalization,
            augmentations=names,
            weights=weights,
            arithmetic=arithmetic,
        )
    pool = trained or () if use_cc else ()
    embedders = make_embedders(config, sampler, embedder, arithmetic, names, seed, normalization, device)
    in_place = arithmetic.captures(device)
    drawn = draws(config, sampler, embedders, pool, cost.feature_bytes // 4, seed, device, in_place)
    step = ImageStep(config, sampler, normalization, arithmetic, _chunk(config, cost, sampler, shown, pool, device))
    plateau = Plateau(held_out, config, seed, normalization, device, embedder) if held_out else None
    optimizer = torch.optim.SGD([synthetic], lr=config.lr, momentum=config.momentum)
    schedule = _schedule(optimizer, config)
    every = max(1, config.iterations // REPORTS)

    snapshot(0)
    for iteration in range(1, config.iterations + 1):
        if (iteration - 1) % config.steps_per_draw == 0:
            draw = next(drawn)
        terms = step.gradient(synthetic, draw)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            synthetic.clamp_(black, white)  # storage knows nothing below black or above white
        last = iteration == config.iterations or (
            plateau is not None and plateau.reached(iteration, synthetic.detach())
        )
        if on_step is not None and (iteration % every == 0 or last):
            on_step(iteration, {name: float(term.mean()) for name, term in terms.items()})
        snapshot(iteration)
        if last:
            break

    if not bool(synthetic.isfinite().all()):
        alpha = " or a smaller distill.cc.alpha" if use_cc and config.cc.form == "exponential" else ""
        raise UserError(f"distill.lr: {config.lr} makes the images diverge; use a smaller rate{alpha}.")
    return stored()


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
