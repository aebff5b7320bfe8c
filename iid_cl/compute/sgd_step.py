"""A step of SGD on a classifier; on a GPU it is recorded once and replayed."""

from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.nn import functional

from iid_cl.compute.arithmetic import Arithmetic
from iid_cl.data.augmentation import Parameters, augment
from iid_cl.nets.base import Network

SETTLING = 3  # steps before one is recorded: CUDA's libraries and the optimizer make what they keep


class SgdStep:
    """One step after the other on the cross-entropy of augmented images.

    A small step keeps a GPU waiting for its hundred kernels to be launched. As a CUDA graph it is launched once: what
    is replayed reads a batch from where the recorded one lay. Batches of another size than the first are taken without.

    Args:
        network: in training mode, on the device of the data; its ``requires_grad`` is set where steps are taken.
        optimizer: of the network's parameters; a new learning rate is recorded anew.
        arithmetic: of the forward pass.
    """

    def __init__(self, network: Network, optimizer: torch.optim.Optimizer, arithmetic: Arithmetic) -> None:
        self._network, self._optimizer, self._arithmetic = network, optimizer, arithmetic
        self._records = next(network.parameters()).is_cuda
        self._taken = 0
        self._shape: torch.Size | None = None
        self._lr = 0.0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._given: list[Tensor] = []
        self._scores = torch.empty(0)

    def __call__(self, images: Tensor, labels: Tensor, parameters: Parameters | None = None) -> Tensor:
        """Takes the step.

        Args:
            images: (N, C, H, W) normalised float32.
            labels: (N,) int64, or class probabilities (N, K).
            parameters: N transformations, one per image; None for none.

        Returns:
            Class scores (N, K) before the step, without gradient; they hold until the next one.
        """
        given = [images, labels, *(() if parameters is None else parameters.tensors)]
        self._shape = self._shape or images.shape
        if not self._records or images.shape != self._shape:
            return self._take(given)
        if self._taken < SETTLING:
            self._taken += 1
            return self._aside(given)
        if self._graph is None or self._optimizer.param_groups[0]["lr"] != self._lr:
            self._record(given)
        assert self._graph is not None  # recorded
        for place, tensor in zip(self._given, given, strict=True):
            place.copy_(tensor)
        self._graph.replay()
        return self._scores

    def _take(self, given: list[Tensor]) -> Tensor:
        images, labels, *rest = given
        if rest:
            images = augment(images[:, None], Parameters(*rest))[:, 0]
        scores = self._arithmetic.scores(self._network, images)
        self._optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(scores, labels).backward()
        self._optimizer.step()
        return scores.detach()

    def _aside(self, given: list[Tensor]) -> Tensor:
        """On a stream of its own, as a step has to be taken before one is recorded."""
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            scores = self._take(given)
        current.wait_stream(stream)
        return scores

    def _record(self, given: list[Tensor]) -> None:
        self._lr = self._optimizer.param_groups[0]["lr"]
        self._given = [tensor.clone() for tensor in given]
        self._graph = None
        graph, pool = torch.cuda.CUDAGraph(), _shared_pool(given[0].device)
        # A workspace of cuBLAS that was there before may be freed while the step is in use, by PyTorch's compiler or
        # with the step that it came from. One that is made while recording belongs to the pool.
        torch._C._cuda_clearCublasWorkspaces()
        # threads that show progress may ask the device for its memory meanwhile
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            self._scores = self._take(self._given)
        torch._C._cuda_clearCublasWorkspaces()
        self._graph = graph
        _RECORDED.add(self)

    def pool(self, device: torch.device) -> Any:
        """The memory that its recorded step uses on this device; None where there is none."""
        return self._graph.pool() if self._graph is not None and self._given[0].device == device else None


_RECORDED: WeakSet[SgdStep] = WeakSet()


def _shared_pool(device: torch.device) -> Any:
    """Memory that all recorded steps share: no two run at a time, and none needs what an earlier one left."""
    return next((pool for step in _RECORDED if (pool := step.pool(device)) is not None), None)
