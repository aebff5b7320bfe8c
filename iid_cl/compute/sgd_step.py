"""A step of SGD on a classifier; on a GPU it is recorded once and replayed."""

from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.nn import functional

from iid_cl.compute.arithmetic import Arithmetic
from iid_cl.data.augmentation import Parameters, augment
from iid_cl.nets.base import Network

SETTLING = 3  # steps before one is recorded, in which CUDA's libraries and the optimizer allocate their buffers


class SgdStep:
    """Takes SGD steps on the cross-entropy of augmented images.

    A small step keeps a GPU waiting for a hundred kernel launches. A CUDA graph of the step takes a single launch: it
    reads each batch from the place of the recorded one. Batches of another size than the first are computed without the
    graph.

    Args:
        network: in training mode, on the device of the data; its parameters require gradients whenever a step is taken.
        optimizer: of the network's parameters; when its learning rate changes, the step is recorded again.
        arithmetic: number format and compilation of the forward pass.
    """

    def __init__(self, network: Network, optimizer: torch.optim.Optimizer, arithmetic: Arithmetic) -> None:
        self._network, self._optimizer, self._arithmetic = network, optimizer, arithmetic
        self._records = next(network.parameters()).is_cuda
        self._taken = 0
        self._shape: torch.Size | None = None
        self._lr = 0.0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []  # of the recorded step
        self._scores = torch.empty(0)

    def __call__(self, images: Tensor, labels: Tensor, parameters: Parameters | None = None) -> Tensor:
        """Takes the step.

        Args:
            images: (N, C, H, W) normalised float32.
            labels: (N,) int64, or class probabilities (N, K).
            parameters: N transformations, one per image; None for no augmentation.

        Returns:
            Class scores (N, K) before the step, without gradient; valid until the next step.
        """
        inputs = [images, labels, *(() if parameters is None else parameters.tensors)]
        self._shape = self._shape or images.shape
        if not self._records or images.shape != self._shape:
            return self._take(inputs)
        if self._taken < SETTLING:
            self._taken += 1
            return self._aside(inputs)
        if self._graph is None or self._optimizer.param_groups[0]["lr"] != self._lr:
            self._record(inputs)
        assert self._graph is not None  # recorded
        for place, tensor in zip(self._inputs, inputs, strict=True):
            place.copy_(tensor)
        self._graph.replay()
        return self._scores

    def _take(self, inputs: list[Tensor]) -> Tensor:
        images, labels, *parameters = inputs
        if parameters:
            images = augment(images[:, None], Parameters(*parameters))[:, 0]
        scores = self._arithmetic.scores(self._network, images)
        self._optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(scores, labels).backward()
        self._optimizer.step()
        return scores.detach()

    def _aside(self, inputs: list[Tensor]) -> Tensor:
        """Takes the step on a separate stream, as CUDA asks for before a step is recorded."""
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            scores = self._take(inputs)
        current.wait_stream(stream)
        return scores

    def _record(self, inputs: list[Tensor]) -> None:
        self._lr = self._optimizer.param_groups[0]["lr"]
        self._inputs = [tensor.clone() for tensor in inputs]
        self._graph = None
        graph, pool = torch.cuda.CUDAGraph(), _shared_pool(inputs[0].device)
        # PyTorch's compiler or an earlier step may free an older workspace of cuBLAS while this step still uses it. A
        # workspace made while recording belongs to the pool.
        torch._C._cuda_clearCublasWorkspaces()
        # threads that show progress may ask the device for its memory meanwhile
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            self._scores = self._take(self._inputs)
        torch._C._cuda_clearCublasWorkspaces()
        self._graph = graph
        _RECORDED.add(self)

    def pool(self, device: torch.device) -> Any:
        """The memory pool of the recorded step; None if no step was recorded on this device."""
        return self._graph.pool() if self._graph is not None and self._inputs[0].device == device else None


_RECORDED: WeakSet[SgdStep] = WeakSet()


def _shared_pool(device: torch.device) -> Any:
    """A memory pool that all recorded steps share: they run one at a time and start afresh."""
    return next((pool for step in _RECORDED if (pool := step.pool(device)) is not None), None)
