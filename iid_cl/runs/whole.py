"""The configured memory of a whole data set, as one experience."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from iid_cl.config.experiment import Config
from iid_cl.data.images import ImageDataset
from iid_cl.data.lens import Lens
from iid_cl.distill.watch import OnSnapshot, Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.selection import FeatureExtractor
from iid_cl.methods.build import make_method
from iid_cl.methods.features import trained_features
from iid_cl.methods.memory import Memory
from iid_cl.records.provenance import provenance
from iid_cl.terminal.reporter import Reporter


def memory_metadata(config: Config, dataset: ImageDataset, device: torch.device, seconds: float) -> dict[str, Any]:
    """What a memory file says of its making; `iid-cl evaluate` finds the data set by it."""
    return {
        **origin_of(config, dataset),
        "mean": list(dataset.normalization.mean),
        "std": list(dataset.normalization.std),
        "method": config.memory.method,
        config.memory.budget.key: config.memory.budget.amount,
        "seed": config.seed,
        "seconds": round(seconds, 3),
        "provenance": provenance(device),
    }


def origin_of(config: Config, dataset: ImageDataset) -> dict[str, Any]:
    """The data set that a memory is made from: what `iid-cl evaluate` and people know it by."""
    return {"stream": config.stream.model_dump(mode="json"), "class_names": list(dataset.class_names)}


def whole_memory(
    config: Config,
    dataset: ImageDataset,
    device: torch.device,
    reporter: Reporter,
    *,
    on_snapshot: OnSnapshot | None = None,
    snapshots: Collection[int] = (),
) -> Exemplars:
    """The configured memory of all classes of a data set, as one experience.

    Args:
        config: the memory, the distillation and the seed.
        dataset: its training images.
        device: where to compute.
        reporter: shows progress.
        on_snapshot: called with the iteration and the images so far at each iteration of ``snapshots``.
        snapshots: see :class:`iid_cl.distill.watch.Watch`.

    Raises:
        UserError: the budget has no room for the classes, or snapshots are asked of classes of unequal size.
    """
    name = config.memory.method
    train = trained_features(config.model, config.distill.cc)

    def features(images: Mapping[int, Tensor], lens: Lens, generator: torch.Generator) -> FeatureExtractor:
        reporter.line(f"training a network for {name}'s features")
        return train(images, lens, generator)

    classes = dataset.train.by_class()
    fewest = min(map(len, classes.values()))

    def snapshot(iteration: int, part: ExemplarSet) -> None:
        if len(part.classes) < len(classes):
            budget = config.memory.budget
            raise UserError(
                f"memory.{budget.key}: {budget.amount} is too much for a class of {fewest} images; use less."
            )
        if on_snapshot is not None:
            on_snapshot(iteration, part)

    memory = Memory(
        make_method(config, name),
        config.memory.budget,
        seed=config.seed,
        normalization=dataset.normalization,
        augmentations=dataset.augmentations,
        precision=config.precision,
        compile=config.compile,
    )
    watch = Watch(
        lambda done, losses: reporter.progress("distilling", done, config.distill.iterations, lambda: losses),
        snapshot,
        snapshots,
    )
    memory.update(dataset.train, device=device, features=features, watch=watch)
    assert memory.exemplars is not None  # it has been updated
    return memory.exemplars
