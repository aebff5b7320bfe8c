"""Distillation of classes of unequal size: a class with fewer images than asked gives as many as it has."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from iid_cl.config.distill import DistillConfig
from iid_cl.distill.engine import distill
from iid_cl.memory.exemplars import ExemplarSet


def distill_each(
    images_by_class: Mapping[int, Tensor],
    config: DistillConfig,
    *,
    ipc: int,
    generator: torch.Generator,
    weights: Mapping[int, Tensor] | None = None,
    **arguments: Any,
) -> ExemplarSet:
    """:func:`iid_cl.distill.distill` of ``ipc`` images of each class, or as many as it has.

    Classes of equal numbers are condensed together, the larger ones first; all start from the same state of
    ``generator``, so that a class comes out the same whatever stands beside it. The remaining arguments are those of
    ``distill``.
    """
    counts = {label: min(ipc, len(images)) for label, images in images_by_class.items()}
    state = generator.get_state()
    memory: ExemplarSet | None = None
    for count in sorted(set(counts.values()), reverse=True):
        group = {label: images for label, images in images_by_class.items() if counts[label] == count}
        generator.set_state(state)
        distilled = distill(
            group,
            config,
            ipc=count,
            generator=generator,
            weights={label: each for label, each in (weights or {}).items() if label in group},
            **arguments,
        )
        memory = distilled if memory is None else distilled.merge(memory)  # whose metadata are the larger ones'
    if memory is None:
        return distill({}, config, ipc=ipc, generator=generator, **arguments)  # which says what is wrong
    return memory
