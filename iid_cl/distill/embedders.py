"""Sources of embedding networks: fresh weights in each iteration, trained ones, or a queue trained on the fly."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from iid_cl.compute.arithmetic import EAGER, Arithmetic
from iid_cl.compute.sgd_step import SgdStep
from iid_cl.config.distill import QueueConfig
from iid_cl.nets import Network, initialize


class FreshEmbedders:
    """A randomly initialised network in each iteration, never trained (DM, arXiv 2110.04181).

    Args:
        network: its weights are drawn anew each time.
        generator: on the network's device.
    """

    def __init__(self, network: Network, generator: torch.Generator) -> None:
        self._network = network.requires_grad_(False)
        self._generator = generator

    def draw(self) -> tuple[Network, None]:
        """The network of this iteration; it is never trained, so it has no accuracy."""
        initialize(self._network, self._generator)
        return self._network, None

    def state_dict(self) -> dict[str, Any]:
        """Everything that later networks depend on."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resumes from ``state``."""
        self._generator.set_state(state["generator"])


class KeptEmbedder:
    """One network with trained weights, the same in each iteration.

    Args:
        network: it is frozen and set to evaluation mode.
    """

    def __init__(self, network: Network) -> None:
        self._network = network.requires_grad_(False).eval()

    def draw(self) -> tuple[Network, None]:
        """The network; nothing is known of its accuracy on these classes."""
        return self._network, None

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the weights follow from the configuration."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes nothing."""


@dataclass
class _Member:
    network: Network
    optimizer: torch.optim.Optimizer
    step: SgdStep
    born: int
    accuracy: Tensor


class EmbedderQueue:
    """Networks of all ages, trained on the fly on the current experience (IDM, arXiv 2307.09742, section 3.3).

    In each iteration a few networks take a few SGD steps on real images, and one network is drawn. A fresh network
    joins every 30 iterations. The oldest leaves when there are more than 100.

    Attributes:
        SIZE: maximum number of networks.
        EVERY: iterations between two fresh networks.

    Args:
        config: number of networks that train in an iteration, their steps and batches.
        make: builds a randomly initialised network with an output per class.
        batch: draws ``n`` augmented real images (n, c, H, W) and their class indices (n,).
        generator: on the CPU; decides which networks train and which is drawn.
        arithmetic: number format and compilation of the training.
        sources: generators that ``make`` and ``batch`` draw from; they belong to the queue's state.
    """

    SIZE = 100
    EVERY = 30

    def __init__(
        self,
        config: QueueConfig,
        make: Callable[[], Network],
        batch: Callable[[int], tuple[Tensor, Tensor]],
        generator: torch.Generator,
        arithmetic: Arithmetic = EAGER,
        sources: Sequence[torch.Generator] = (),
    ) -> None:
        self._config = config
        self._make = make
        self._batch = batch
        self._generator = generator
        self._arithmetic = arithmetic
        self._generators = (generator, *sources)
        self._members: deque[_Member] = deque(maxlen=self.SIZE)
        self._iteration = 0

    def __len__(self) -> int:
        return len(self._members)

    @property
    def ages(self) -> list[int]:
        """Iterations since each network joined, oldest first."""
        return [self._iteration - member.born for member in self._members]

    def draw(self) -> tuple[Network, Tensor]:
        """Advances the queue by an iteration; returns a network and its training accuracy, a scalar in [0, 1].

        The accuracy is measured on the batches of the network's last training; 0 if it never trained.
        """
        if self._iteration % self.EVERY == 0:
            self._push()
        self._iteration += 1
        order = torch.randperm(len(self._members), generator=self._generator)
        for index in order[: self._config.networks].tolist():
            self._train(self._members[index])
        member = self._members[int(torch.randint(len(self._members), (1,), generator=self._generator))]
        return member.network, member.accuracy

    def _push(self) -> None:
        network = self._make()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        network.requires_grad_(False)
        step = SgdStep(network, optimizer, self._arithmetic)
        accuracy = torch.zeros((), device=network.classifier.weight.device)  # a compiled step tells devices apart
        self._members.append(_Member(network, optimizer, step, self._iteration, accuracy))

    def _train(self, member: _Member) -> None:
        member.network.requires_grad_(True)
        correct = []
        size = self._config.batch_size
        images, labels = self._batch(self._config.steps * size)  # all at once: a device need not wait for the draws
        for batch, targets in zip(images.split(size), labels.split(size), strict=True):
            correct.append((member.step(batch, targets).argmax(1) == targets).float().mean())
        member.accuracy = torch.stack(correct).mean().detach()
        member.network.requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """All networks with their optimizers, and everything that later draws depend on."""
        return {
            "iteration": self._iteration,
            "generators": [generator.get_state() for generator in self._generators],
            "members": [
                {
                    "network": member.network.state_dict(),
                    "optimizer": member.optimizer.state_dict(),
                    "born": member.born,
                    "accuracy": member.accuracy,
                }
                for member in self._members
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resumes from ``state``."""
        for saved in state["members"]:
            self._push()
            member = self._members[-1]
            member.network.load_state_dict(saved["network"])
            member.optimizer.load_state_dict(saved["optimizer"])
            member.born = saved["born"]
            member.accuracy = saved["accuracy"].to(member.accuracy.device)
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.set_state(saved)
        self._iteration = state["iteration"]
