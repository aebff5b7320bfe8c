"""Checkpoints: nested state as safetensors, with a manifest each, written whole or not at all.

``state/000007.safetensors`` holds the tensors and, in its metadata, everything else as JSON; ``state/000007.json`` its
bytes and SHA-256. The manifest is written last, so a checkpoint that has one is complete; the last two are kept, and a
damaged newest one gives way to the one before.
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

STATE = "state"  # the folder's name in a run directory
FORMAT = "iid-cl checkpoint"
VERSION = 1
KEPT = 2
MOST_MANIFEST = 2**12  # bytes


class Checkpoints:
    """The numbered checkpoints of a folder.

    Args:
        folder: made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, state: State) -> None:
        """Adds a checkpoint and removes all but the last two.

        Raises:
            UserError: it cannot be written; those before are untouched.
        """
        tensors: dict[str, Tensor] = {}
        plain = json.dumps({"format": FORMAT, "version": VERSION, "state": _part(state, tensors)})
        data = save(tensors, {"iid_cl": plain})
        number = 1 + max(self._numbers(), default=0)
        manifest = {"file": self._path(number).name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_bytes(self._path(number), data)
        write_bytes(self._path(number).with_suffix(".json"), (json.dumps(manifest) + "\n").encode())
        for old in self._numbers()[:-KEPT]:
            for suffix in (".json", ".safetensors"):  # without a manifest it is none
                with contextlib.suppress(OSError):
                    self._path(old).with_suffix(suffix).unlink(missing_ok=True)

    def newest(self, warn: Callable[[str], None]) -> State | None:
        """The newest checkpoint that is whole; None where there has been none.

        Args:
            warn: told of each damaged one that is passed over.

        Raises:
            UserError: all are damaged, or one was written by a newer iid-cl.
        """
        numbers = self._numbers()
        for number in reversed(numbers):
            path = self._path(number)
            try:
                return _read(path)
            except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                said = " ".join(str(error).split()) or type(error).__name__
                warn(f"{path}: is damaged ({said}); going back to the checkpoint before it")
        if numbers:
            raise UserError(f"{self._folder}: all checkpoints are damaged; remove the run directory and run it again.")
        return None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.safetensors"

    def _numbers(self) -> list[int]:
        """Of checkpoints with a manifest, in ascending order."""
        names = {file.stem for file in self._folder.glob("*.json")} if self._folder.is_dir() else set()
        return sorted(int(name) for name in names if re.fullmatch(r"\d{6,}", name))


@contextlib.contextmanager
def fits_the_run() -> Iterator[None]:
    """Around what takes a state over. One that passed its checksum and yet does not fit was written by another program.

    Raises:
        UserError: it does not fit.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{STATE}: the checkpoint does not fit this run ({said}); remove the run directory and run it again."
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
                f"{path}: is a checkpoint of format {header['version']}, newer than the {VERSION} read here; update "
                "iid-cl."
            )
        state: State = _whole(header["state"], file.get_tensor)
    return state


def _part(value: Any, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON; its tensors move to ``tensors`` under numbers."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # a copy: what shares its storage with another tensor cannot be written
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[key, _part(item, tensors)] for key, item in value.items()]}  # keys may be numbers
    if isinstance(value, list | tuple):
        return [_part(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds no {type(value).__name__}")


def _whole(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    """The opposite of :func:`_part`; tuples have become lists."""
    if isinstance(value, list):
        return [_whole(item, tensor) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensor(value["tensor"])
        return {key: _whole(item, tensor) for key, item in value["items"]}
    return value
