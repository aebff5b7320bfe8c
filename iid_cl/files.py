"""Files: written whole or not at all, read up to a maximum size."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iid_cl.errors import UserError

if TYPE_CHECKING:  # reading a configuration takes no torch
    from torch import Tensor

State = dict[str, Any]
"""Contents of a checkpoint: nested dicts and lists of numbers, text, None and tensors."""


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that readers see all of it or nothing: a temporary file beside it is flushed and renamed.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # "x": never writes through a link that somebody left there
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file with :func:`write_bytes`.

    Raises:
        UserError: the file cannot be written.
    """
    from safetensors.torch import save

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, metadata))


MOST_BYTES = (
    2**26
)  # of a text that a run or a comparison writes; as lists and numbers it takes up to thirty times as much


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """A file's text in UTF-8.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, not UTF-8, or longer than ``most_bytes``.
    """
    if not path.is_file() and path.exists():  # a pipe would wait for its writer
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    return data.decode("utf-8")
