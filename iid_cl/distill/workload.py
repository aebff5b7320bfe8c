"""How much a distillation computes, and what follows: its arithmetic, and how many classes it takes at a time."""

import math
from dataclasses import dataclass

import torch

from iid_cl.compute.arithmetic import Arithmetic, Cost, choose, classes_per_chunk, measure
from iid_cl.config.distill import DistillConfig
from iid_cl.distill.trained import TrainedNetwork


@dataclass(frozen=True)
class Workload:
    """What the networks of a distillation look at.

    Attributes:
        config: iterations and batches.
        cost: of an image under the embedder.
        shape: (channels, height, width) of an image.
        classes: K.
        shown: synthetic images per class that a network sees.
        device: where it does.
    """

    config: DistillConfig
    cost: Cost
    shape: tuple[int, int, int]
    classes: int
    shown: int
    device: torch.device

    def arithmetic(self, own: bool) -> Arithmetic:
        """That of the networks' passes.

        Args:
            own: the embedder or the objective is the user's.
        """
        config, queue = self.config, self.config.queue
        # a backward pass costs two forward passes
        images = self.classes * config.iterations * (config.real_batch + 3 * self.shown)
        if config.embedder_source == "queue":
            images += 3 * config.iterations * queue.networks * queue.steps * queue.batch_size
        return choose(config.precision, config.compile, self.device, images * self.cost.flops, own)

    def chunk(self, trained: TrainedNetwork | None) -> int:
        """How many classes to take at a time.

        Synthetic images keep their activations; of real ones a few copies, and their features, are alive at a time.

        Args:
            trained: a network of class centralization, where it takes part.
        """
        activations = self.cost.activation_bytes
        if trained is not None:
            activations += measure(trained.network, self.shape, self.device).activation_bytes
        pixels = 4 * math.prod(self.shape)
        per_class = 2 * self.shown * activations + self.config.real_batch * (4 * pixels + 3 * self.cost.feature_bytes)
        return min(self.classes, classes_per_chunk(per_class, self.device))
