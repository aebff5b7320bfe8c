"""The distillation loop: all classes of an experience in one batched step."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from iid_cl.config import DistillConfig
from iid_cl.data.augmentation import augment, augment_each
from iid_cl.data.images import Normalization
from iid_cl.distill.embedders import EmbedderQueue, FreshEmbedders
from iid_cl.distill.losses import centralization_term, cross_entropy_term, matching_terms, step_unit
from iid_cl.distill.sampling import ClassSampler
from iid_cl.distill.trained import TrainedNetwork, add_soft_labels, train_networks
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.partition import expand, pack
from iid_cl.nets import Network, build_network
from iid_cl.seeding import draw_seed, make_generator

REPORTS = 50  # how often the losses are read back to the host during one distillation
CPU_FORWARD_IMAGES = 64  # images per forward pass that a CPU's caches hold
FORWARD_IMAGES = 4096  # images per forward pass elsewhere: enough to fill a device

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
        embedder: a network of your own in place of ``config.embedder``, drawn afresh in each iteration, see
            :class:`iid_cl.nets.NamedLayer`; it moves to ``device`` and its weights are frozen.
        trained: networks for class centralization and soft labels; without any they are trained here as
            ``config.cc`` says.
        soft_labels: store with each decoded image the class probabilities that the trained networks see in it.
        on_step: called now and then with the iteration (from 1) and the mean loss terms per class.
        on_snapshot: called with the iteration and the images so far, at each iteration of ``snapshots``; 0 stands
            for the images at the start. The schedule is that of all iterations.

    Returns:
        The exemplars as stored, uint8.

    Raises:
        UserError: no classes, a class without images or with fewer than ``ipc``, images that diverge, or an
            embedder of your own where the configuration asks for a queue.
    """
    _check(images_by_class, ipc)
    device = torch.device(device)
    seed = draw_seed(generator)
    names = config.augment if config.augment is not None else list(augmentations)
    sampler = ClassSampler(images_by_class, config.real_batch, names, seed, device)
    start = normalization.apply(sampler.initial(ipc * config.factor**2))
    synthetic = pack(start.flatten(0, 1), config.factor).unflatten(0, (len(start), ipc)).requires_grad_()
    black, white = normalization.limits(device)
    with torch.no_grad():
        synthetic.clamp_(black, white)

    def stored() -> ExemplarSet:
        images = normalization.invert(synthetic.detach()).cpu()
        by_class = dict(zip(sorted(images_by_class), images, strict=True))
        metadata = {"method": "distilled", "ipc": ipc, "distill": config.model_dump(mode="json")}
        memory = ExemplarSet.from_classes(by_class, metadata, partition=config.factor)
        return add_soft_labels(memory, trained or [], normalization, device) if soft_labels else memory

    def snapshot(iteration: int) -> None:
        if on_snapshot is not None and iteration in snapshots:
            on_snapshot(iteration, stored())

    # A single image has no deviation from its class mean. One class alone gives a network nothing to learn.
    use_cc = config.cc.weight > 0 and ipc * config.factor > 1 and config.iterations > 0
    if not trained and (use_cc or soft_labels) and len(images_by_class) > 1:
        trained = train_networks(
            images_by_class, config.cc, seed=seed, device=device, normalization=normalization, augmentations=names
        )
    embedders = _embedders(config, sampler, embedder, names, seed, normalization, device)
    frequency_draws = make_generator(seed, "frequencies", device=device)
    phi_draws = make_generator(seed, "trained")
    optimizer = torch.optim.SGD([synthetic], lr=config.lr, momentum=config.momentum)
    schedule = _schedule(optimizer, config)
    unit = step_unit(synthetic, config)
    every = max(1, config.iterations // REPORTS)

    snapshot(0)
    for iteration, (real, parameters) in enumerate(sampler.steps(config.iterations), start=1):
        psi, accuracy = embedders.draw()
        with torch.no_grad():
            real_map = _feature_maps(psi, augment(normalization.apply(real), parameters))
        shown = expand(synthetic.flatten(0, 1), config.factor).unflatten(0, (len(synthetic), -1))
        augmented = augment(shown, parameters)
        synthetic_map = _feature_maps(psi, augmented)
        terms = matching_terms(real_map.flatten(3), synthetic_map.flatten(3), config, frequency_draws)
        if accuracy is not None and config.queue.cross_entropy > 0:
            scores = psi.classifier(psi.pool(synthetic_map.flatten(0, 1)))
            terms["ce"] = cross_entropy_term(scores.unflatten(0, augmented.shape[:2]), accuracy, config)
        if use_cc and trained:
            phi = trained[int(torch.randint(len(trained), (1,), generator=phi_draws))]
            features = phi.network.features(augmented.flatten(0, 1)).unflatten(0, augmented.shape[:2])
            terms["cc"] = centralization_term(features, phi.spread, config)
        loss = unit * torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            synthetic.clamp_(black, white)  # storage knows nothing below black or above white
        if on_step is not None and (iteration % every == 0 or iteration == config.iterations):
            on_step(iteration, {name: float(term.detach().mean()) for name, term in terms.items()})
        snapshot(iteration)

    if not bool(synthetic.isfinite().all()):
        alpha = " or a smaller distill.cc.alpha" if use_cc and config.cc.form == "exponential" else ""
        raise UserError(f"distill.lr: {config.lr} makes the images diverge; use a smaller rate{alpha}.")
    return stored()


def _embedders(
    config: DistillConfig,
    sampler: ClassSampler,
    own: Network | None,
    augmentations: Sequence[str],
    seed: int,
    normalization: Normalization,
    device: torch.device,
) -> FreshEmbedders | EmbedderQueue:
    weight_draws = make_generator(seed, "embedders", "weights", device=device)
    if own is not None:
        if config.embedder_source == "queue":
            raise UserError("distill.embedders: a queue trains its own networks; use 'fresh' with an embedder given.")
        return FreshEmbedders(own.to(device), weight_draws)
    architecture_draws = make_generator(seed, "embedders")
    queue = config.embedder_source == "queue" and sampler.classes > 1  # one class alone teaches a network nothing
    classes = sampler.classes if queue else 1

    def make() -> Network:
        return build_network(config.embedder, sampler.shape, classes, architecture_draws, device)

    if not queue:
        return FreshEmbedders(make(), weight_draws)
    batch_draws = make_generator(seed, "embedders", "batches")

    def batch(count: int) -> tuple[Tensor, Tensor]:
        images, labels = sampler.mixed(count, batch_draws)
        return augment_each(normalization.apply(images), augmentations, batch_draws), labels

    return EmbedderQueue(config.queue, make, batch, make_generator(seed, "embedders", "choice"))


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


def _feature_maps(network: Network, images: Tensor) -> Tensor:
    """(K, n, c, H, W) to last feature maps (K, n, C, H', W'), a bounded number of images per forward pass."""
    rows = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    size = CPU_FORWARD_IMAGES if rows.device.type == "cpu" else FORWARD_IMAGES
    maps: Tensor = torch.cat([network.embed(chunk) for chunk in rows.split(size)])
    return maps.unflatten(0, images.shape[:2])  # type: ignore[no-any-return]
