"""Continual learning whose memory is distilled.

What most programs need is here; Avalanche's side is in :mod:`iid_cl.strategies`. Importing this package takes no time:
torch and Avalanche are imported with the names that use them.

>>> from iid_cl import DistillConfig
>>> DistillConfig(iterations=100).objective
'dm'
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iid_cl.config.distill import DistillConfig
    from iid_cl.data.images import Normalization
    from iid_cl.distill.engine import distill
    from iid_cl.evaluate.model import load_model
    from iid_cl.memory.files import load_memory, save_memory
    from iid_cl.methods.memory import Memory

__version__ = "0.2.0"
__all__ = ["DistillConfig", "Memory", "Normalization", "distill", "load_memory", "load_model", "save_memory"]

_HOMES = {
    "DistillConfig": "iid_cl.config.distill",
    "Memory": "iid_cl.methods.memory",
    "Normalization": "iid_cl.data.images",
    "load_memory": "iid_cl.memory.files",
    "load_model": "iid_cl.evaluate.model",
    "save_memory": "iid_cl.memory.files",
}  # `distill` is the package of that name, which can be called


def __getattr__(name: str) -> Any:
    """The public names, imported when they are asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


# Old import paths that the documentation named. `iid_cl.config_distill`, which programs name, is a module.
_MOVED = {
    "iid_cl.config_files": "iid_cl.config.reading",
    "iid_cl.config_schema": "iid_cl.config.schema",
    "iid_cl.evaluate.scratch": "iid_cl.evaluate.protocol",
    "iid_cl.memory.budget": "iid_cl.budget",
}


class _Moved(MetaPathFinder, Loader):
    """Finds a module under its old name, where it has what the module of the new name has."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update({k: v for k, v in vars(import_module(_MOVED[module.__name__])).items() if k[:2] != "__"})


sys.meta_path.append(_Moved())
