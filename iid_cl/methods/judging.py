"""Which of several memories serves best: small networks trained on each, judged by held-out images."""

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
TRIALS = 2  # networks a candidate
TRIAL_WIDTH = 32  # channels at most: those that were measured are no wider


def part_held_out(
    images_by_class: Mapping[int, Tensor], generator: torch.Generator
) -> tuple[dict[int, Tensor], LabelledImages]:
    """Parts a tenth of each class's images (n_c, C, H, W), at most 200, from the rest: (rest, held out)."""
    rest: dict[int, Tensor] = {}
    held: list[Tensor] = []
    labels: list[int] = []
    for label, images in images_by_class.items():
        count = min(MOST_HELD_OUT, len(images) // 10)
        order = torch.randperm(len(images), generator=generator)
        held.append(images[order[:count]])
        labels += [label] * count
        rest[label] = images[order[count:].sort().values]
    return rest, LabelledImages(torch.cat(held), torch.tensor(labels, dtype=torch.int64))


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

    Two networks are trained per candidate, with weights and draws that depend on the generator alone; losses are their
    means. With ``beside`` one of them sees the memory of every other class together with as many real images of the
    rest, the second one the other way round, as in replay: what tells the memory from real images misleads it there.

    Args:
        candidates: memories of the same classes.
        held_out: real images of these classes that no candidate was made from.
        network: what to train.
        beside: real images of each class, or None for networks that see nothing but the memory.
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
            mixed = _beside_real(candidate, beside, turn, draws) if beside is not None else candidate.decoded()
            one = build_network(
                network, shape, max(candidate.classes) + 1, make_generator(seed, "weights", turn), lens.device
            )
            epochs = max(1, UPDATES // -(-len(mixed) // BATCH))
            train_classifier(
                one,
                lens.show(mixed.images),
                mixed.labels.to(lens.device),
                Training(epochs, BATCH),
                augmentations=lens.augmentations,
                generator=draws,
            )
            with torch.no_grad():
                scores = torch.cat(list(predict(one, images)))
                total += functional.cross_entropy(scores, labels, reduction="none").cpu() / TRIALS
        losses[name] = total
    return losses


def trial_network(embedder: NetworkConfig) -> NetworkConfig:
    """What candidates are judged by: a network like the embedder, and a ConvNet no wider than need be."""
    if embedder.name != "convnet":
        return embedder
    return embedder.model_copy(update={"width": min(embedder.width, TRIAL_WIDTH)})


def _beside_real(
    memory: Exemplars, real: Mapping[int, Tensor], turn: int, generator: torch.Generator
) -> LabelledImages:
    """The memory of every second class, from the first or the second on, and equally many real images of the others."""
    kept, classes = memory.decoded(), sorted(real)
    own = kept.of_classes(classes[turn::2])
    others = classes[1 - turn :: 2]
    images = torch.cat([real[c] for c in others])
    labels = torch.cat([torch.full((len(real[c]),), c) for c in others])
    chosen = torch.randperm(len(images), generator=generator)[: UPDATES * BATCH // 2]
    number = torch.arange(max(len(chosen), len(own)))  # the fewer ones come again
    again, chosen = number % len(own), chosen[number % len(chosen)]
    return LabelledImages(
        torch.cat([own.images[again], images[chosen]]), torch.cat([own.labels[again], labels[chosen]])
    )


def mean_loss(losses: Tensor) -> float:
    """The mean, infinite instead of NaN where networks diverged: what they were trained on is no good."""
    mean = float(losses.mean())
    return math.inf if math.isnan(mean) else mean


def significantly_best(losses: Mapping[K, Tensor], first: K) -> K:
    """The candidate with the lowest mean loss, if it beats ``first`` by two standard errors; else ``first``.

    Args:
        losses: of each candidate on the same M >= 2 images, (M,); NaN where networks diverged, which any other beats.
        first: the incumbent, which is replaced only if another one is clearly better.
    """
    best = min([first, *losses], key=lambda name: mean_loss(losses[name]))
    if math.isinf(mean_loss(losses[first])):
        return best
    gain = losses[first] - losses[best]
    error = gain.std() / len(gain) ** 0.5
    return best if float(gain.mean()) > 2 * float(error) else first
