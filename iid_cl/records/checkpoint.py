"""Checkpoints: nested state as safetensors with a manifest, written whole or not at all.

``state/000007.safetensors`` holds the tensors and, in its metadata, everything else as JSON. ``state/000007.json``, the
manifest, holds the file's size and SHA-256. It is written last, so a checkpoint with a manifest is complete. The last
two checkpoints are kept: if the newest is damaged, the one before is read.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from iid_cl.errors import UserError
from iid_cl.files import State, read_text, write_bytes
from iid_cl.records.directory import STATE

FORMAT = "iid-cl checkpoint"
VERSION = 1
KEPT = 2
MOST_MANIFEST = 2**12  # bytes


class Checkpoints:
    """The numbered checkpoints of a folder, which is made with the first of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, state: State) -> None:
        """Adds a checkpoint and removes all but the last two.

        Raises:
            UserError: it cannot be written; earlier checkpoints are untouched.
        """
        tensors: dict[str, Tensor] = {}
        plain = json.dumps({"format": FORMAT, "version": VERSION, "state": _part(state, tensors)})
        data = save(tensors, {"iid_cl": plain})
        number = 1 + max(self._numbers(), default=0)
        manifest = {"file": self._path(number).name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_bytes(self._path(number), data)
        write_bytes(self._path(number).with_suffix(".json"), (json.dumps(manifest) + "\n").encode())
        for old in self._numbers()[:-KEPT]:
            for suffix in (".json", ".safetensors"):  # the manifest first: a file without it is no checkpoint
                with contextlib.suppress(OSError):
                    self._path(old).with_suffix(suffix).unlink(missing_ok=True)

    def newest(self, warn: Callable[[str], None]) -> State | None:
        """The newest complete checkpoint; None if there is no checkpoint.

        Args:
            warn: called with a line about each damaged checkpoint that is skipped.

        Raises:
            UserError: all are damaged, or a newer iid-cl wrote one.
        """
        numbers = self._numbers()
        for number in reversed(numbers):
            path = self._path(number)
            try:
                return _read(path)
            except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                warn(f"{path}: is damaged ({reason}); going back to the checkpoint before it")
        if numbers:
            raise UserError(f"{self._folder}: all checkpoints are damaged; remove the run directory and run it again.")
        return None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.safetensors"

    def _numbers(self) -> list[int]:
        """Numbers of the checkpoints with a manifest, ascending."""
        names = {file.stem for file in self._folder.glob("*.json")} if self._folder.is_dir() else set()
        return sorted(int(name) for name in names if re.fullmatch(r"\d{6,}", name))


@contextlib.contextmanager
def fits_the_run() -> Iterator[None]:
    """Wraps the loading of a state. A state with the right checksum that does not fit is from another program.

    Raises:
        UserError: the state does not fit.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{STATE}: the checkpoint does not fit this run ({reason}); remove the run directory and run it again."
        ) from None


def _read(path: Path) -> State:
    manifest = json.loads(read_text(path.with_suffix(".json"), MOST_MANIFEST))
    size = path.stat().st_size
    if size != manifest["bytes"]:
        raise ValueError(f"{size} bytes instead of {manifest['bytes']}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != manifest["sha256"]:
            raise ValueError("its contents don't match their checksum")
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["iid_cl"])
        if header["format"] != FORMAT:
            raise ValueError("no checkpoint of iid-cl")
        if header["version"] > VERSION:
            raise UserError(
                f"{path}: has format {header['version']}, but this iid-cl reads up to format {VERSION}; update iid-cl."
            )
        state: State = _whole(header["state"], file.get_tensor)
    return state


def _part(value: Any, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON; its tensors go to ``tensors``, numbered."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # a copy, as safetensors writes no tensors that share their storage
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[key, _part(item, tensors)] for key, item in value.items()]}  # keys may be numbers
    if isinstance(value, list | tuple):
        return [_part(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a value of type {type(value).__name__}")


def _whole(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    """Inverts :func:`_part`, except that tuples are lists."""
    if isinstance(value, list):
        return [_whole(item, tensor) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensor(value["tensor"])
        return {key: _whole(item, tensor) for key, item in value["items"]}
    return value
