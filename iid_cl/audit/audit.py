"""Checks on every run that its memories hold what they claim.

The engine makes three promises. A class is condensed from the training images of its own experience and nothing else. A
memory of real images holds these images, and no memory holds a test image. A memory has the size that the run reports.
The first is checked by the content of the images that reach the memory, the others by the memory's file. A broken
promise ends the run in an error: it is a bug, not a mistake of the user.
"""

import json
import math
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iid_cl.audit.stored import Foreign, compare_stored
from iid_cl.budget import Budget
from iid_cl.data.fingerprint import digests, fingerprint
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import Stream
from iid_cl.files import write_bytes
from iid_cl.memory.files import load_memory
from iid_cl.methods.base import Method
from iid_cl.records.integrity import sha256_of

SOURCES_VERSION = 1
SOFT_LABELS = ("soft_labels", "soft_classes")
REPORT = "this is a bug of iid-cl, and the run's figures would be worthless; please report it"


@dataclass(frozen=True)
class Promise:
    """What a memory claims to hold.

    Attributes:
        real: real images only.
        every_class: images of every class seen.
    """

    real: bool = False
    every_class: bool = True


ANY = Promise()


def promise_of(method: Method) -> Promise:
    """What a method promises of its memory."""
    return Promise(method.holds_real_images(), method.by_class)


