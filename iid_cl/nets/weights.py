"""Trained weights from files: safetensors, or PyTorch's format with nothing but tensors in it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from iid_cl.errors import UserError, printable, shown
from iid_cl.files import read_pt

OF_RUNS = "model.safetensors"  # the network of a finished run, in its directory
WRAPPINGS = ("state_dict", "model", "model_state_dict", "state_dict_ema")  # keys under which training scripts put them


def read_weights(source: str) -> tuple[dict[str, Tensor], Mapping[str, Any] | None]:
    """The tensors of a file by name, and the network's configuration where a run of iid-cl wrote the file.

    Args:
        source: a file, or the directory of a finished run.

    Raises:
        UserError: there is no such file, or it holds something other than weights.
    """
    path = Path(source)
    path = path / OF_RUNS if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"weights: {path}: no such file; name one, or the directory of a finished run.")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        return _unwrapped(read_pt(path)), None
    except (SafetensorError, ValueError, OSError) as error:
        reason = printable(str(error).strip().split("\n")[0][:100])
        raise UserError(
            f"weights: {path}: holds no weights that can be read safely ({reason}); save the network's state_dict(), "
            "as safetensors or with torch.save."
        ) from None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any] | None]:
    with safe_open(path, framework="pt") as opened:
        about = (opened.metadata() or {}).get("iid_cl")
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, it is no dict
    network = None if about is None else json.loads(about).get("network")
    return tensors, network if isinstance(network, Mapping) else None


def _unwrapped(value: Any) -> dict[str, Tensor]:
    """A state dict, without what training scripts lay around it.

    Raises:
        ValueError: there is none.
    """
    for key in WRAPPINGS:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
    if not isinstance(value, Mapping) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise ValueError(f"it holds {shown(type(value).__name__)}")
    return {str(name).removeprefix("module."): tensor for name, tensor in value.items()}


def load_features(network: nn.Module, tensors: Mapping[str, Tensor], heads: tuple[str, ...], source: str) -> None:
    """Loads all weights but those of the head.

    Args:
        network: takes the weights.
        tensors: by name.
        heads: names of the modules of the head, whose weights in ``tensors`` and in ``network`` are left alone.
        source: for the message.

    Raises:
        UserError: a weight is missing, too many, or of another shape.
    """

    def of_head(name: str) -> bool:
        return any(name.startswith(f"{head}.") for head in heads)

    wanted = {name: tensor.shape for name, tensor in network.state_dict().items() if not of_head(name)}
    given = {name: tensor for name, tensor in tensors.items() if not of_head(name)}
    missing = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    surplus = [name for name in given if name not in wanted]
    other = [name for name in wanted if name in given and given[name].shape != wanted[name]]
    for names, what in ((missing, "lacks"), (surplus, "has besides"), (other, "has in another shape")):
        if names:
            raise UserError(
                f"weights: {printable(source)}: does not fit this network: it {what} {names[0]!r}"
                f"{f' and {len(names) - 1} more' if len(names) > 1 else ''}; name the network that it was trained with."
            )
    network.load_state_dict(given, strict=False)
