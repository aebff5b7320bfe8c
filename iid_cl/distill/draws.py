"""The random draws of a distillation: real batch, augmentation, networks and objective of each iteration."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from iid_cl.compute.arithmetic import Arithmetic
from iid_cl.config.distill import DistillConfig
from iid_cl.data.augmentation import Parameters, augment_each
from iid_cl.data.lens import Lens
from iid_cl.distill.embedders import EmbedderQueue, FreshEmbedders, KeptEmbedder
from iid_cl.distill.matching import Objective
from iid_cl.distill.sampling import ClassSampler
from iid_cl.distill.trained import TrainedNetwork
from iid_cl.nets import Network, build_network
from iid_cl.seeding import make_generator


@dataclass(frozen=True)
class Draw:
    """The random choices of one step."""

    rows: Tensor  # (K, B) real images of each class
    parameters: Parameters  # siamese augmentation of each class
    psi: Network  # embedder
    accuracy: Tensor | None  # the embedder's training accuracy; None if it was never trained
    objective: Objective[Any]
    phi: TrainedNetwork | None  # network of class centralization

    def of(self, classes: slice) -> "Draw":
        """The part of the draw that belongs to some of the classes."""
        phi = None if self.phi is None else TrainedNetwork(self.phi.network, self.phi.spread[classes])
        return replace(self, rows=self.rows[classes], parameters=self.parameters[classes], phi=phi)


@dataclass(frozen=True)
class Sources:
    """Where the networks and the objective of a draw come from.

    Attributes:
        embedders: hands out an embedder per draw.
        objective: makes the objective; takes a generator on the embedders' device.
        pool: networks for class centralization; if empty, centralization has no part in the loss.
    """

    embedders: FreshEmbedders | KeptEmbedder | EmbedderQueue
    objective: Callable[[torch.Generator], Objective[Any]]
    pool: Sequence[TrainedNetwork] = ()


class Draws:
    """Iterates over the draws of a distillation, one per iteration.

    Args:
        iterations: number of draws.
        sampler: draws real batches and augmentations.
        sources: of networks and objectives.
        seed: seeds the streams that draw objectives and networks for class centralization.
        in_place: hand out every network at the same address, which a replayed CUDA graph needs.
    """

    def __init__(
        self,
        iterations: int,
        sampler: ClassSampler,
        sources: Sources,
        seed: int,
        in_place: bool,
    ) -> None:
        self._iterations = iterations
        self._sampler = sampler
        self._sources = sources
        self._objective_draws = make_generator(seed, "frequencies", device=sampler.device)
        self._phi_draws = make_generator(seed, "trained")
        self._in_place = in_place
        self._places: dict[str, Network] = {}

    def __iter__(self) -> Iterator[Draw]:
        for rows, parameters in self._sampler.draws(self._iterations):
            psi, accuracy = self._sources.embedders.draw()
            objective = self._sources.objective(self._objective_draws)
            yield Draw(rows, parameters, self._place("psi", psi), accuracy, objective, self._phi())

    def _phi(self) -> TrainedNetwork | None:
        pool = self._sources.pool
        if not pool:
            return None
        trained = pool[int(torch.randint(len(pool), (1,), generator=self._phi_draws))]
        return TrainedNetwork(self._place("phi", trained.network), trained.spread)

    def _place(self, role: str, network: Network) -> Network:
        if not self._in_place:
            return network
        if role not in self._places:
            self._places[role] = copy.deepcopy(network)
        self._places[role].load_state_dict(network.state_dict())
        return self._places[role]

    def state_dict(self) -> dict[str, Any]:
        """Everything that later draws depend on; networks for class centralization follow from the seed instead."""
        return {
            "sampler": self._sampler.state_dict(),
            "embedders": self._sources.embedders.state_dict(),
            "objective": self._objective_draws.get_state(),
            "trained": self._phi_draws.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Lets the iteration resume from ``state``."""
        self._sampler.load_state_dict(state["sampler"])
        self._sources.embedders.load_state_dict(state["embedders"])
        self._objective_draws.set_state(state["objective"])
        self._phi_draws.set_state(state["trained"])


def make_embedders(
    config: DistillConfig,
    sampler: ClassSampler,
    own: Network | None,
    arithmetic: Arithmetic,
    lens: Lens,
    seed: int,
) -> FreshEmbedders | KeptEmbedder | EmbedderQueue:
    """Where the objective's embedders come from.

    Args:
        own: the user's network, whose weights are drawn afresh each time whatever the objective, unless it is frozen;
            None for the configured one.
        arithmetic: number format and compilation of the queue's training.
    """
    weight_draws = make_generator(seed, "embedders", "weights", device=lens.device)
    if own is not None:
        own = own.to(lens.device)
        return KeptEmbedder(own) if own.frozen else FreshEmbedders(own, weight_draws)
    architecture_draws = make_generator(seed, "embedders")
    queue = config.embedder_source == "queue" and sampler.classes > 1  # one class alone teaches a network nothing
    classes = sampler.classes if queue else 1

    def make() -> Network:
        return build_network(config.embedder, sampler.shape, classes, architecture_draws, lens.device)

    if config.embedder.pretrained:
        return KeptEmbedder(make())
    if not queue:
        return FreshEmbedders(make(), weight_draws)
    batch_draws = make_generator(seed, "embedders", "batches")

    def batch(count: int) -> tuple[Tensor, Tensor]:
        images, labels = sampler.mixed(count, batch_draws)
        return augment_each(lens.show(images), lens.augmentations, batch_draws), labels

    choice = make_generator(seed, "embedders", "choice")
    return EmbedderQueue(config.queue, make, batch, choice, arithmetic, (architecture_draws, batch_draws))
