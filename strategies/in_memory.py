"""Training and evaluation on data that fits in memory.

Avalanche's loaders read and transform samples one by one, which on small images takes longer than training on
them. Here all samples of a data set become tensors on the strategy's device once, and a mini-batch is a
selection of their rows, transformed at once.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.core import SupervisedPlugin
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.transforms import Normalize

from iid_cl.data.images import Normalization
from iid_cl.errors import UserError
from iid_cl.seeding import make_generator

from .loading import Source, TensorLoader, translate
from .reading import Kind, Part, Step, parts_of, read

Batched = Callable[[Tensor], Tensor]


class InMemoryPlugin(SupervisedPlugin):
    """Serves training and evaluation from tensors on the strategy's device instead of Avalanche's data loaders.

    The mini-batches are those of the loader that the strategy and its other plugins have set up, replay and
    memory-only training included, but for the order of random draws. An experience's samples are read when first
    needed, before its transforms, and kept for as long as the data set that holds them.

    Transforms of images work on batches (N, C, H, W) on the device. The data set's own are used where they are
    known to: ``Normalization.apply``, torchvision's ``Normalize``, and callables with an attribute
    ``batched = True``, alone or in a ``Compose``. Others need one of the arguments to take their place.

    Args:
        train_transform: takes the place of the data set's own transforms of images in training.
        eval_transform: takes their place in evaluation.
        seed: of the order of training samples.
    """

    def __init__(
        self, train_transform: Batched | None = None, eval_transform: Batched | None = None, *, seed: int = 0
    ) -> None:
        super().__init__()
        self._train_transform = train_transform
        self._eval_transform = eval_transform
        self._generator = make_generator(seed, "mini-batches")
        self._kept: dict[Any, _Kept] = {}

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Replaces the data loader; at this point every plugin has had its say, in whatever order they stand.

        Raises:
            UserError: a transform, a data set or a loader that cannot be served from memory.
        """
        self._serve(strategy, "train_transform", self._train_transform)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Replaces the data loader; see :meth:`before_training_epoch`."""
        self._serve(strategy, "eval_transform", self._eval_transform)

    def state_dict(self) -> dict[str, Any]:
        """What the orders to come depend on."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._generator.set_state(state["generator"])

    def _serve(self, strategy: Any, argument: str, given: Batched | None) -> None:
        if isinstance(strategy.dataloader, TensorLoader):
            return
        datasets, batch_sizes, settings = translate(strategy.dataloader)
        sources = [
            self._source(dataset, batch_size, strategy.device, argument, given)
            for dataset, batch_size in zip(datasets, batch_sizes, strict=True)
        ]
        strategy.dataloader = TensorLoader(sources, **settings, generator=self._generator)

    def _source(
        self, dataset: AvalancheDataset, batch_size: int, device: torch.device, argument: str, given: Batched | None
    ) -> Source:
        """A data set's samples on the device, and what is left to be done to a batch of them."""
        rows = torch.arange(len(dataset), device=device)
        if not len(dataset):
            return Source([], rows, [], [], batch_size)
        parts = parts_of(dataset)
        ways = [_batch_steps(part.steps[1], argument, given) for part in parts]
        if any(way != ways[0] for way in ways):
            raise UserError(
                f"the data set joins samples with different transforms; give InMemoryPlugin({argument}=...) one for "
                "all of them, or leave the plugin out."
            )
        if len(parts) == 1 and parts[0].holds_tensors():
            # kept whole: on the CPU without a copy, elsewhere with one for all experiences cut from it
            rows = torch.from_numpy(parts[0].indices).to(device)
            everything = np.arange(len(parts[0].source))
            parts = [replace(parts[0], indices=everything, positions=everything)]
        items, kind = self._read(parts, device)
        if kind != "tensor" and not any(item == 0 for item, _ in ways[0]):
            raise UserError(
                f"the samples are {'PIL images' if kind == 'pil' else 'arrays'} and no transform turns them into a "
                f"network's input; give InMemoryPlugin({argument}=...), or leave the plugin out."
            )
        attributes = [attribute for attribute in dataset._data_attributes.values() if attribute.use_in_getitem]
        tasks = [default_collate(list(attribute)).to(device) for attribute in attributes]
        return Source(items, rows, tasks, ways[0], batch_size)

    def _read(self, parts: list[Part], device: torch.device) -> tuple[list[Tensor], Kind]:
        """Reads the samples, or finds them among those kept."""
        sources = [part.source for part in parts]
        fixed = [[transform for _, transform in part.steps[0]] for part in parts]
        ways = [
            (id(source), tuple(map(id, transforms)), part.indices.tobytes(), part.positions.tobytes())
            for source, transforms, part in zip(sources, fixed, parts, strict=True)
        ]
        key = (device, *ways)
        if key not in self._kept:
            items, kind = read(parts, repeatable=True)
            forget = partial(_forget, weakref.ref(self), key)
            try:
                references = [weakref.ref(source, forget) for source in sources]
            except TypeError:  # a list, say
                return [item.to(device) for item in items], kind
            self._kept[key] = _Kept([item.to(device) for item in items], kind, references, fixed)
        return self._kept[key].items, self._kept[key].kind


@dataclass(frozen=True)
class _Kept:
    """Samples on a device. The references make them go with their source; transforms are held for their identity."""

    items: list[Tensor]
    kind: Kind
    references: list[weakref.ref[Any]]
    fixed: list[list[Callable[..., Any]]]


def _forget(plugin: weakref.ref[InMemoryPlugin], key: Any, _: weakref.ref[Any]) -> None:
    alive = plugin()
    if alive is not None:
        alive._kept.pop(key, None)


def _batch_steps(steps: list[Step], argument: str, given: Batched | None) -> list[Step]:
    """The transforms of batches, ``given`` in the place of those of images."""
    kept = [step for step in steps if given is None or step[0] != 0]
    for item, transform in kept:
        if item is None or not _takes_batches(transform):
            name = " ".join(repr(transform).split())
            ways_out = [
                *([f"give InMemoryPlugin({argument}=...) a function of batches (N, C, H, W)"] if item == 0 else []),
                *(["mark it with batched = True if it takes batches"] if item is not None else []),
                "leave InMemoryPlugin out",
            ]
            what = "images" if item == 0 else "labels" if item == 1 else "samples"
            raise UserError(f"the transform {name} works on single {what}; {', or '.join(ways_out)}.")
    return kept if given is None else [(0, given), *kept]


def _takes_batches(transform: Callable[..., Any]) -> bool:
    return (
        getattr(transform, "batched", False) is True
        or isinstance(getattr(transform, "__self__", None), Normalization)
        or type(transform) is Normalize
    )
