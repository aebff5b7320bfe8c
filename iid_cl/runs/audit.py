"""Whether a run is what it claims: what its memories were made from, and what they weigh.

The engine promises that a class is condensed from its own experience's training images and nothing else, and that a
memory weighs what it says. Here both are checked on the run itself: against the images that reached the memory, by
content, and against the bytes of the file. A run that breaks a promise ends in an error: it is a bug, not a mistake of
the user.
"""

import json
import math
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iid_cl.budget import Budget
from iid_cl.data.fingerprint import digests, fingerprint
from iid_cl.data.images import ImageDataset
from iid_cl.files import write_bytes
from iid_cl.strategies.buffers import OnImages

SOURCES_VERSION = 1
SOFT_LABELS = ("soft_labels", "soft_classes")
REPORT = "this is a bug of iid-cl, and the run's figures would be worthless; please report it"


class Audit:
    """Checks a run's memories: what reached them while they are made, and their files when they are written.

    Images are matched by content with the training images that the data set has of the class, provided that the class
    belongs to the experience; of equal images each is matched once. So each image is proven to be a training image of
    its own experience, whatever the code in between did, and hence none of another experience or of the test set. Where
    the data set itself holds the same image there, too, that is no leak; such images are counted.

    Args:
        dataset: the run's data; indices are positions in its training part.
        order: classes of each experience.
    """

    def __init__(self, dataset: ImageDataset, order: Sequence[Sequence[int]]) -> None:
        self._dataset = dataset
        self._order = [list(classes) for classes in order]
        self._found: dict[tuple[str, int, int], Tensor] = {}  # by method, experience and class

    def watch(self, method: str) -> OnImages:
        """A memory's ``on_images`` that checks what reaches it.

        Raises:
            RuntimeError: later, when called with an image that is no training image of the experience and class.
        """

        def check(experience: Any, arrived: Mapping[int, Tensor]) -> None:
            self.check(method, int(experience.current_experience), arrived)

        return check

    def check(self, method: str, experience: int, arrived: Mapping[int, Tensor]) -> None:
        """Matches the uint8 images (n_c, C, H, W) of each class; an experience that comes again replaces its first go.

        Raises:
            RuntimeError: an image is no training image of the experience and class, or comes more often than there.
        """
        found = {label: self._match(method, experience, label, images) for label, images in arrived.items()}
        for label, indices in found.items():
            self._found[method, experience, label] = torch.tensor(indices, dtype=torch.int32)

    def _match(self, method: str, experience: int, label: int, images: Tensor) -> list[int]:
        where = f"{method}, experience {experience + 1}, class {self._name(label)}"
        if not 0 <= experience < len(self._order) or label not in self._order[experience]:
            raise RuntimeError(f"{where}: the memory was given a class that is none of this experience's; {REPORT}.")
        left = {digest: list(indices) for digest, indices in self._train_of(label).items()}
        found = []
        for number, digest in enumerate(digests(images)):
            if not left.get(digest):
                what = self._explain(digest, label)
                raise RuntimeError(f"{where}: image {number} of {len(images)} that it was given {what}; {REPORT}.")
            found.append(left[digest].pop(0))
        return found

    def _explain(self, digest: bytes, label: int) -> str:
        """What an image is that should not be there."""
        if digest in self._train_of(label):
            return f"came more often than training image {self._train_of(label)[digest][0]}, which it equals"
        for other, indices in enumerate(self._by_class):
            if digest in indices:
                name = self._name(other)
                return f"is training image {indices[digest][0]}, of class {name}"
        if digest in self._test:
            return f"is test image {self._test[digest]}"
        return "is in neither part of the data set"

    def _name(self, label: int) -> str:
        names = self._dataset.class_names
        return repr(names[label]) if 0 <= label < len(names) else str(label)

    def _train_of(self, label: int) -> dict[bytes, list[int]]:
        return self._by_class[label] if 0 <= label < len(self._by_class) else {}

    @cached_property
    def _train(self) -> list[bytes]:
        return digests(self._dataset.train.images)

    @cached_property
    def _by_class(self) -> list[dict[bytes, list[int]]]:
        """Of each class, the training images of each content."""
        grouped: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in self._dataset.class_names]
        for index, (digest, label) in enumerate(zip(self._train, self._dataset.train.labels.tolist(), strict=True)):
            grouped[label][digest].append(index)
        return [dict(each) for each in grouped]

    @cached_property
    def _test(self) -> dict[bytes, int]:
        return {digest: index for index, digest in enumerate(digests(self._dataset.test.images))}

    def checked(self, method: str, path: Path, claimed: int, budget: Budget) -> dict[str, Any]:
        """What is known of a finished memory, as plain JSON: ``sources`` and ``bytes``.

        Of ``sources``, ``images`` reached the memory in so many ``experiences``; ``also_in_test`` of them equal a test
        image and ``also_in_other_experiences`` a training image of another experience: copies within the data set.
        For ``bytes``, see :func:`check_bytes`.

        Args:
            method: as it was watched.
            path: the memory's file.
            claimed: what the run says it weighs, in bytes.
            budget: what it may weigh.

        Raises:
            RuntimeError: the file weighs something else, exceeds its budget, or holds other classes than were watched.
        """
        weight, classes = check_bytes(path, claimed, budget, math.prod(self._dataset.shape))
        watched = {label for name, _, label in self._found if name == method}
        if classes != watched:
            odd = self._name(min(classes ^ watched))
            held = "holds" if min(classes ^ watched) in classes else "lacks"
            raise RuntimeError(f"{path}: {held} class {odd}, unlike what reached the memory; {REPORT}.")
        return {"sources": self._sources_of(method), "bytes": weight}

    def _sources_of(self, method: str) -> dict[str, int]:
        place = {label: experience for experience, classes in enumerate(self._order) for label in classes}
        experiences: dict[bytes, set[int]] = defaultdict(set)  # that hold each content
        for digest, label in zip(self._train, self._dataset.train.labels.tolist(), strict=True):
            if label in place:
                experiences[digest].add(place[label])
        seen = [
            (experience, self._train[index])
            for (name, experience, _), indices in self._found.items()
            if name == method
            for index in indices.tolist()
        ]
        return {
            "images": len(seen),
            "experiences": len({experience for experience, _ in seen}),
            "also_in_test": sum(digest in self._test for _, digest in seen),
            "also_in_other_experiences": sum(bool(experiences[digest] - {experience}) for experience, digest in seen),
        }

    def save_sources(self, path: Path) -> None:
        """Writes which training images each class was condensed from, as JSON: by method, experience and class.

        Raises:
            UserError: the file cannot be written.
        """
        methods: dict[str, dict[str, dict[str, list[int]]]] = {}
        for (method, experience, label), indices in self._found.items():
            experiences = methods.setdefault(method, {})
            experiences.setdefault(str(experience), {})[str(label)] = sorted(indices.tolist())
        sources = {
            "format": "iid-cl sources",
            "version": SOURCES_VERSION,
            "dataset": self._dataset.name,
            "fingerprint": fingerprint(self._dataset),
            "methods": methods,
        }
        write_bytes(path, (json.dumps(sources, separators=(",", ":")) + "\n").encode())

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint carries: int32 indices (n,), by ``METHOD/EXPERIENCE/CLASS``."""
        return {"/".join(map(str, key)): indices for key, indices in self._found.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where :meth:`state_dict` left off, with the same data set and order."""
        keys = [(key, key.rsplit("/", 2)) for key in state]
        self._found = {(method, int(t), int(label)): state[key] for key, (method, t, label) in keys}