class Audit:
    """Checks the images that reach a run's memories, and the memories' files.

    Each image is matched by content with a training image of its class, and the class must belong to the experience.
    A training image is matched at most once. So no image can come from another experience or from the test set,
    whatever the code in between did. A copy that the data set itself holds there is no leak; such copies are counted.

    Args:
        dataset: the run's data; indices are positions in its training part.
        stream: which of the images arrive in which experience, or the classes of each.
    """

    def __init__(self, dataset: ImageDataset, stream: Stream | Sequence[Sequence[int]]) -> None:
        self._dataset = dataset
        stream = stream if isinstance(stream, Stream) else Stream.of(dataset, stream)
        self._order = stream.order
        self._place = [-1] * len(dataset.train)  # the experience of each training image
        for experience, rows in enumerate(stream.train):
            for row in rows.tolist():
                self._place[row] = experience
        self._sources: dict[tuple[str, int, int], Tensor] = {}  # training indices by method, experience and class

    def watch(self, method: str) -> Callable[[Any, Mapping[int, Tensor]], None]:
        """The ``on_images`` hook of a memory: calls :meth:`trace`."""
        return lambda experience, arrived: self.trace(method, int(experience.current_experience), arrived)

    def trace(self, method: str, experience: int, arrived: Mapping[int, Tensor]) -> None:
        """Matches the uint8 images (n_c, C, H, W) of each class. An experience that is repeated replaces its record.

        Raises:
            RuntimeError: an image is no training image of the experience and class, or comes more often than there.
        """
        sources = {label: self._match(method, experience, label, images) for label, images in arrived.items()}
        for label, indices in sources.items():
            self._sources[method, experience, label] = torch.tensor(indices, dtype=torch.int32)

    def _match(self, method: str, experience: int, label: int, images: Tensor) -> list[int]:
        where = f"{method}, experience {experience + 1}, class {self._name(label)}"
        if not 0 <= experience < len(self._order) or label not in self._order[experience]:
            raise RuntimeError(f"{where}: the memory was given a class of another experience; {REPORT}.")
        unmatched = {
            digest: [index for index in indices if self._place[index] == experience]
            for digest, indices in self._by_class[label].items()
        }
        matches = []
        for number, digest in enumerate(digests(images)):
            if not unmatched.get(digest):
                raise RuntimeError(
                    f"{where}: image {number} of {len(images)} {self._explain(digest, label, experience)}; {REPORT}."
                )
            matches.append(unmatched[digest].pop(0))
        return matches

    def _explain(self, digest: bytes, label: int, experience: int) -> str:
        """What an image is that should not have reached the memory."""
        if digest in self._by_class[label]:
            index = self._by_class[label][digest][0]
            if all(self._place[copy] != experience for copy in self._by_class[label][digest]):
                return f"is training image {index}, of experience {self._place[index] + 1}"
            return f"equals training image {index}, but came more often than the data set holds it"
        for other_label, indices in enumerate(self._by_class):
            if digest in indices:
                return f"is training image {indices[digest][0]}, of class {self._name(other_label)}"
        if digest in self._test:
            return f"is test image {self._test[digest]}"
        return "is in neither part of the data set"

    def _name(self, label: int) -> str:
        names = self._dataset.class_names
        return repr(names[label]) if 0 <= label < len(names) else str(label)

    @cached_property
    def _train(self) -> list[bytes]:
        return digests(self._dataset.train.images)

    @cached_property
    def _by_class(self) -> list[dict[bytes, list[int]]]:
        """For each class: its training images, grouped by content."""
        grouped: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in self._dataset.class_names]
        for index, (digest, label) in enumerate(zip(self._train, self._dataset.train.labels.tolist(), strict=True)):
            grouped[label][digest].append(index)
        return [dict(by_content) for by_content in grouped]

    @cached_property
    def _test(self) -> dict[bytes, int]:
        return {digest: index for index, digest in enumerate(digests(self._dataset.test.images))}

    def verify(self, method: str, path: Path, claimed: int, budget: Budget, promise: Promise = ANY) -> dict[str, Any]:
        """Checks a finished memory's file and returns ``sources``, ``stored``, ``bytes`` and ``sha256`` as plain JSON.

        In ``sources``: the number of ``images`` that reached the memory and of their ``experiences``. ``also_in_test``
        of the images equal a test image, ``also_in_other_experiences`` a training image of another experience. These
        are copies within the data set. For ``stored``, see :func:`iid_cl.audit.stored.compare_stored`, for ``bytes``,
        :func:`check_bytes`.

        Args:
            method: as given to :meth:`watch`.
            path: the memory's file.
            claimed: size that the run reports, in bytes.
            budget: of the memory.
            promise: what the memory claims to hold.

        Raises:
            RuntimeError: the file has another size, exceeds its budget, or holds other classes or images than it may.
        """
        seen = {label for name, _, label in self._sources if name == method}
        sizes, classes = check_bytes(path, claimed, budget, math.prod(self._dataset.shape), seen)
        odd = min(classes - seen if not promise.every_class else classes ^ seen, default=None)
        if odd is not None:
            name = self._name(odd)
            problem = f"holds class {name}, which never" if odd in classes else f"lacks class {name}, which"
            raise RuntimeError(f"{path}: {problem} reached the memory; {REPORT}.")
        return {
            "sources": self._count_sources(method),
            "stored": self._check_stored(method, path, promise.real),
            "bytes": sizes,
            "sha256": sha256_of(path),
        }

    def _check_stored(self, method: str, path: Path, real: bool) -> dict[str, int]:
        """Compares what a memory's file holds with its sources and the test images, see :func:`compare_stored`."""

        def sources(label: int) -> Tensor:
            parts = [indices for (name, _, c), indices in self._sources.items() if (name, c) == (method, label)]
            return self._dataset.train.images[torch.cat(parts).long()]

        try:
            return compare_stored(load_memory(path), self._dataset.test.images, sources, real=real)
        except Foreign as image:
            raise RuntimeError(
                f"{path}: image {image.number} of class {self._name(image.label)} {image.what}; {REPORT}."
            ) from None

    def _count_sources(self, method: str) -> dict[str, int]:
        experiences: dict[bytes, set[int]] = defaultdict(set)  # by content
        for digest, experience in zip(self._train, self._place, strict=True):
            if experience >= 0:
                experiences[digest].add(experience)
        pairs = [
            (experience, self._train[index])
            for (name, experience, _), indices in self._sources.items()
            if name == method
            for index in indices.tolist()
        ]
        return {
            "images": len(pairs),
            "experiences": len({experience for experience, _ in pairs}),
            "also_in_test": sum(digest in self._test for _, digest in pairs),
            "also_in_other_experiences": sum(bool(experiences[digest] - {experience}) for experience, digest in pairs),
        }

    def save_sources(self, path: Path) -> None:
        """Writes as JSON which training images each class was condensed from, by method, experience and class.

        Raises:
            UserError: the file cannot be written.
        """
        methods: dict[str, dict[str, dict[str, list[int]]]] = {}
        for (method, experience, label), indices in self._sources.items():
            experiences = methods.setdefault(method, {})
            experiences.setdefault(str(experience), {})[str(label)] = sorted(indices.tolist())
        record = {
            "format": "iid-cl sources",
            "version": SOURCES_VERSION,
            "dataset": self._dataset.name,
            "fingerprint": fingerprint(self._dataset),
            "methods": methods,
        }
        write_bytes(path, (json.dumps(record, separators=(",", ":")) + "\n").encode())

    def state_dict(self) -> dict[str, Tensor]:
        """For checkpoints: int32 training indices (n,), by ``METHOD/EXPERIENCE/CLASS``."""
        return {"/".join(map(str, key)): indices for key, indices in self._sources.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores :meth:`state_dict`, with the same data set and order."""
        keys = [(key, key.rsplit("/", 2)) for key in state]
        self._sources = {(method, int(t), int(label)): state[key] for key, (method, t, label) in keys}


def check_bytes(
    path: Path, claimed: int, budget: Budget, image_bytes: int, seen: Collection[int] = ()
) -> tuple[dict[str, int], set[int]]:
    """Checks the size of a memory's tensors, by its header and by the length of its file.

    A budget of n images allows the bytes of n full-size images with their labels. It charges no soft labels, except
    those of a JPEG memory, which fills its bytes.

    Args:
        path: a memory, as safetensors; read here without that library.
        claimed: size that the run reports, in bytes.
        budget: of the memory.
        image_bytes: C * H * W of a full-size image.
        seen: classes that the budget is for, besides those in the file.

    Returns:
        The tensors' ``bytes``, those ``charged`` to the budget and those ``allowed``; and the classes in the file.

    Raises:
        RuntimeError: the size differs from ``claimed``, or exceeds the budget.
    """
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    sizes = {name: end - start for name, (start, end) in ((n, e["data_offsets"]) for n, e in header.items())}
    size, stored = sum(sizes.values()), len(data) - 8 - length
    if not size == stored == claimed:
        raise RuntimeError(f"{path}: holds {stored} bytes, its header says {size}, the run says {claimed}; {REPORT}.")
    name = "labels" if "labels" in sizes else "class_indices"
    labels = struct.unpack_from(f"<{sizes[name] // 2}h", data, 8 + length + header[name]["data_offsets"][0])
    all_charged = budget.in_bytes or "scans" in sizes or "codes" in sizes
    charged = size - (0 if all_charged else sum(sizes.get(name, 0) for name in SOFT_LABELS))
    allowed = budget.allowed(len({*labels, *seen}), image_bytes)
    if charged > allowed:
        raise RuntimeError(f"{path}: holds {charged} bytes, more than the {allowed} of its budget; {REPORT}.")
    return {"bytes": size, "charged": charged, "allowed": allowed}, set(labels)


def remark(checks: Mapping[str, Any]) -> str:
    """The result of :meth:`Audit.verify`, as a line for a person."""
    sources, stored = checks["sources"], checks["stored"]
    size, charged, allowed = (checks["bytes"][key] for key in ("bytes", "charged", "allowed"))
    kinds = {"also_in_test": "a test image", "also_in_other_experiences": "an image of another experience"}
    copies = [f"; {sources[key]:,} of them equal {kind} in the data set" for key, kind in kinds.items() if sources[key]]
    part = "" if charged == size else f", {charged:,} of them charged"
    fit = "matches the budget" if charged == allowed else f"within the budget of {allowed:,} bytes"
    return (
        f"checked: made from {sources['images']:,} images, each a training image of its own experience{''.join(copies)}"
        f"; {_remark_on(stored)}; memory size {size:,} bytes{part}: {fit}"
    )


def _remark_on(stored: Mapping[str, int]) -> str:
    these = "stores some of them" if stored["among_sources"] else "stores"
    copies = stored["also_in_test"]
    if not copies:
        return f"{these} {'and ' if stored['among_sources'] else ''}no test image"
    return f"{these if stored['among_sources'] else 'stores synthetic images'}; {copies:,} of those equal a test image"
