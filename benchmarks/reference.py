"""The method written down plainly: one class after the other, float32, nothing shared between classes.

What the engine is measured against, in its results (:func:`reference_gradient` from the same draw) and in its speed.
The mathematics is METHOD.md's: mean matching (DM), covariance matching and quadratic class centralization, as plain
sums ("published") or in units of the real features ("relative").
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from iid_cl.config.distill import DistillConfig
from iid_cl.data.augmentation import UNIFORMS, Parameters, make_parameters
from iid_cl.data.images import Normalization
from iid_cl.distill.trained import TrainedNetwork


def plain_network(channels: int, width: int, depth: int) -> nn.Sequential:
    """The published ConvNet up to its last feature map, with PyTorch's own instance norm and initialisation."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [
            nn.Conv2d(width if index else channels, width, 3, padding=1),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(),
            nn.AvgPool2d(2),
        ]
    return nn.Sequential(*layers).requires_grad_(False)


@dataclass(frozen=True)
class PlainDraw:
    """One iteration's draw: real images of each class, augmentation, embedder, and a trained network if CC is on."""

    real: list[Tensor]  # uint8 (B, C, H, W) of each class
    parameters: Parameters  # of K groups
    embedder: nn.Module
    trained: TrainedNetwork | None = None


def plain_augment(images: Tensor, parameters: Parameters, k: int) -> Tensor:
    """Class ``k``'s transformation of its images (n, C, H, W), step by step as DSA has it."""
    images = images + parameters.brightness[k]
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * parameters.saturation[k]
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * parameters.contrast[k]
    theta = parameters.affine[k].expand(len(images), 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, align_corners=False)
    top, left, bottom, right = (max(0, int(edge)) for edge in parameters.cutout[k])
    keep = torch.ones(images.shape[2:], device=images.device)
    keep[top:bottom, left:right] = 0
    return images * keep


def covariance(features: Tensor) -> Tensor:
    """Sigma (C, C) of local features (n, C, P): mean_n (F_n - mu)(F_n - mu)^T with mu (C, P)."""
    centred = features - features.mean(0)
    return torch.einsum("ncp,ndp->cd", centred, centred) / len(features)


def class_loss(real: Tensor, synthetic: Tensor, trained: tuple[Tensor, Tensor] | None, config: DistillConfig) -> Tensor:
    """Weighted sum of one class's terms.

    Args:
        real: local features (B, C, P).
        synthetic: local features (M, C, P).
        trained: features (M, D) of the synthetic images under a trained network, and the real images' spread there.
    """
    relative = config.scale == "relative"
    flat = real.flatten(1)
    match = (flat.mean(0) - synthetic.flatten(1).mean(0)).square().sum()
    loss = match / (flat - flat.mean(0)).square().sum(1).mean() if relative else match
    if config.cm.weight > 0:
        sigma = covariance(real)
        distance = (sigma - covariance(synthetic)).square().sum()
        loss = loss + config.cm.weight * (distance / sigma.square().sum() if relative else distance)
    if trained is not None:
        features, spread = trained
        distances = (features - features.mean(0)).square().sum(1)
        loss = loss + config.cc.weight * ((distances / spread).mean() if relative else distances.sum())
    return loss


def reference_gradient(
    synthetic: Tensor, draw: PlainDraw, config: DistillConfig, normalization: Normalization
) -> tuple[list[float], Tensor]:
    """Each class's loss and the gradient of their sum (in the configured unit) with respect to (K, M, C, H, W)."""
    losses, gradients = [], []
    unit = synthetic[0].numel() if config.scale == "relative" else 1.0
    for k, real in enumerate(draw.real):
        with torch.no_grad():
            seen = draw.embedder(plain_augment(normalization.apply(real), draw.parameters, k))
        images = synthetic[k].detach().requires_grad_()
        augmented = plain_augment(images, draw.parameters, k)
        trained = None
        if draw.trained is not None:
            trained = (draw.trained.network.features(augmented), draw.trained.spread[k])
        loss = class_loss(seen.flatten(2), draw.embedder(augmented).flatten(2), trained, config)
        (gradient,) = torch.autograd.grad(unit * loss, images)
        losses.append(float(loss.detach()))
        gradients.append(gradient)
    return losses, torch.stack(gradients)


def reference_distill(
    images_by_class: dict[int, Tensor],
    config: DistillConfig,
    ipc: int,
    generator: torch.Generator,
    normalization: Normalization,
    augmentations: tuple[str, ...],
    device: torch.device,
) -> Iterator[Tensor]:
    """The plain loop: yields the normalised images (K, M, C, H, W) after each iteration."""
    classes = [images.to(device) for _, images in sorted(images_by_class.items())]
    shape = classes[0].shape[1:]
    start = torch.stack([images[torch.randperm(len(images), generator=generator)[:ipc]] for images in classes])
    synthetic = normalization.apply(start).requires_grad_()
    black, white = normalization.limits(device)
    optimizer = torch.optim.SGD([synthetic], lr=config.lr, momentum=config.momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.iterations)
    for _ in range(config.iterations):
        real = [images[torch.randint(len(images), (config.real_batch,), generator=generator)] for images in classes]
        uniforms = torch.rand(len(classes), UNIFORMS, generator=generator)
        parameters = make_parameters(uniforms, augmentations, (shape[1], shape[2])).to(device)
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            embedder = plain_network(shape[0], config.embedder.width, config.embedder.blocks(*shape[1:])).to(device)
        _, synthetic.grad = reference_gradient(synthetic, PlainDraw(real, parameters, embedder), config, normalization)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            synthetic.clamp_(black, white)
        yield synthetic.detach()
