"""Mini-batches as rows of tensors, in the sizes and by the rules of Avalanche's loaders."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.data_loader import MultiDatasetDataLoader
from avalanche.distributed.distributed_helper import DistributedHelper
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, default_collate

from iid_cl.compute.batches import batch_sizes
from iid_cl.errors import UserError

from .reading import Step


@dataclass(frozen=True)
class Source:
    """A data set that mini-batches take samples from; everything on one device, except for images on disk.

    Attributes:
        items: images, labels and what else a sample holds, each (M, ...); M may exceed the number of samples, N.
        rows: (N,), the row of each sample in ``items``.
        attributes: what the data set adds to a sample, each (N,): task labels.
        steps: transforms of batches, in order.
        ways: (N,), which of ``of_way`` each sample takes in place of ``steps``, where samples of several data sets are
            joined; None: all take ``steps``.
        of_way: transforms of batches of each joined data set.
        batch_size: samples per mini-batch.
    """

    items: list[Tensor]
    rows: Tensor
    attributes: list[Tensor]
    steps: list[Step]
    batch_size: int
    ways: Tensor | None = None
    of_way: Sequence[list[Step]] = ()

    def columns(self, samples: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each part of a sample, a tensor and the rows of it that hold ``samples``."""
        rows = self.rows.index_select(0, samples)
        return [*((item, rows) for item in self.items), *((attribute, samples) for attribute in self.attributes)]

    def batch(self, samples: Tensor) -> list[Tensor]:
        """The selected samples, transformed."""
        if self.ways is None:
            return _apply(self.steps, [_select([column]) for column in self.columns(samples)])
        ways = self.ways.index_select(0, samples)
        members = [(ways == way).nonzero().squeeze(1) for way in ways.unique()]
        parts = []
        for own in members:
            steps = self.of_way[int(ways[own[0]])]
            parts.append(_apply(steps, [_select([column]) for column in self.columns(samples.index_select(0, own))]))
        order = torch.cat(members).argsort()
        return [torch.cat(column).index_select(0, order) for column in zip(*parts, strict=True)]


@dataclass(eq=False, repr=False)
class TensorLoader:
    """Mini-batches ``[x, y]`` or ``[x, y, t]``, each a selection from every source, joined in the sources' order.

    An epoch goes through one source once. Sizes, repetitions and the order within a mini-batch are as in Avalanche's
    ``MultiDatasetDataLoader``.

    Args:
        sources: where the samples come from.
        lead: number of the source that an epoch goes through.
        oversample: start again with sources that end earlier, instead of leaving them out.
        shuffle: draw a new order for each pass over a source.
        drop_last: leave out a source's last samples where they don't fill its share of a mini-batch.
        generator: on the CPU; draws the orders.
        network: that is trained. With batch norm, a rest of one sample joins the mini-batch before it, see
            :func:`iid_cl.compute.batches.batch_sizes`.
    """

    sources: Sequence[Source]
    _: KW_ONLY
    lead: int
    oversample: bool
    shuffle: bool
    drop_last: bool
    generator: torch.Generator
    network: nn.Module | None = None

    def __post_init__(self) -> None:
        self._started = self.generator.get_state()  # at the beginning of the epoch
        self._served = 0  # mini-batches of the epoch
        self._skip = 0

    def __len__(self) -> int:
        return len(self._sizes(self.sources[self.lead]))

    def __iter__(self) -> Iterator[list[Tensor]]:
        self._started, self._served = self.generator.get_state(), 0
        skip, self._skip = self._skip, 0
        passes = [self._pass(source) for source in self.sources]
        for _ in range(len(self)):
            selection: list[tuple[Source, Tensor]] = []
            for number, source in enumerate(self.sources):
                samples = next(passes[number], None)
                if samples is None and self.oversample:
                    passes[number] = self._pass(source)
                    samples = next(passes[number], None)
                if samples is not None:
                    selection.append((source, samples))
            self._served += 1
            if self._served > skip:
                yield _batch(selection)

    def state_dict(self) -> dict[str, Any]:
        """The position in the epoch."""
        return {"started": self._started, "served": self._served}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the next iteration the rest of the epoch."""
        self.generator.set_state(state["started"])
        self._skip = state["served"]

    def _pass(self, source: Source) -> Iterator[Tensor]:
        """One pass over a source: the numbers of each mini-batch's samples."""
        total, sizes = len(source.rows), self._sizes(source)
        order = torch.randperm(total, generator=self.generator) if self.shuffle else torch.arange(total)
        if sizes:
            yield from order[: sum(sizes)].to(source.rows.device).split(sizes)

    def _sizes(self, source: Source) -> list[int]:
        """Sizes of the mini-batches of one pass over a source."""
        total, size = len(source.rows), source.batch_size
        if self.drop_last:
            return batch_sizes(total - total % size, size)
        return batch_sizes(total, size, self.network if len(self.sources) == 1 else None)


