"""Which of several memories serves best: small networks are trained on each, and held-out images judge them."""

import math
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from iid_cl.compute.classifier import Training, predict, train_classifier
from iid_cl.config.distill import NetworkConfig
from iid_cl.data.images import LabelledImages
from iid_cl.data.lens import Lens
from iid_cl.memory.exemplars import Exemplars
from iid_cl.nets import build_network
from iid_cl.seeding import draw_seed, make_generator

K = TypeVar("K")

MOST_HELD_OUT = 200  # images of a class
UPDATES = 300
BATCH = 32
TRIALS = 2  # networks per candidate
TRIAL_WIDTH = 32  # channels at most: no wider network was measured


def part_held_out(
    images_by_class: Mapping[int, Tensor], generator: torch.Generator
) -> tuple[dict[int, Tensor], LabelledImages]:
    """Parts a tenth of each class's images (n_c, C, H, W), at most 200, from the rest: (rest, held out)."""
    rest: dict[int, Tensor] = {}
    held_out: list[Tensor] = []
    labels: list[int] = []
    for label, images in images_by_class.items():
        count = min(MOST_HELD_OUT, len(images) // 10)
        order = torch.randperm(len(images), generator=generator)
        held_out.append(images[order[:count]])
        labels += [label] * count
        rest[label] = images[order[count:].sort().values]
    return rest, LabelledImages(torch.cat(held_out), torch.tensor(labels, dtype=torch.int64))


def held_out_losses(
    candidates: Mapping[K, Exemplars],
    held_out: LabelledImages,
    network: NetworkConfig,
    *,
    beside: Mapping[int, Tensor] | None,
    lens: Lens,
    generator: torch.Generator,
) -> dict[K, Tensor]:
    """Cross-entropy of each held-out image, (M,), under networks trained on each candidate.

    Losses are means over two networks per candidate, whose weights and draws depend on the generator alone. With
    ``beside`` the first network sees the memory of every other class and as many real images of the other classes. The
    second sees it the other way round. As in replay, whatever tells the memory from real images misleads the networks.

    Args:
        candidates: memories of the same classes.
        held_out: real images of these classes that no candidate was made from.
        network: what to train.
        beside: real images of each class; None for networks that see the memory alone.
        lens: how networks see images; its augmentations are drawn from per image while training.
        generator: one number is drawn from it.
    """
    seed = draw_seed(generator)
    images = lens.show(held_out.images)
    labels = held_out.labels.to(lens.device)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    losses = {}
    for name, candidate in candidates.items():
        total = torch.zeros(len(labels))
        for turn in range(TRIALS):
            draws = make_generator(seed, "training", turn)
            data = _beside_real(candidate, beside, turn, draws) if beside is not None else candidate.decoded()
            weights = make_generator(seed, "weights", turn)
            classifier = build_network(network, shape, max(candidate.classes) + 1, weights, lens.device)
            training = Training(max(1, UPDATES // -(-len(data) // BATCH)), BATCH)
            train_classifier(
                classifier, lens.show(data.images), data.labels.to(lens.device), training,
                augmentations=lens.augmentations, generator=draws,
            )  # fmt: skip
            with torch.no_grad():
                scores = torch.cat(list(predict(classifier, images)))
                total += functional.cross_entropy(scores, labels, reduction="none").cpu() / TRIALS
        losses[name] = total
    return losses


def trial_network(embedder: NetworkConfig) -> NetworkConfig:
    """The network that judges candidates: like the embedder, but a ConvNet has at most 32 channels."""
    if embedder.name != "convnet":
        return embedder
    return embedder.model_copy(update={"width": min(embedder.width, TRIAL_WIDTH)})


def _beside_real(
    memory: Exemplars, real: Mapping[int, Tensor], turn: int, generator: torch.Generator
) -> LabelledImages:
    """The memory of every second class, from the first or second class on, and as many real images of the rest."""
    classes = sorted(real)
    own, rest = memory.decoded().of_classes(classes[turn::2]), classes[1 - turn :: 2]
    images = torch.cat([real[c] for c in rest])
    labels = torch.cat([torch.full((len(real[c]),), c) for c in rest])
    sample = torch.randperm(len(images), generator=generator)[: UPDATES * BATCH // 2]
    number = torch.arange(max(len(sample), len(own)))  # the smaller part is repeated
    rows, sample = number % len(own), sample[number % len(sample)]
    return LabelledImages(torch.cat([own.images[rows], images[sample]]), torch.cat([own.labels[rows], labels[sample]]))


def mean_loss(losses: Tensor) -> float:
    """The mean; infinite instead of NaN where networks diverged, so that their memory loses."""
    mean = float(losses.mean())
    return math.inf if math.isnan(mean) else mean


def significantly_best(losses: Mapping[K, Tensor], first: K) -> K:
    """The candidate with the lowest mean loss if it beats ``first``, the incumbent, by two standard errors.

    Args:
        losses: of each candidate on the same M >= 2 images, (M,); NaN where networks diverged, which any loss beats.
        first: the incumbent, which wins otherwise.
    """
    best = min([first, *losses], key=lambda name: mean_loss(losses[name]))
    if math.isinf(mean_loss(losses[first])):
        return best
    gain = losses[first] - losses[best]
    error = gain.std() / len(gain) ** 0.5
    return best if float(gain.mean()) > 2 * float(error) else first
