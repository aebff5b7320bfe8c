"""What a training loop takes from a memory: a data set, a loader, batches, a file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from iid_cl.compute.devices import resolve_device
from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import save_memory
from iid_cl.memory.samples import MemorySamples, Transform
from iid_cl.seeding import make_generator


class Replayed(ABC):
    """A PyTorch data set of stored images, as they are at the moment; :class:`iid_cl.Memory` is one.

    Args:
        seed: of the draws of batches.
        device: where batches are; None: on a GPU, if there is one.
    """

    def __init__(self, seed: int, device: torch.device | str | None) -> None:
        self.seed, self._device = seed, device
        self.exemplars: Exemplars | None = None
        self.keys: dict[int, tuple[int, int]] = {}
        self._draws: torch.Generator | None = None
        self._samples: tuple[Exemplars, MemorySamples] | None = None

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the memory is, as plain JSON."""

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return resolve_device("auto") if self._device is None else torch.device(self._device)

    def __len__(self) -> int:
        """Number of images to train on. A method may store several of them in the bytes of one."""
        return 0 if self.exemplars is None else len(self.dataset())

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        """An image (C, H, W) from 0 to 1 and its class index, or several, see :class:`MemorySamples`."""
        return self.dataset()[index]

    def dataset(self, transform: Transform | None = None) -> MemorySamples:
        """The images as they are now, to train on, see :class:`MemorySamples`.

        Raises:
            UserError: the memory is still empty.
        """
        if transform is not None:
            return MemorySamples(self._decoded(), transform)
        if self._samples is None or self._samples[0] is not self.exemplars:  # else decoded already
            self._samples = self._filled(), MemorySamples(self._decoded())
        return self._samples[1]

    def loader(self, batch_size: int, transform: Transform | None = None, **options: Any) -> DataLoader[Any]:
        """A loader of :meth:`dataset`, shuffled by the memory's own generator.

        Args:
            batch_size: samples of a batch.
            transform: called with each image.
            options: further arguments of ``torch.utils.data.DataLoader``.
        """
        options = {"shuffle": True, "generator": self._generator(), **options}
        return DataLoader(self.dataset(transform), batch_size, **options)

    def batch(
        self, count: int, transform: Transform | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images (count, C, H, W) from 0 to 1, drawn uniformly, and labels (count,): the replayed half of a batch.

        Args:
            count: number of samples. No image comes again before all have come.
            transform: called with each image.
            generator: source of the draws; None: the memory's own.

        Raises:
            UserError: the memory is still empty, or a count below 1.
        """
        images, labels = self.dataset(transform).draw(count, self._generator() if generator is None else generator)
        return images.to(self.device), labels.to(self.device)

    def _generator(self) -> torch.Generator:
        if self._draws is None:
            self._draws = make_generator(self.seed, "replay")
        return self._draws

    def _filled(self) -> Exemplars:
        if self.exemplars is None:
            raise UserError("the memory is still empty; update it first.")
        return self.exemplars

    def _decoded(self) -> LabelledImages:
        """The images at full size, with the data's class indices."""
        decoded = self._filled().decoded()
        labels = torch.tensor([self.keys[label][0] for label in decoded.labels.tolist()])
        return LabelledImages(decoded.images, labels)

    def save(self, path: Path | str, metadata: Mapping[str, Any] | None = None) -> None:
        """Writes a memory file, with the normalisation and settings; ``metadata`` (plain JSON) joins them.

        Raises:
            UserError: the memory is still empty, or the file cannot be written.
        """
        save_memory(path, self._filled(), {**self.describe(), **(metadata or {})})

    def draws_state(self) -> dict[str, Any]:
        """Where the memory's own draws are, as part of a state; empty before the first."""
        return {} if self._draws is None else {"draws": self._draws.get_state()}

    def load_draws(self, state: Mapping[str, Any]) -> None:
        """Goes on with the draws where :meth:`draws_state` was."""
        if "draws" in state:
            self._generator().set_state(state["draws"])