def _batch(selection: list[tuple[Source, Tensor]]) -> list[Tensor]:
    """The selected samples of each source, transformed."""
    columns = [source.columns(samples) for source, samples in selection]
    if len({len(items) for items in columns}) > 1:
        raise UserError("the data sets of a mini-batch differ in what a sample holds; give all of them task labels.")
    first = selection[0][0].steps
    if all(source.ways is None and source.steps == first for source, _ in selection):
        return _apply(first, [_select(column) for column in zip(*columns, strict=True)])
    batches = [source.batch(samples) for source, samples in selection]
    return [torch.cat(column) for column in zip(*batches, strict=True)]


def _select(selection: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Rows of several tensors, joined in order; always a copy, which a plugin or transform may change."""
    first = selection[0][0]
    if any(item.dtype != first.dtype or item.shape[1:] != first.shape[1:] for item, _ in selection):
        return torch.cat([item.index_select(0, rows.to(item.device)).to(rows.device) for item, rows in selection])
    device = selection[0][1].device  # images on disk are read on the CPU
    joined = first.new_empty((sum(len(rows) for _, rows in selection), *first.shape[1:]), device=device)
    start = 0
    for item, rows in selection:  # writing in place takes half the time of joining afterwards
        part = joined[start : start + len(rows)]
        if item.device == device:
            torch.index_select(item, 0, rows, out=part)
        else:
            part.copy_(item.index_select(0, rows.to(item.device)))
        start += len(rows)
    return joined


def _apply(steps: list[Step], items: list[Tensor]) -> list[Tensor]:
    for item, transform in steps:
        assert item is not None  # transforms of several items were refused
        items[item] = transform(items[item])
    return items


def translate(loader: Any) -> tuple[list[AvalancheDataset], list[int], dict[str, Any]]:
    """The data sets of an Avalanche loader, their rows per mini-batch, and the settings of :class:`TensorLoader`.

    Raises:
        UserError: a loader that orders or joins samples in another way.
    """
    if DistributedHelper.is_distributed:
        raise UserError("InMemoryPlugin doesn't share samples between processes; leave it out in distributed training.")
    if getattr(type(loader), "__iter__", None) is MultiDatasetDataLoader.__iter__ and not loader.never_ending:
        options = loader.loader_kwargs
        if options["collate_fn"] is default_collate and not {"sampler", "batch_sampler"} & set(options):
            settings = {
                "lead": loader.termination_dataset,
                "oversample": loader.oversample_small_datasets,
                "shuffle": bool(options.get("shuffle")),
                "drop_last": bool(options.get("drop_last")),
            }
            return loader.datasets, loader.batch_sizes, settings
    if type(loader) is DataLoader and loader.collate_fn is default_collate:
        dataset: Any = loader.dataset
        sampler, size = loader.sampler, loader.batch_size
        random = type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(dataset)
        if (
            (random or type(sampler) is SequentialSampler)
            and type(loader.batch_sampler) is BatchSampler
            and size is not None
            and isinstance(dataset, AvalancheDataset)
        ):
            settings = {"lead": 0, "oversample": False, "shuffle": random, "drop_last": loader.drop_last}
            return [dataset], [size], settings
    raise UserError(
        f"the strategy's mini-batches come from a {type(loader).__name__} with a custom order or collate function, "
        "which InMemoryPlugin cannot take over; leave it out."
    )
