"""Memories on disk: safetensors with JSON metadata, written whole or not at all, checked when read."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars, ExemplarSet, SoftLabels
from iid_cl.memory.jpeg import JpegSet

FORMAT = "iid-cl memory"
VERSION = 3  # 1 had neither partition nor soft labels, 2 no JPEG; each is read


def save_memory(path: Path, memory: Exemplars, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes a memory; ``metadata`` (plain JSON) joins the memory's own.

    Raises:
        UserError: the file cannot be written.
    """
    tensors = _tensors(memory)
    header = {
        **memory.metadata,
        **(metadata or {}),
        "format": FORMAT,
        "version": VERSION,
        "partition": memory.partition,
        "sha256": _digest(tensors, memory.partition),
        **({"shape": list(memory.shape)} if isinstance(memory, JpegSet) else {}),
    }
    save_tensors(path, tensors, {"iid_cl": json.dumps(header, sort_keys=True)})


def load_memory(path: Path) -> Exemplars:
    """Reads and checks a memory.

    Raises:
        UserError: no such file, not a memory, a newer format, or contents that contradict each other.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; `iid-cl distill` and `iid-cl run` write memories.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["iid_cl"])
            if header["format"] != FORMAT or not isinstance(header["version"], int):
                raise KeyError("format")
            if header["version"] > VERSION:
                raise UserError(
                    f"{path}: is a memory of format {header['version']}, newer than the {VERSION} read here; "
                    "update iid-cl."
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
            partition = header.get("partition", 1)
            if type(partition) is not int:
                raise KeyError("partition")
            memory = _memory(tensors, header, partition, header.get("shape"))
            if header["sha256"] != _digest(_tensors(memory), partition):
                raise UserError(f"{path}: is damaged, its contents don't match their checksum; make it anew.")
            if isinstance(memory, JpegSet) and len(memory):
                memory.decoded()  # what cannot be decoded is found here, not in training
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is damaged or no safetensors file ({error}).") from None
    except (KeyError, TypeError, json.JSONDecodeError):
        raise UserError(f"{path}: is a safetensors file but not a memory written by iid-cl.") from None
    except ValueError as error:
        raise UserError(f"{path}: is not a usable memory: {error}.") from None
    if not len(memory) or int(memory.labels.min()) < 0:
        raise UserError(f"{path}: is not a usable memory: it is empty or has negative labels.")
    return memory


def memory_state(memory: Exemplars) -> dict[str, Any]:
    """A memory as nested plain values and tensors, for a checkpoint."""
    shape = list(memory.shape) if isinstance(memory, JpegSet) else None
    return {
        "tensors": _tensors(memory),
        "metadata": json.dumps(dict(memory.metadata)),
        "partition": memory.partition,
        "shape": shape,
    }


def memory_of_state(state: Mapping[str, Any]) -> Exemplars:
    """The memory that :func:`memory_state` describes."""
    return _memory(state["tensors"], json.loads(state["metadata"]), state["partition"], state["shape"])


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file atomically."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, metadata))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes to a temporary name beside ``path``, flushes it and renames: readers see all of it or nothing.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _memory(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], partition: int, shape: Any) -> Exemplars:
    if "scans" not in tensors:
        soft = SoftLabels(tensors["soft_labels"], tensors["soft_classes"]) if "soft_labels" in tensors else None
        return ExemplarSet(tensors["images"], tensors["labels"], metadata, partition, soft)
    channels, height, width = shape
    size = (int(channels), int(height), int(width))
    return JpegSet(tensors["header"], tensors["scans"], tensors["ends"], tensors["labels"], size, metadata)


def _tensors(memory: Exemplars) -> dict[str, Tensor]:
    if isinstance(memory, JpegSet):
        return {"header": memory.header, "scans": memory.scans, "ends": memory.ends, "labels": memory.labels}
    assert isinstance(memory, ExemplarSet)  # the two kinds there are
    tensors = {"images": memory.images, "labels": memory.labels}
    if memory.soft_labels is not None:
        tensors |= {"soft_labels": memory.soft_labels.probabilities, "soft_classes": memory.soft_labels.columns}
    return tensors


def _digest(tensors: Mapping[str, Tensor], partition: int) -> str:
    """SHA-256 of what the memory's meaning hangs on: safetensors itself has no checksum."""
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(tensor.contiguous().numpy().tobytes())
    if partition != 1:  # format 1 knew no other
        digest.update(f"partition {partition}".encode())
    return digest.hexdigest()
