"""Training a classifier on tensors: the one loop behind scratch evaluation and class centralization."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from iid_cl.compute.arithmetic import Arithmetic, for_training
from iid_cl.compute.batches import batch_sizes
from iid_cl.compute.sgd_step import SgdStep
from iid_cl.data.augmentation import draw_each
from iid_cl.nets.base import Network

Show = Callable[[Tensor], Tensor]
"""Makes of a batch of images what a network takes, such as :meth:`iid_cl.data.lens.Lens.show`."""


@dataclass(frozen=True)
class Training:
    """How long a classifier trains and with which SGD; the defaults are the published protocol (DC, ICLR 2021).

    Attributes:
        epochs: passes over the images.
        batch_size: images per step.
        lr: learning rate.
        momentum: momentum of SGD.
        weight_decay: weight decay of SGD.
        lr_drop: whether to multiply the learning rate by 0.1 half way.
    """

    epochs: int
    batch_size: int
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    lr_drop: bool = True


def train_classifier(
    network: Network,
    images: Tensor,
    labels: Tensor,
    training: Training,
    *,
    augmentations: Sequence[str],
    generator: torch.Generator,
    weights: Tensor | None = None,
    arithmetic: Arithmetic | None = None,
    after_epoch: Callable[[int], None] | None = None,
    show: Show | None = None,
) -> None:
    """Trains ``network`` in place with SGD and cross-entropy.

    Args:
        network: on the device of the data.
        images: (N, C, H, W) normalised float32, or what ``show`` makes such of.
        labels: (N,) int64, or class probabilities (N, K).
        training: epochs, batches and rates.
        augmentations: transformations to draw from, one per image and step.
        generator: on the CPU; draws the order and the augmentations.
        weights: (N,) floating point, on the CPU. With weights an epoch draws N images with replacement, in proportion
            to them, instead of passing over all.
        arithmetic: of the passes; by default chosen by :func:`iid_cl.compute.arithmetic.for_training`.
        after_epoch: called with the number of finished epochs.
        show: makes a batch of images what the network takes; None: they are.
    """
    device = labels.device
    if arithmetic is None:
        shape = (images.shape[1], images.shape[2], images.shape[3])
        arithmetic = for_training(network, shape, training.epochs * len(images), device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay
    )
    step = SgdStep(network, optimizer, arithmetic)
    network.train()
    for epoch in range(training.epochs):
        if training.lr_drop and epoch == (training.epochs + 1) // 2:
            for group in optimizer.param_groups:
                group["lr"] = training.lr * 0.1
        order = _order(len(images), weights, generator)
        # those of an epoch at once: a GPU would have to wait for many small draws on the host
        size = (images.shape[2], images.shape[3])
        parameters = draw_each(len(order), augmentations, size, generator, device) if augmentations else None
        rows, order = order.to(images.device), order.to(device)
        first = 0
        for count in batch_sizes(len(order), training.batch_size, network):
            batch = slice(first, first + count)
            inputs = images[rows[batch]] if show is None else show(images[rows[batch]])
            step(inputs, labels[order[batch]], None if parameters is None else parameters[batch])
            first += count
        if after_epoch is not None:
            after_epoch(epoch + 1)


def _order(count: int, weights: Tensor | None, generator: torch.Generator) -> Tensor:
    """Rows of the images in an epoch: a shuffled pass, or draws by weight."""
    if weights is None:
        return torch.randperm(count, generator=generator)
    return torch.multinomial(weights, count, replacement=True, generator=generator)


@torch.no_grad()
def predict(network: Network, images: Tensor, batch_size: int = 500, show: Show | None = None) -> Iterator[Tensor]:
    """Class scores of ``images`` (N, C, H, W), batch by batch, in evaluation mode; ``show`` as in training."""
    network.eval()
    for batch in images.split(batch_size):
        yield network(batch if show is None else show(batch))


def accuracy(network: Network, images: Tensor, labels: Tensor, show: Show | None = None) -> float:
    """Share of ``images`` classified as ``labels``, in [0, 1]; ``show`` as in :func:`train_classifier`."""
    scores = torch.cat(list(predict(network, images, show=show)))
    return float((scores.argmax(1) == labels).float().mean())


def schedule_state(schedule: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    """The counters of a learning rate schedule; its settings follow from the configuration."""
    return {key: schedule.state_dict()[key] for key in ("last_epoch", "_step_count", "_last_lr")}
