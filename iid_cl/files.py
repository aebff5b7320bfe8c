"""Files: written whole or not at all, read up to a maximum size."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iid_cl.errors import UserError

if TYPE_CHECKING:  # reading a configuration takes no torch
    from torch import Tensor

State = dict[str, Any]
"""Contents of a checkpoint: nested dicts and lists of numbers, text, None and tensors."""


MOST_PROBED = 2**26  # bytes written to see whether there is room


class DiskFull(UserError):
    """No room is left on a disk."""


@contextlib.contextmanager
def on_full_disk(sentence: str) -> Iterator[None]:
    """Wraps writing; ``sentence`` says how to go on once there is room.

    Raises:
        DiskFull: with this sentence, where the disk is full.
    """
    try:
        yield
    except (DiskFull, OSError) as error:
        if isinstance(error, DiskFull) or is_full(error):
            raise DiskFull(sentence) from None
        raise


def is_full(error: OSError) -> bool:
    """Whether the disk or the user's share of it is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _unwritable(path: Path, error: OSError) -> UserError:
    if is_full(error):
        return DiskFull(f"{path}: cannot be written ({error.strerror}); free some space and give the command again.")
    return UserError(f"{path}: cannot be written ({error.strerror}); choose another place.")


def check_output(path: Path, *, force: bool = False, size: int = 1) -> None:
    """Refuses an output file before the work that makes it.

    Args:
        path: the file.
        force: replace a file that exists.
        size: its bytes, about.

    Raises:
        UserError: the file exists, cannot be written, or has no room.
    """
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"{path}: is no regular file; choose another place.")
    if path.is_file() and not force:
        raise UserError(f"{path}: exists already; choose another name, or replace it with --force.")
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # which has no name
            file.write(bytes(min(max(size, 1), MOST_PROBED)))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from None


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that readers see all of it or nothing: a temporary file beside it is flushed and renamed.

    Raises:
        UserError: the file cannot be written; a pipe, a device or a socket is in its place.
        DiskFull: there is no room.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if is_special(path):
        raise UserError(f"{path}: is a pipe, a device or a socket; choose another place.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # "x": never writes through a link that somebody left there
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def is_special(path: Path) -> bool:
    """Whether a path is, or leads to, something that is neither a file nor a folder: a pipe, a device, a socket."""
    try:
        kind = path.stat().st_mode
    except OSError:  # it is missing, or a link that leads nowhere
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file with :func:`write_bytes`.

    Raises:
        UserError: the file cannot be written.
    """
    from safetensors.torch import save

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, metadata))


def read_pt(path: Path) -> Any:
    """What ``torch.save`` wrote into a file: tensors, numbers, text and collections of them. It can run nothing.

    Raises:
        ValueError: it holds something else, or is damaged.
        OSError: it cannot be read.
    """
    import codecs
    import warnings
    from importlib import import_module
    from pickle import UnpicklingError

    import numpy as np
    import torch

    scalar = import_module("numpy._core.multiarray").scalar  # accuracies are often NumPy's numbers
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    plain = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds, (codecs.encode, "_codecs.encode")]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(plain):
            warnings.simplefilter("ignore")  # on odd versions of the format, which then fail or are read all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, KeyError, EOFError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(str(error).strip().partition("\n")[0][:100] or type(error).__name__) from None


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
