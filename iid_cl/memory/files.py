"""Memories on disk: safetensors with JSON metadata, written whole or not at all, checked when read."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from iid_cl.errors import NO_MEMORY, UserError, shown
from iid_cl.files import save_tensors
from iid_cl.memory.bounds import MOST_BYTES, MOST_HEADER, MOST_METADATA, check_images, check_metadata
from iid_cl.memory.dct import DctSet
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.jpeg import JpegSet
from iid_cl.memory.soft_labels import SoftLabels

FORMAT = "iid-cl memory"
# All are read. 1 had neither partition nor soft labels, 2 no JPEG, 3 no checksum of its metadata, 4 no soft JPEG, 5 no
# DCT, 6 soft labels as float16.
VERSION = 7
SOFT = {"soft_labels", "soft_classes"}
KINDS = (
    {"images", "labels"},
    {"header", "scans", "ends", "labels"},
    {"codes", "ends", "tables", "peaks", "steps", "counts", "class_indices"},
)  # tensors of each kind of memory, besides soft labels


def save_memory(path: Path | str, memory: Exemplars, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes a memory; ``metadata`` (plain JSON) joins the memory's own.

    Raises:
        UserError: the file cannot be written, or would be too large to be read.

    >>> import tempfile, torch
    >>> memory = ExemplarSet.from_classes({3: torch.zeros(2, 1, 4, 4, dtype=torch.uint8)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_memory(Path(folder, "zeros.safetensors"), memory, {"seed": 5})
    ...     load_memory(Path(folder, "zeros.safetensors")).metadata["seed"]
    5
    """
    path, tensors = Path(path), memory.tensors()
    header = {**memory.metadata, **(metadata or {}), "format": FORMAT, "version": VERSION, **memory.layout()}
    try:
        check_metadata(header)
        check_images(len(memory) * memory.partition**2, math.prod(memory.shape), memory.nbytes)
    except ValueError as error:
        raise UserError(f"{path}: cannot be written, as {error}; use less.") from None
    header = json.loads(json.dumps(header))  # as it will be read: its keys are text
    header["sha256"] = _digest(tensors, header)
    text = json.dumps(header, sort_keys=True)
    if memory.nbytes > MOST_BYTES - 2 * MOST_METADATA or len(text) > MOST_METADATA:
        raise UserError(f"{path}: a memory of {memory.nbytes:,} bytes is too large for a file; use a smaller budget.")
    save_tensors(path, tensors, {"iid_cl": text})


def load_memory(path: Path | str) -> Exemplars:
    """Reads and checks a memory.

    Raises:
        UserError: no such file, not a memory, a newer format, or contents that contradict each other.

    >>> load_memory(Path("nowhere.safetensors"))
    Traceback (most recent call last):
    iid_cl.errors.UserError: nowhere.safetensors: no such file; `iid-cl distill` and `iid-cl run` write memories.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(f"{path}: {NO_MEMORY}")
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: is larger than {MOST_BYTES:,} bytes, too large for a memory.")
        with path.open("rb") as start:
            length = int.from_bytes(start.read(8), "little")
        if length > MOST_HEADER:  # its parser would take many times as much
            raise UserError(f"{path}: is damaged or no safetensors file (a header of {length:,} bytes).")
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})["iid_cl"]
            if set(file.keys()) - SOFT not in KINDS or len(text) > MOST_METADATA:
                raise KeyError("iid_cl")
            # copies: what is checked is what is used, whatever happens to the file
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118, not a mapping
        return _checked(path, tensors, json.loads(text))
    except MemoryError:
        raise UserError(f"{path}: does not fit into the memory of this machine.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is damaged or no safetensors file ({error}).") from None
    except (KeyError, TypeError, RecursionError, json.JSONDecodeError):
        raise UserError(f"{path}: is a safetensors file but not a memory written by iid-cl.") from None
    except ValueError as error:
        raise UserError(f"{path}: is not a usable memory: {error}.") from None


def memory_state(memory: Exemplars) -> dict[str, Any]:
    """A memory as nested plain values and tensors, for a checkpoint."""
    metadata = json.dumps(dict(memory.metadata))
    return {"tensors": memory.tensors(), "metadata": metadata, "shape": None, **memory.layout()}


def memory_of_state(state: Mapping[str, Any]) -> Exemplars:
    """The memory that :func:`memory_state` describes."""
    return _memory(state["tensors"], json.loads(state["metadata"]), state["partition"], state["shape"])


def _checked(path: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> Exemplars:
    """The memory, if its parts agree with one another and with their checksum.

    Raises:
        UserError: a newer format, or another checksum.
        KeyError, TypeError, RecursionError, ValueError: no memory, or contents that contradict each other.
    """
    version, partition = header["version"], header.get("partition", 1)
    if header["format"] != FORMAT or type(version) is not int or version < 1 or type(partition) is not int:
        raise KeyError("format")
    if version > VERSION:
        raise UserError(
            f"{path}: is a memory of format {shown(version)}, newer than the {VERSION} read here; update iid-cl."
        )
    check_metadata(header)
    memory = _memory(tensors, header, partition, header.get("shape"))
    if not len(memory) or int(memory.labels.min()) < 0 or bool((memory.labels.diff() < 0).any()):
        raise ValueError("it is empty, or its labels are negative or in no order")
    contents = {name: tensors[name] for name in memory.tensors()}
    if header["sha256"] != (_digest(contents, header) if version > 3 else _old_digest(contents, partition)):
        raise UserError(f"{path}: is damaged, its contents don't match their checksum; make it anew.")
    memory.check()  # what cannot be decoded is found here, not in training
    return memory


def _memory(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], partition: int, shape: Any) -> Exemplars:
    soft = SoftLabels.read(tensors) if "soft_labels" in tensors else None
    if "images" in tensors:
        return ExemplarSet(tensors["images"], tensors["labels"], metadata, partition, soft)
    channels, height, width = shape
    if not all(type(side) is int for side in (channels, height, width)):
        raise TypeError("shape")
    size = (channels, height, width)
    if "codes" in tensors:
        images = {name: tensor for name, tensor in tensors.items() if name not in SOFT}
        return DctSet(**images, shape=size, metadata=metadata, soft_labels=soft)
    return JpegSet(tensors["header"], tensors["scans"], tensors["ends"], tensors["labels"], size, metadata, soft)


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """SHA-256 of tensors and header, without the checksum itself: safetensors has no checksum."""
    rest = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name, tensor in tensors.items():
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _old_digest(tensors: Mapping[str, Tensor], partition: int) -> str:
    """SHA-256 of the tensors' bytes and the partition: the checksum of formats 1 to 3."""
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(tensor.contiguous().numpy().data)
    if partition != 1:  # format 1 had no partition
        digest.update(f"partition {partition}".encode())
    return digest.hexdigest()