def check_bytes(path: Path, claimed: int, budget: Budget, image_bytes: int) -> tuple[dict[str, int], set[int]]:
    """Weighs a memory's file: the bytes of its tensors, as its header says and as its length says.

    Budgets in images stand for the bytes of so many full-size images with their labels, and leave soft labels out of
    account, but for those of JPEG, which fills bytes.

    Args:
        path: a memory, as safetensors; read here without that library.
        claimed: what the run says it weighs.
        budget: what it may weigh.
        image_bytes: C * H * W of a full-size image.

    Returns:
        Its ``bytes``, those ``charged`` to the budget, and the ``allowed`` ones; and the classes it holds.

    Raises:
        RuntimeError: the file weighs something else than is claimed, or more than the budget.
    """
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    sizes = {name: end - start for name, (start, end) in ((n, e["data_offsets"]) for n, e in header.items())}
    weight, stored = sum(sizes.values()), len(data) - 8 - length
    if not weight == stored == claimed:
        raise RuntimeError(f"{path}: holds {stored} bytes, its header says {weight}, the run says {claimed}; {REPORT}.")
    labels = struct.unpack_from(f"<{sizes['labels'] // 2}h", data, 8 + length + header["labels"]["data_offsets"][0])
    all_charged = budget.in_bytes or "scans" in sizes
    charged = weight - (0 if all_charged else sum(sizes.get(name, 0) for name in SOFT_LABELS))
    allowed = budget.allowed(len(set(labels)), image_bytes)
    if charged > allowed:
        raise RuntimeError(f"{path}: holds {charged} bytes, more than the {allowed} of its budget; {REPORT}.")
    return {"bytes": weight, "charged": charged, "allowed": allowed}, set(labels)


def remark(checks: Mapping[str, Any]) -> str:
    """A line for a person about what :meth:`Audit.checked` found."""
    sources, weight = checks["sources"], checks["bytes"]
    copies = {"also_in_test": "a test image", "also_in_other_experiences": "an image of another experience"}
    same = [f"; {sources[key]:,} of them equal {what} in the data set" for key, what in copies.items() if sources[key]]
    return (
        f"checked: made from {sources['images']:,} images, each a training image of its own experience{''.join(same)}; "
        f"the file holds {weight['bytes']:,} bytes as claimed, {weight['charged']:,} of {weight['allowed']:,} charged"
    )
