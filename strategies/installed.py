"""Imported before Avalanche: says where it is missing, and spares it what takes seconds and is seldom used."""

import sys
from importlib.util import find_spec, module_from_spec
from typing import Any

from iid_cl.errors import UserError, need

SELDOM_USED = ("wandb", "gdown")  # Avalanche always imports them, for one logger and one data set


def load_later(name: str) -> None:
    """Lets a package load when something of it is first used.

    :class:`importlib.util.LazyLoader` loads it too soon: PyTorch's import asks every module for its file.
    """
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.loader is None:
        return
    loader, module = spec.loader, module_from_spec(spec)

    def load(attribute: str) -> Any:
        del module.__dict__["__getattr__"]
        loader.exec_module(module)
        return getattr(module, attribute)

    module.__dict__["__getattr__"] = load
    sys.modules[name] = module


try:
    need("avalanche", "iid_cl.strategies", "avalanche")
except UserError as error:
    raise ModuleNotFoundError(str(error), name="avalanche") from None
for package in SELDOM_USED:
    load_later(package)
