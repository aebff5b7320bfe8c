"""The configured memory of a whole data set, as one experience."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from iid_cl.config.experiment import Config
from iid_cl.data.images import ImageDataset
from iid_cl.data.lens import Lens
from iid_cl.distill.journal import Journal
from iid_cl.distill.watch import Counter, OnSnapshot, Snapshots, Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.selection import FeatureExtractor
from iid_cl.methods.build import make_method
from iid_cl.methods.features import trained_features
from iid_cl.methods.memory import Memory
from iid_cl.records.provenance import provenance
from iid_cl.terminal.reporter import Reporter


def memory_metadata(config: Config, dataset: ImageDataset, device: torch.device, seconds: float) -> dict[str, Any]:
    """Metadata of a memory file: origin, settings and provenance."""
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
    """The data set that a memory was made from, by which `iid-cl evaluate` loads it again."""
    return {"stream": config.stream.model_dump(mode="json"), "class_names": list(dataset.class_names)}


def whole_memory(
    config: Config,
    dataset: ImageDataset,
    device: torch.device,
    reporter: Reporter,
    *,
    on_snapshot: OnSnapshot | None = None,
    snapshots: Snapshots = (),
    journal: Journal | None = None,
) -> Exemplars:
    """The configured memory of all classes of a data set, as one experience.

    Args:
        config: the memory, the distillation and the seed.
        dataset: provides the training images.
        device: where to compute.
        reporter: shows progress.
        on_snapshot: called with the iteration and the current images at each iteration of ``snapshots``.
        snapshots: see :class:`iid_cl.distill.watch.Watch`.
        journal: keeps what an interrupted distillation has done.

    Raises:
        UserError: the budget has no room for the classes, or is too large for a snapshot of the smallest class.
    """
    name = config.memory.method
    train = trained_features(config.model, config.distill.cc)

    def features(images: Mapping[int, Tensor], lens: Lens, generator: torch.Generator) -> FeatureExtractor:
        reporter.line(f"training a network for {name}'s features")
        return train(images, lens, generator)

    classes = dataset.train.by_class()

    def snapshot(iteration: int, part: ExemplarSet) -> None:
        if len(part.classes) < len(classes):
            fewest, budget = min(map(len, classes.values())), config.memory.budget
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
    counter = Counter(lambda done, of, losses: reporter.progress("distilling", done, of, lambda: losses))
    watch = Watch(counter.on_step, snapshot, snapshots, journal, counter.on_start)
    memory.update(dataset.train, device=device, features=features, watch=watch)
    assert memory.exemplars is not None  # after the update
    return memory.exemplars
