"""The distillation engine: :func:`distill` condenses each class into a few synthetic images."""

from iid_cl.distill.engine import DistillOptions, distill

__all__ = ["DistillOptions", "distill"]
