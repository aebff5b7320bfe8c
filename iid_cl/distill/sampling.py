"""Random draws per class: each class has a separate stream, so its images don't depend on other classes."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from iid_cl.data.augmentation import UNIFORMS, Parameters, make_parameters
from iid_cl.data.classes import Classes
from iid_cl.data.lens import Lens
from iid_cl.data.mapped import held_on
from iid_cl.seeding import make_generator

BLOCK = 64  # iterations drawn at once: the loop over classes runs once per block, not in the hot path


class ClassSampler:
    """Real mini-batches and siamese augmentations for all classes, one step at a time.

    A class without weights goes through its images in shuffled passes without replacement. If it has fewer images than
    the batch, it repeats them evenly. In a class with weights images are drawn with replacement, in proportion to them.

    Args:
        classes: the images and their weights.
        batch: real images per class and draw.
        lens: names the augmentations to draw from and the device of the images.
        seed: seeds the stream of each class.
    """

    def __init__(self, classes: Classes, batch: int, lens: Lens, seed: int) -> None:
        images_by_class = classes.images
        self._classes = sorted(images_by_class)
        self._weights = [classes.weights.get(c) for c in self._classes]
        self._counts = [len(images_by_class[c]) for c in self._classes]
        self._offsets = [sum(self._counts[:i]) for i in range(len(self._counts))]
        self._device = lens.device
        # the experience's images, on the device once, as uint8
        self._images = held_on(torch.cat([images_by_class[c] for c in self._classes]), lens.device)
        counts = torch.tensor(self._counts)
        self._labels = torch.arange(len(self._classes)).repeat_interleave(counts).to(lens.device)
        self._generators = [make_generator(seed, "class", c) for c in self._classes]
        self._rests = [torch.empty(0, dtype=torch.int64) for _ in self._classes]
        self._batch = batch
        self._augmentations = lens.augmentations
        self._begun = 0  # draws before the current block
        self._handed_out = 0  # draws of the current block
        self._before_block = self._streams()

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self._classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = self._images.shape[1:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        """The device where images are needed."""
        return self._device

    def initial(self, count: int) -> Tensor:
        """``count`` real images of each class, uint8 (K, count, C, H, W); repeated only if the class has too few."""
        rows = []
        for offset, n, weights, generator in zip(
            self._offsets, self._counts, self._weights, self._generators, strict=True
        ):
            if weights is None:
                order = torch.randperm(n, generator=generator)
            else:
                order = torch.multinomial(weights, min(n, count), generator=generator)
            rows.append(offset + order[torch.arange(count) % len(order)])
        return self._images[torch.stack(rows).to(self._images.device)]

    def mixed(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``count`` images of all classes, drawn with replacement: uint8 (count, C, H, W), class numbers 0 to K-1."""
        if any(weights is not None for weights in self._weights):
            weights = [torch.ones(n) if w is None else w for n, w in zip(self._counts, self._weights, strict=True)]
            rows = torch.multinomial(torch.cat(weights), count, replacement=True, generator=generator)
        else:
            rows = torch.randint(len(self._images), (count,), generator=generator)
        return self._images[rows.to(self._images.device)], self._labels[rows.to(self._device)]

    def real(self, rows: Tensor) -> Tensor:
        """The images in these rows (...), uint8 (..., C, H, W)."""
        return self._images[rows]

    def draws(self, count: int) -> Iterator[tuple[Tensor, Parameters]]:
        """``count`` pairs of real batches, as rows (K, B) for :meth:`real`, and augmentation parameters of K groups."""
        while self._begun < count:
            length = min(BLOCK, count - self._begun)
            self._before_block = self._streams()
            rows = torch.stack([self._walk(k, length) for k in range(self.classes)], dim=1)
            rows = rows.to(self._images.device)
            uniforms = torch.stack([torch.rand(length, UNIFORMS, generator=g) for g in self._generators], dim=1)
            parameters = make_parameters(uniforms, self._augmentations, self.shape[1:]).to(self._device)
            while self._handed_out < length:
                self._handed_out += 1
                yield rows[self._handed_out - 1], parameters[self._handed_out - 1]
            self._begun, self._handed_out = self._begun + length, 0

    def _streams(self) -> dict[str, Any]:
        return {"generators": [g.get_state() for g in self._generators], "rests": list(self._rests)}

    def state_dict(self) -> dict[str, Any]:
        """The position of :meth:`draws`: the streams before the current block, and the number of its draws so far."""
        return {**self._before_block, "begun": self._begun, "handed_out": self._handed_out}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Lets :meth:`draws`, called again with the same count, resume from ``state``."""
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.set_state(saved)
        self._rests = list(state["rests"])
        self._begun, self._handed_out = state["begun"], state["handed_out"]

    def _walk(self, k: int, length: int) -> Tensor:
        """The next ``length`` batches of class number ``k``, (length, batch), as rows of the images.

        Shuffled passes follow one another. The next call begins with the rest of the last pass.
        """
        n, generator, weights = self._counts[k], self._generators[k], self._weights[k]
        if weights is not None:
            rows = torch.multinomial(weights, length * self._batch, replacement=True, generator=generator)
            return self._offsets[k] + rows.view(length, self._batch)
        total = length * self._batch
        passes = [self._rests[k]]
        drawn = len(passes[0])
        while drawn < total:
            passes.append(torch.randperm(n, generator=generator))
            drawn += n
        walk = torch.cat(passes)
        self._rests[k] = walk[total:]
        return (self._offsets[k] + walk[:total]).view(length, self._batch)
