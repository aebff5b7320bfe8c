"""From a configuration to its memory method: the one place that knows which name is which class."""

from collections.abc import Callable
from dataclasses import replace

from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS
from iid_cl.errors import UserError
from iid_cl.memory.formats import storage_of
from iid_cl.methods.auto import Auto
from iid_cl.methods.base import Method
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.mixed import Mixed
from iid_cl.methods.real import Real
from iid_cl.methods.reservoir import Reservoir


def make_method(config: Config, name: str) -> Method:
    """The memory method of a name, with the configured settings.

    Args:
        config: settings of the memory and the distillation, and how networks train on the memory.
        name: of :data:`iid_cl.config.methods.METHODS`, except for bounds, which keep no memory.

    Raises:
        UserError: another name, or settings that exclude each other.
    """
    if name not in METHODS or METHODS[name].bound:
        known = ", ".join(info.name for info in METHODS.values() if not info.bound)
        raise UserError(f"memory.method: {name!r} is not a memory; use one of {known}.")
    if not METHODS[name].real:
        return BUILDERS[name](config)
    return Real(name, storage_of(config.memory.downscale, config.memory.jpeg, config.memory.dct))


def _distilled(config: Config) -> Distilled:
    memory = config.memory
    lossy = memory.jpeg is not None or memory.dct is not None
    storage = storage_of(jpeg=memory.jpeg, dct=memory.dct) if lossy else None
    return Distilled(config.distill, storage, memory.soft_labels, memory.shrink)


def _auto(config: Config) -> Auto:
    return Auto(replace(_distilled(config), storage=None))


BUILDERS: dict[str, Callable[[Config], Method]] = {
    "reservoir": lambda config: Reservoir(),
    "distilled": _distilled,
    "hybrid": lambda config: Mixed(config.memory.share, _distilled(config)),
    "auto": _auto,
}
