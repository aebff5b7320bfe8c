"""The distillation engine: :func:`distill` condenses each class into a few synthetic images.

The package itself can be called, so ``from iid_cl import distill`` works as a function whatever was imported before.
"""

import sys
from types import ModuleType
from typing import Any

from iid_cl.distill.engine import DistillOptions, distill

__all__ = ["DistillOptions", "distill"]


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return distill(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
