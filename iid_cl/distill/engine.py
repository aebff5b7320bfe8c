"""The distillation loop: all classes of an experience in one batched step."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from iid_cl.config import DistillConfig
from iid_cl.data.augmentation import augment
from iid_cl.data.images import Normalization
from iid_cl.distill.embedders import TrainedNetwork, train_networks
from iid_cl.distill.objectives import (
    class_centralization,
    covariance_matching,
    in_units,
    local_covariance,
    mean_matching,
    spread,
)
from iid_cl.distill.sampling import ClassSampler
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.nets import Network, build_network, initialize
from iid_cl.seeding import draw_seed, make_generator

REPORTS = 50  # how often the losses are read back to the host during one distillation
CPU_FORWARD_IMAGES = 64  # images per forward pass that a CPU's caches hold
FORWARD_IMAGES = 4096  # images per forward pass elsewhere: enough to fill a device

OnStep = Callable[[int, dict[str, float]], None]


def distill(
    images_by_class: Mapping[int, Tensor],
    config: DistillConfig,
    *,
    ipc: int,
    generator: torch.Generator,
    device: torch.device | str,
    normalization: Normalization,
    augmentations: Sequence[str] = (),
    trained: Sequence[TrainedNetwork] | None = None,
    on_step: OnStep | None = None,
) -> ExemplarSet:
    """Condenses each class into ``ipc`` synthetic images by matching feature distributions.

    With per-sample normalisation no class's images depend on another's: a class distilled alone comes out as
    among others, except through the networks trained for class centralization, which see the experience.

    Args:
        images_by_class: uint8 images (n_c, C, H, W) of each class of the current experience, all of one shape.
        config: objective, weights, iterations, embedder.
        ipc: images per class to make, at most n_c (they start as real images).
        generator: source of all randomness; one number is drawn from it.
        device: where to compute.
        normalization: what networks see; images are optimised in this space.
        augmentations: transformations to draw from where the configuration names none.
        trained: networks for class centralization, if they are not to be trained here.
        on_step: called now and then with the iteration (from 1) and the mean loss terms per class.

    Returns:
        The exemplars as stored, uint8.

    Raises:
        UserError: no classes, a class without images or with fewer than ``ipc``, or images that diverge.
    """
    _check(images_by_class, ipc)
    device = torch.device(device)
    seed = draw_seed(generator)
    names = config.augment if config.augment is not None else list(augmentations)
    sampler = ClassSampler(images_by_class, config.real_batch, names, seed, device)
    synthetic = normalization.apply(sampler.initial(ipc)).requires_grad_()
    black, white = normalization.limits(device)

    # A single image has no deviation from its class mean: both terms are constant there. One class alone
    # gives a network nothing to learn.
    use_cm = config.cm.weight > 0 and ipc > 1
    use_cc = config.cc.weight > 0 and ipc > 1 and (trained is not None or len(images_by_class) > 1)
    if use_cc and trained is None:
        trained = train_networks(
            images_by_class,
            config.cc,
            seed=seed,
            device=device,
            normalization=normalization,
            augmentations=names,
        )

    shape = (synthetic.shape[2], synthetic.shape[3], synthetic.shape[4])
    draws = make_generator(seed, "embedders")
    embedder = build_network(config.embedder, shape, 1, draws, device).requires_grad_(False)
    weight_draws = make_generator(seed, "embedders", "weights", device=device)
    optimizer = torch.optim.SGD([synthetic], lr=config.lr, momentum=config.momentum)
    schedule = _schedule(optimizer, config)
    unit = _step_unit(synthetic, config)
    every = max(1, config.iterations // REPORTS)

    for iteration, (real, parameters) in enumerate(sampler.steps(config.iterations), start=1):
        initialize(embedder, weight_draws)
        phi = trained[int(torch.randint(len(trained), (1,), generator=draws))] if use_cc and trained else None
        with torch.no_grad():
            real_features = _local_features(embedder, augment(normalization.apply(real), parameters))
        augmented = augment(synthetic, parameters)
        terms = loss_terms(real_features, _local_features(embedder, augmented), config, with_cm=use_cm)
        if phi is not None:
            terms["cc"] = _centralization_term(phi, augmented, config)
        loss = unit * torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            synthetic.clamp_(black, white)  # storage knows nothing below black or above white
        if on_step is not None and (iteration % every == 0 or iteration == config.iterations):
            on_step(iteration, {name: float(term.detach().mean()) for name, term in terms.items()})

    if not bool(synthetic.isfinite().all()):
        raise UserError(f"distill.lr: {config.lr} makes the images diverge; use a smaller rate.")
    images = normalization.invert(synthetic.detach()).cpu()
    by_class = dict(zip(sorted(images_by_class), images, strict=True))
    return ExemplarSet.from_classes(
        by_class, {"method": "distilled", "ipc": ipc, "distill": config.model_dump(mode="json")}
    )


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


def loss_terms(real: Tensor, synthetic: Tensor, config: DistillConfig, *, with_cm: bool) -> dict[str, Tensor]:
    """Weighted mean and covariance matching of each class.

    Args:
        real: (K, B, C, P) local features of the real images.
        synthetic: (K, M, C, P) local features of the synthetic images, from the same network.

    Returns:
        ``match`` and, where asked for, ``cm``, each (K,). With the relative scale, ``match`` is in units of the
        real features' spread and ``cm`` in units of their covariance's squared norm: both are free of the
        network's size, so that one weight holds for all.
    """
    terms = {"match": mean_matching(real.flatten(2), synthetic.flatten(2))}
    if config.scale == "relative":
        terms["match"] = in_units(terms["match"], spread(real.flatten(2)))
    if with_cm:
        covariance = local_covariance(real)
        terms["cm"] = config.cm.weight * covariance_matching(covariance, local_covariance(synthetic))
        if config.scale == "relative":
            terms["cm"] = in_units(terms["cm"], covariance.square().sum((1, 2)))
    return terms


def _centralization_term(phi: TrainedNetwork, images: Tensor, config: DistillConfig) -> Tensor:
    """Weighted class centralization of augmented images (K, M, c, H, W) under a trained network: (K,).

    With the relative scale: the mean over the images, in units of the real images' spread under that network.
    """
    features = phi.network.features(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    term = config.cc.weight * class_centralization(features)
    return in_units(term, phi.spread * images.shape[1]) if config.scale == "relative" else term


def _step_unit(synthetic: Tensor, config: DistillConfig) -> float:
    """What the summed loss is multiplied by before the gradient step.

    A mean over M images leaves each with 1/M of the gradient, and moving an image of n values by a fixed
    fraction of its norm takes a step that grows with n. With the relative scale the product M*n makes up for
    both, so that one learning rate holds across images per class and image sizes. 1 as published.
    """
    return float(synthetic[0].numel()) if config.scale == "relative" else 1.0


def _local_features(network: Network, images: Tensor) -> Tensor:
    """(K, n, c, H, W) to local features (K, n, C, P), a bounded number of images per forward pass."""
    rows = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    size = CPU_FORWARD_IMAGES if rows.device.type == "cpu" else FORWARD_IMAGES
    chunks = [network.embed(chunk) for chunk in rows.split(size)]
    features: Tensor = torch.cat(chunks).flatten(2).unflatten(0, images.shape[:2])
    return features
