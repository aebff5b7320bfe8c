"""The gradient of one step on the synthetic images, a chunk of classes at a time."""

import torch
from torch import Tensor

from iid_cl.compute.arithmetic import Arithmetic
from iid_cl.config.distill import DistillConfig
from iid_cl.config.objectives import OBJECTIVE_INFO
from iid_cl.data.augmentation import augment
from iid_cl.data.lens import Lens
from iid_cl.distill.draws import Draw
from iid_cl.distill.losses import (
    RealStatistics,
    centralization_term,
    cross_entropy_term,
    matching_terms,
    real_statistics,
    step_unit,
)
from iid_cl.distill.sampling import ClassSampler
from iid_cl.errors import UserError
from iid_cl.memory.partition import expand
from iid_cl.nets import Network


class ImageStep:
    """Loss terms of the synthetic images and the gradient of their sum.

    Given the networks, a class's terms depend on this class alone. So classes are processed in chunks that fit into
    memory. If a chunk does not fit after all, chunks are halved and the step starts over.

    Args:
        config: objective and weights of the terms.
        sampler: holds the real images.
        lens: how networks see images.
        arithmetic: number format and compilation.
        chunk: number of classes in a chunk.
    """

    def __init__(
        self,
        config: DistillConfig,
        sampler: ClassSampler,
        lens: Lens,
        arithmetic: Arithmetic,
        chunk: int,
    ) -> None:
        self._config = config
        self._sampler = sampler
        self._lens = lens
        self._arithmetic = arithmetic
        self.chunk = chunk
        self._observe = arithmetic.capture(self._real_statistics, sampler.device)
        self._compare = arithmetic.capture(self._terms, sampler.device)

    def gradient(self, synthetic: Tensor, draw: Draw) -> dict[str, Tensor]:
        """Sets the gradient of ``synthetic``, the stored images (K, M, C, H, W); returns the loss terms, each (K,).

        Raises:
            UserError: not even one class fits into a GPU's memory.
        """
        if self._arithmetic.captures(synthetic.device):  # imports the compiler, which takes seconds
            torch.compiler.cudagraph_mark_step_begin()
        while True:
            try:
                return self._in_chunks(synthetic, draw)
            except torch.OutOfMemoryError:
                pass
            self._shrink()  # outside the handler, which keeps what filled the memory alive

    def _shrink(self) -> None:
        if self.chunk == 1 or OBJECTIVE_INFO[self._config.objective].joint:
            raise UserError(
                f"distill.real_batch: {self._config.real_batch} real images a class don't fit into the device's "
                "memory; use a smaller batch, fewer images per class or a narrower embedder."
            )
        self.chunk = -(-self.chunk // 2)
        torch.cuda.empty_cache()

    def _in_chunks(self, synthetic: Tensor, draw: Draw) -> dict[str, Tensor]:
        gradient = torch.empty_like(synthetic)
        labels = torch.arange(len(synthetic), device=synthetic.device)
        unit = step_unit(synthetic, self._config)
        chunks = []
        for first in range(0, len(synthetic), self.chunk):
            classes = slice(first, first + self.chunk)
            part = draw.of(classes)
            with torch.no_grad():
                statistics = self._observe(self._lens.show(self._sampler.real(part.rows)), part)
            images = synthetic.detach()[classes].requires_grad_()
            terms = self._compare(images, statistics, labels[classes], part)
            (unit * torch.stack(list(terms.values())).sum()).backward()
            assert images.grad is not None  # set by backward
            gradient[classes] = images.grad
            chunks.append({name: term.detach().clone() for name, term in terms.items()})
        synthetic.grad = gradient
        return {name: torch.cat([terms[name] for terms in chunks]) for name in chunks[0]}

    def _real_statistics(self, real: Tensor, draw: Draw) -> RealStatistics:
        local = self._local(draw.psi, augment(real, draw.parameters)).flatten(3)
        return real_statistics(local, draw.objective, self._config)

    def _terms(self, synthetic: Tensor, real: RealStatistics, labels: Tensor, draw: Draw) -> dict[str, Tensor]:
        """Weighted loss terms, each (k,), of the stored images (k, M, C, H, W) of the classes ``labels``."""
        psi, phi = draw.psi, draw.phi
        decoded = expand(synthetic.flatten(0, 1), self._config.factor).unflatten(0, (len(synthetic), -1))
        augmented = augment(decoded, draw.parameters)
        local = self._local(psi, augmented)
        terms = matching_terms(real, local.flatten(3), draw.objective, self._config)
        if draw.accuracy is not None and self._config.queue.cross_entropy > 0:
            scores = psi.classifier(psi.pool(local.flatten(0, 1))).unflatten(0, augmented.shape[:2])
            terms["ce"] = cross_entropy_term(scores, labels, draw.accuracy, self._config)
        if phi is not None:
            features = phi.network.pool(self._local(phi.network, augmented).flatten(0, 1))
            terms["cc"] = centralization_term(features.unflatten(0, augmented.shape[:2]), phi.spread, self._config)
        return terms

    def _local(self, network: Network, images: Tensor) -> Tensor:
        """Last feature maps (K, n, C, H', W') of images (K, n, c, H, W)."""
        maps: Tensor = self._arithmetic.embed(network, images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return maps
