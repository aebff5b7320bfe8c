"""How much a distillation computes; its arithmetic and the number of classes in a chunk follow."""

import math
from dataclasses import dataclass

from iid_cl.compute.arithmetic import Arithmetic, Cost, choose, classes_per_chunk, measure
from iid_cl.config.distill import DistillConfig
from iid_cl.config.objectives import OBJECTIVE_INFO
from iid_cl.data.lens import Lens
from iid_cl.distill.trained import TrainedNetwork


@dataclass(frozen=True)
class Workload:
    """The images that pass through the networks of a distillation.

    Attributes:
        config: batches and networks.
        iterations: steps on the synthetic images.
        cost: cost of an image under the embedder.
        shape: (channels, height, width) of an image.
        classes: number of classes, K.
        shown: synthetic images per class that a network sees.
        lens: how networks see the images.
        own_objective: whether the loss is the user's, in place of the configured objective.
    """

    config: DistillConfig
    iterations: int
    cost: Cost
    shape: tuple[int, int, int]
    classes: int
    shown: int
    lens: Lens
    own_objective: bool = False

    def arithmetic(self, own: bool) -> Arithmetic:
        """Number format and compilation of the networks' passes.

        Args:
            own: whether the embedder or the objective is the user's or a library's.
        """
        config, queue = self.config, self.config.queue
        # a backward pass costs two forward passes
        images = self.classes * self.iterations * (config.real_batch + 3 * self.shown)
        if config.embedder_source == "queue":
            images += 3 * self.iterations * queue.networks * queue.steps * queue.batch_size
        return choose(self.lens.precision, self.lens.compile, self.lens.device, images * self.cost.flops, own)

    def chunk(self, trained: TrainedNetwork | None) -> int:
        """Number of classes that fit into memory at a time; all of them where the objective compares them at once.

        Synthetic images keep their activations. Real images take a few copies of themselves and of their features.

        Args:
            trained: a network of class centralization, if it has a part in the loss.
        """
        if OBJECTIVE_INFO[self.config.objective].joint and not self.own_objective:
            return self.classes
        activations = self.cost.activation_bytes
        if trained is not None:
            activations += measure(trained.network, self.shape, self.lens.device).activation_bytes
        pixels = 4 * math.prod(self.shape)
        per_class = 2 * self.shown * activations + self.config.real_batch * (4 * pixels + 3 * self.cost.feature_bytes)
        return min(self.classes, classes_per_chunk(per_class, self.lens.device))
