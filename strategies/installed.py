"""Imported before Avalanche: says where it is missing, and spares it what takes seconds and is seldom used."""

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec

from iid_cl.errors import UserError, need

SELDOM_USED = ("wandb", "gdown")  # Avalanche imports them always, for one logger and one data set


def _load_later(name: str) -> None:
    """Lets a package load when something of it is first used, see :class:`importlib.util.LazyLoader`."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = loader = LazyLoader(spec.loader)
    sys.modules[name] = module = module_from_spec(spec)
    loader.exec_module(module)


try:
    need("avalanche", "iid_cl.strategies", "avalanche")
except UserError as error:
    raise ModuleNotFoundError(str(error), name="avalanche") from None
for package in SELDOM_USED:
    _load_later(package)
