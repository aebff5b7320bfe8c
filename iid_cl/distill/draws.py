"""What each draw of a distillation consists of: real batch, augmentation and networks."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iid_cl.acceleration import Arithmetic
from iid_cl.config_distill import DistillConfig
from iid_cl.data.augmentation import Parameters, augment_each
from iid_cl.data.images import Normalization
from iid_cl.distill.characteristic import draw_frequencies
from iid_cl.distill.embedders import EmbedderQueue, FreshEmbedders
from iid_cl.distill.sampling import ClassSampler
from iid_cl.distill.trained import TrainedNetwork
from iid_cl.errors import UserError
from iid_cl.nets import Network, build_network
from iid_cl.seeding import make_generator


@dataclass(frozen=True)
class Draw:
    """What is drawn once and then serves one step or several."""

    rows: Tensor  # (K, B) real images of each class
    parameters: Parameters  # siamese augmentation of each class
    psi: Network  # embedder
    accuracy: Tensor | None  # its training accuracy, where it was trained
    frequencies: Tensor | None  # (1, T, D) of characteristic functions
    phi: TrainedNetwork | None  # network of class centralization


def draws(
    config: DistillConfig,
    sampler: ClassSampler,
    embedders: FreshEmbedders | EmbedderQueue,
    pool: Sequence[TrainedNetwork],
    features: int,
    seed: int,
    device: torch.device,
    in_place: bool,
) -> Iterator[Draw]:
    """One draw after the other, as many as the iterations take.

    Args:
        pool: networks for class centralization, perhaps none.
        features: D, how many an embedder sees in an image.
        seed: of the streams that networks and frequencies are drawn from.
        in_place: hand out networks at one and the same address, as a replayed CUDA graph needs them.
    """
    frequency_draws = make_generator(seed, "frequencies", device=device)
    phi_draws = make_generator(seed, "trained")
    places: dict[str, Network] = {}

    def place(role: str, network: Network) -> Network:
        if not in_place:
            return network
        if role not in places:
            places[role] = copy.deepcopy(network)
        places[role].load_state_dict(network.state_dict())
        return places[role]

    for rows, parameters in sampler.draws(-(-config.iterations // config.steps_per_draw)):
        psi, accuracy = embedders.draw()
        frequencies, phi = None, None
        if config.objective == "ncfm":
            frequencies = draw_frequencies(config.characteristic.frequencies, features, frequency_draws)
        if pool:
            chosen = pool[int(torch.randint(len(pool), (1,), generator=phi_draws))]
            phi = TrainedNetwork(place("phi", chosen.network), chosen.spread)
        yield Draw(rows, parameters, place("psi", psi), accuracy, frequencies, phi)


def make_embedders(
    config: DistillConfig,
    sampler: ClassSampler,
    own: Network | None,
    arithmetic: Arithmetic,
    augmentations: Sequence[str],
    seed: int,
    normalization: Normalization,
    device: torch.device,
) -> FreshEmbedders | EmbedderQueue:
    """The configured source of embedders.

    Args:
        own: a network of the user's, drawn afresh each time.
        arithmetic: of the queue's training.

    Raises:
        UserError: a queue is asked for, and an own network given.
    """
    weight_draws = make_generator(seed, "embedders", "weights", device=device)
    if own is not None:
        if config.embedder_source == "queue":
            raise UserError("distill.embedders: a queue trains its own networks; use 'fresh' with an embedder given.")
        return FreshEmbedders(own.to(device), weight_draws)
    architecture_draws = make_generator(seed, "embedders")
    queue = config.embedder_source == "queue" and sampler.classes > 1  # one class alone teaches a network nothing
    classes = sampler.classes if queue else 1

    def make() -> Network:
        return build_network(config.embedder, sampler.shape, classes, architecture_draws, device)

    if not queue:
        return FreshEmbedders(make(), weight_draws)
    batch_draws = make_generator(seed, "embedders", "batches")

    def batch(count: int) -> tuple[Tensor, Tensor]:
        images, labels = sampler.mixed(count, batch_draws)
        return augment_each(normalization.apply(images), augmentations, batch_draws), labels

    choice = make_generator(seed, "embedders", "choice")
    return EmbedderQueue(config.queue, make, batch, choice, arithmetic)
