"""The accuracies behind DD-Ranking's scores: of the memory, of random images, and of all images."""

from collections.abc import Sequence

import torch

from iid_cl.config.experiment import Config, EvaluateConfig
from iid_cl.data.images import ImageDataset
from iid_cl.errors import UserError
from iid_cl.evaluate.protocol import judge
from iid_cl.evaluate.ranking import Ranking
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.seeding import make_generator
from iid_cl.terminal.reporter import Reporter


def check_rankable(memory: Exemplars, dataset: ImageDataset) -> None:
    """Refuses a memory whose rival cannot be made.

    Raises:
        UserError: it has soft labels, or more images of a class than the data set.
    """
    if memory.soft_labels is not None:
        raise UserError(
            "--ranking: random images would need soft labels from the same networks, which the memory does not keep; "
            "judge one with hard labels."
        )
    real = dataset.train.labels.bincount(minlength=memory.classes[-1] + 1)
    for label, count in enumerate(memory.labels.bincount().tolist()):
        if count > int(real[label]):
            raise UserError(
                f"--ranking: the memory has {count} images of class {label} and the data set {int(real[label])}; "
                "fewer random ones would be no fair rival."
            )


def rank(
    memory: Exemplars, distilled: float, dataset: ImageDataset, config: Config, device: torch.device, reporter: Reporter
) -> Ranking:
    """Trains what the scores compare.

    Random images are as many of each class as the memory stores. All real images are trained on for as many updates as
    the memory.

    Args:
        memory: with hard labels.
        distilled: its accuracy with augmentation, which is known.
        dataset: provides the real images.
        config: its `evaluate` section without `transfer`.
        device: where to train.
        reporter: shows each accuracy.
    """
    protocol = config.evaluate.model_copy(update={"transfer": []})
    images = {label: dataset.train.by_class()[label] for label in memory.classes}
    draws = make_generator(config.seed, "ranking")
    counts = memory.labels.bincount().tolist()
    chosen = {c: images[c][torch.randperm(len(images[c]), generator=draws)[: counts[c]]] for c in memory.classes}
    random, real = ExemplarSet.from_classes(chosen), ExemplarSet.from_classes(images)

    def accuracy(name: str, part: Exemplars, names: Sequence[str], how: EvaluateConfig = protocol) -> float:
        (judgement,) = judge(
            part, dataset.test, how, normalization=dataset.normalization, augmentations=names, seed=config.seed,
            device=device, precision=config.precision, compile=config.compile,
        )  # fmt: skip
        reporter.line(f"  {name}: {100 * judgement.mean:.1f} %")
        return judgement.mean

    decoded = len(memory.decoded())
    updates = protocol.epochs * -(-decoded // protocol.batch_size)
    epochs = max(1, round(updates / -(-len(real) // protocol.batch_size)))
    whole = protocol.model_copy(update={"epochs": epochs})
    return Ranking(
        distilled,
        accuracy("memory without augmentation", memory, ()),
        accuracy("random images", random, dataset.augmentations),
        accuracy("random images without augmentation", random, ()),
        accuracy(f"all images, {epochs} epochs", real, dataset.augmentations, whole),
    )
