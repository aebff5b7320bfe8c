"""Early stopping: when the matching loss on held-out real images no longer falls."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from iid_cl.config.distill import DistillConfig
from iid_cl.data.lens import Lens
from iid_cl.distill.losses import matching_terms, real_statistics
from iid_cl.distill.matching import MeanMatching
from iid_cl.errors import UserError
from iid_cl.memory.partition import expand
from iid_cl.nets import Network, build_network, initialize
from iid_cl.seeding import make_generator

NETWORKS = 4  # fixed embedders that the loss is averaged over


def hold_out(images_by_class: Mapping[int, Tensor], seed: int) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Parts a tenth of each class's images (n_c, C, H, W) from the rest: (rest, held out).

    What is held out of a class does not depend on the others.

    Raises:
        UserError: a class has fewer than 20 images.
    """
    rest, held = {}, {}
    for label in sorted(images_by_class):
        images = images_by_class[label]
        if len(images) < 20:
            raise UserError(
                f"distill.early_stopping: class {label} has {len(images)} images, too few to hold a tenth out; "
                "use null for patience."
            )
        order = torch.randperm(len(images), generator=make_generator(seed, "held out", label))
        count = len(images) // 10
        held[label], rest[label] = images[order[:count]], images[order[count:].sort().values]
    return rest, held


class Plateau:
    """Watches the matching loss of the synthetic images against held-out real ones, without augmentation.

    Embedders, frequencies and images stay the same from check to check, so that checks compare.

    Args:
        held_out: uint8 images of each class; no step may see them.
        config: the objective, and ``early_stopping``.
        seed: of the embedders.
        embedder: a network of the user's, on the device, whose weights are drawn afresh.
    """

    def __init__(
        self,
        held_out: Mapping[int, Tensor],
        config: DistillConfig,
        seed: int,
        lens: Lens,
        embedder: Network | None = None,
    ) -> None:
        # means and covariances, whatever is matched
        self._config, self._objective = config, MeanMatching(config.scale == "relative")
        generator = make_generator(seed, "plateau", device=lens.device if embedder is not None else "cpu")
        real = [lens.show(held_out[label]) for label in sorted(held_out)]
        shape = (real[0].shape[1], real[0].shape[2], real[0].shape[3])

        def fresh() -> Network:
            if embedder is None:
                return build_network(config.embedder, shape, 1, generator, lens.device)
            network = copy.deepcopy(embedder).requires_grad_(False)
            initialize(network, generator)
            return network

        self._networks = [fresh() for _ in range(NETWORKS)]
        with torch.no_grad():
            self._real = [
                [real_statistics(network.embed(images)[None].flatten(3), self._objective, config) for images in real]
                for network in self._networks
            ]
        self._best = float("inf")
        self._failures = 0

    @torch.no_grad()
    def loss(self, synthetic: Tensor) -> float:
        """Mean over classes and embedders of the matching terms of stored images (K, M, C, H, W)."""
        total = 0.0
        for network, statistics in zip(self._networks, self._real, strict=True):
            for images, real in zip(synthetic, statistics, strict=True):
                local = network.embed(expand(images, self._config.factor))[None].flatten(3)
                total += sum(
                    float(term) for term in matching_terms(real, local, self._objective, self._config).values()
                )
        return total / len(self._networks) / len(synthetic)

    def reached(self, iteration: int, synthetic: Tensor) -> bool:
        """Whether to stop; looks every so many iterations."""
        if iteration % self._config.early_stopping.every:
            return False
        loss = self.loss(synthetic)
        self._failures = 0 if loss < self._best else self._failures + 1
        self._best = min(self._best, loss)
        return self._failures == self._config.early_stopping.patience

    def state_dict(self) -> dict[str, Any]:
        """What the checks so far have found."""
        return {"best": self._best, "failures": self._failures}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._best, self._failures = state["best"], state["failures"]
