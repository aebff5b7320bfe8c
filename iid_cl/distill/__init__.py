"""The distillation engine: :func:`distill` condenses each class into a few synthetic images."""

from iid_cl.distill.engine import distill

__all__ = ["distill"]
