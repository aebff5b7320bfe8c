"""Training and evaluation on data that fits in memory.

Avalanche's loaders read and transform samples one by one, which takes longer than training on small images. Here all
samples of a data set become tensors on the strategy's device once. A mini-batch is a selection of their rows,
transformed at once.
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
from torch import Tensor, nn
from torch.utils.data import default_collate

from iid_cl.data.mapped import held_on
from iid_cl.errors import UserError
from iid_cl.seeding import make_generator

from .loading import Source, TensorLoader, translate
from .presentation import takes_batches
from .reading import Kind, Part, Step, parts_of, read

Batched = Callable[[Tensor], Tensor]


class InMemoryPlugin(SupervisedPlugin):
    """Serves training and evaluation from tensors on the strategy's device instead of Avalanche's data loaders.

    Except for the order of random draws, the mini-batches equal those of the loader that the strategy and its other
    plugins have set up, with replay and memory-only training too. But a last mini-batch of one image joins the one
    before it where batch norm could not be trained on it. An experience's samples are read when first needed,
    before its transforms, and kept as long as the data set that holds them.

    Transforms of images work on batches (N, C, H, W) on the device. ``Normalization.apply``, torchvision's
    ``Normalize`` and callables with an attribute ``batched = True`` do so, alone or in a ``Compose``. For any other
    transform, pass a replacement.

    Args:
        train_transform: replaces the data set's transforms of images in training.
        eval_transform: replaces them in evaluation.
        seed: of the order of training samples.

    >>> from avalanche.training.supervised import Naive
    >>> model = torch.nn.Linear(4, 2)
    >>> from torchvision.transforms import Normalize
    >>> plugin = InMemoryPlugin(eval_transform=Normalize(0.5, 0.25), seed=1)
    >>> plugin in Naive(model=model, optimizer=torch.optim.SGD(model.parameters()), plugins=[plugin]).plugins
    True
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
        """Replaces the data loader. At this point every plugin has set up its loader, whatever the plugins' order.

        Raises:
            UserError: a transform, a data set or a loader that cannot be served from memory.
        """
        self._serve(strategy, "train_transform", self._train_transform, getattr(strategy, "model", None))

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Replaces the data loader; see :meth:`before_training_epoch`."""
        self._serve(strategy, "eval_transform", self._eval_transform)

    def state_dict(self) -> dict[str, Any]:
        """The state of the generator."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a state."""
        self._generator.set_state(state["generator"])

    def _serve(self, strategy: Any, argument: str, custom: Batched | None, network: nn.Module | None = None) -> None:
        if isinstance(strategy.dataloader, TensorLoader):
            return
        datasets, batch_sizes, settings = translate(strategy.dataloader)
        sources = [
            self._source(dataset, batch_size, strategy.device, argument, custom)
            for dataset, batch_size in zip(datasets, batch_sizes, strict=True)
        ]
        strategy.dataloader = TensorLoader(sources, **settings, generator=self._generator, network=network)

    def _source(
        self, dataset: AvalancheDataset, batch_size: int, device: torch.device, argument: str, custom: Batched | None
    ) -> Source:
        """A data set's samples on the device, and the transforms of a batch of them."""
        rows = torch.arange(len(dataset), device=device)
        if not len(dataset):
            return Source([], rows, [], [], batch_size)
        parts = parts_of(dataset)
        of_part = [_batch_steps(part.steps[1], argument, custom) for part in parts]
        ways = None
        if any(steps != of_part[0] for steps in of_part[1:]):
            ways = torch.empty(len(dataset), dtype=torch.int64)
            for number, part in enumerate(parts):
                ways[torch.from_numpy(part.positions)] = number
            ways = ways.to(device)
        if len(parts) == 1 and parts[0].holds_tensors():
            # kept whole: on the CPU without a copy, elsewhere with a single copy for all experiences cut from it
            rows = torch.from_numpy(parts[0].indices).to(device)
            all_rows = np.arange(len(parts[0].source))
            parts = [replace(parts[0], indices=all_rows, positions=all_rows)]
        items, kind = self._read(parts, device)
        if kind != "tensor" and not all(any(item == 0 for item, _ in steps) for steps in of_part):
            raise UserError(
                f"the samples are {'PIL images' if kind == 'pil' else 'arrays'} and no transform turns them into a "
                f"network's input; give InMemoryPlugin({argument}=...), or leave the plugin out."
            )
        attributes = [attribute for attribute in dataset._data_attributes.values() if attribute.use_in_getitem]
        tasks = [default_collate(list(attribute)).to(device) for attribute in attributes]
        return Source(items, rows, tasks, of_part[0], batch_size, ways, of_part)

    def _read(self, parts: list[Part], device: torch.device) -> tuple[list[Tensor], Kind]:
        """The samples, read once."""
        sources = [part.source for part in parts]
        fixed = [[transform for _, transform in part.steps[0]] for part in parts]
        key = (device, *(
            (id(source), tuple(map(id, transforms)), part.indices.tobytes(), part.positions.tobytes())
            for source, transforms, part in zip(sources, fixed, parts, strict=True)
        ))  # fmt: skip
        if key not in self._kept:
            items, kind = read(parts, repeatable=True)
            forget = partial(_forget, weakref.ref(self), key)
            try:
                references = [weakref.ref(source, forget) for source in sources]
            except TypeError:  # such as a list
                return [held_on(item, device) for item in items], kind
            self._kept[key] = _Kept([held_on(item, device) for item in items], kind, references, fixed)
        return self._kept[key].items, self._kept[key].kind


@dataclass(frozen=True)
class _Kept:
    """Samples on a device, until a referenced source is gone; ``fixed`` holds transforms for their identity."""

    items: list[Tensor]
    kind: Kind
    references: list[weakref.ref[Any]]
    fixed: list[list[Callable[..., Any]]]


def _forget(plugin: weakref.ref[InMemoryPlugin], key: Any, _: weakref.ref[Any]) -> None:
    owner = plugin()
    if owner is not None:
        owner._kept.pop(key, None)


def _batch_steps(steps: list[Step], argument: str, custom: Batched | None) -> list[Step]:
    """The transforms of batches; ``custom`` replaces the transforms of images."""
    used = [step for step in steps if custom is None or step[0] != 0]
    for item, transform in used:
        if item is None or not takes_batches(transform):
            name = " ".join(repr(transform).split())
            ways_out = [
                *([f"give InMemoryPlugin({argument}=...) a function of batches (N, C, H, W)"] if item == 0 else []),
                *(["mark it with batched = True if it takes batches"] if item is not None else []),
                "leave InMemoryPlugin out",
            ]
            what = "images" if item == 0 else "labels" if item == 1 else "samples"
            raise UserError(f"the transform {name} works on single {what}; {', or '.join(ways_out)}.")
    return used if custom is None else [(0, custom), *used]
