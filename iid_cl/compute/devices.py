"""The device of a run, and how busy it is."""

import torch

from iid_cl.errors import UserError, shown


def resolve_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` names.

    Raises:
        UserError: the name is no device's, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device: {shown(name)} is no device; use auto, cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device: {name!r} is not usable here ({torch.cuda.device_count()} CUDA devices found); "
            "use --device cpu or --device auto."
        )
    return device


def gpu_state() -> str:
    """Memory in use on the current GPU and, if NVIDIA's ``pynvml`` is installed, how busy it is, in words.

    Empty if this process uses no GPU.
    """
    if not torch.cuda.is_initialized():
        return ""
    free, total = torch.cuda.mem_get_info()
    memory = f"GPU {(total - free) / 2**30:.1f} of {total / 2**30:.0f} GiB"
    try:
        return f"{memory}, {torch.cuda.utilization()} % busy"
    except (ModuleNotFoundError, RuntimeError, OSError):
        return memory
    except Exception as error:  # pynvml's own errors, whose class cannot be named without it
        if type(error).__module__.split(".")[0] == "pynvml":
            return memory
        raise
