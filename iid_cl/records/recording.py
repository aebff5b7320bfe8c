"""Records a run's distillations for the report: losses, intermediate pictures, features."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from iid_cl.data.images import ImageDataset
from iid_cl.errors import UserError, shown
from iid_cl.files import read_text, save_tensors, write_bytes
from iid_cl.memory.exemplars import Exemplars
from iid_cl.nets import Network

FORMAT = "iid-cl recording"
VERSION = 1
LOSSES, HISTORY = "losses", "history"  # stems of the files

DAMAGE = (OSError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
MOMENTS = (0.0, 0.02, 0.05, 0.125, 0.3)  # shares of the iterations; the last iteration is always added
IMAGES = 1000  # maximum number of images of all classes at each moment
POINTS = 400  # images whose features are recorded
COMPONENTS = 50  # principal components of a feature


def moments(iterations: int) -> frozenset[int]:
    """The iterations at which pictures are recorded."""
    return frozenset(round(share * iterations) for share in MOMENTS) | {iterations}


@dataclass
class RecordedDistillation:
    """Some classes of an experience that were condensed together.

    Attributes:
        classes: their indices, ascending.
        images: by iteration, the first images of each class, uint8 (n, C, H, W). Iteration 0 holds the real images
            at the start.
        losses: iteration and mean loss terms per class.
    """

    method: str
    experience: int
    classes: list[int]
    images: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    losses: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    @property
    def key(self) -> dict[str, Any]:
        """Identifies the distillation in files."""
        return {"method": self.method, "experience": self.experience, "classes": self.classes}


@dataclass
class Features:
    """A network's features of real training images and of a memory's images, as principal components.

    Attributes:
        points: float32 (N, 50), or fewer columns.
        labels: class index of each, int64 (N,).
        stored: true for an image of the memory, bool (N,).
    """

    points: Tensor
    labels: Tensor
    stored: Tensor


class Recording:
    """Records a run, method by method and experience by experience.

    Give :meth:`on_step`, :meth:`on_snapshot` and the :func:`moments` to a buffer. :meth:`keep` drops distillations
    that are not in the memory after the experience, such as those that were abandoned.

    Args:
        class_names: name of each class index.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)
        self.kept: list[RecordedDistillation] = []
        self.features: dict[str, Features] = {}
        self._per_class = max(1, min(10, IMAGES // max(1, len(self.class_names))))  # images
        self._method, self._experience = "", 0
        self._open: list[RecordedDistillation] = []

    def begin(self, method: str, experience: int) -> None:
        """Attributes what follows to this method and experience."""
        self._method, self._experience = method, experience

    def on_snapshot(self, iteration: int, memory: Exemplars) -> None:
        """Records the first images of each class; iteration 0 starts a distillation."""
        images = {label: group[: self._per_class].clone() for label, group in memory.by_class().items()}
        if iteration == 0:
            self._open.append(RecordedDistillation(self._method, self._experience, sorted(images)))
        self._open[-1].images[iteration] = images

    def on_step(self, iteration: int, losses: Mapping[str, float]) -> None:
        """Records the loss terms."""
        self._open[-1].losses.append((iteration, dict(losses)))

    def keep(self, memory: Exemplars | None) -> None:
        """Ends an experience: drops images, and distillations, whose last version is not in the memory."""
        stored = {} if memory is None else {label: set(_bytes(group)) for label, group in memory.by_class().items()}
        for part in self._open:
            last = part.images[max(part.images)]
            rows = {c: [i for i, key in enumerate(_bytes(last[c])) if key in stored.get(c, ())] for c in part.classes}
            part.classes = [label for label in part.classes if rows[label]]
            for by_class in part.images.values():
                by_class.update({label: by_class[label][rows[label]] for label in part.classes})
                for label in by_class.keys() - set(part.classes):
                    del by_class[label]
            if part.classes:
                self.kept.append(part)
        self._open = []

    @torch.no_grad()
    def embed(self, method: str, network: Network, dataset: ImageDataset, memory: Exemplars) -> None:
        """Records the network's features of at most ten classes: the memory's images, and real ones."""
        classes = memory.classes[:: -(-len(memory.classes) // 10)]
        real, decoded = dataset.train.by_class(), memory.decoded().by_class()
        per_class = POINTS // len(classes)
        stored = [decoded[label][: max(1, per_class // 3)] for label in classes]
        groups = [*stored, *(real[c][: per_class - len(s)] for c, s in zip(classes, stored, strict=True))]
        device = next(network.parameters()).device
        training = network.training
        network.eval()
        batches = map(dataset.normalization.apply, torch.cat(groups).split(256))
        features = torch.cat([network.features(batch.to(device)).flatten(1).double().cpu() for batch in batches])
        network.train(training)
        if not bool(features.isfinite().all()):
            return  # the network diverged
        left, values, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
        labels = [torch.full((len(group),), label) for group, label in zip(groups, 2 * classes, strict=True)]
        count = sum(map(len, stored))
        self.features[method] = Features(
            (left * values)[:, :COMPONENTS].float(), torch.cat(labels), torch.arange(len(features)) < count
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything so far, as nested lists, dictionaries with text keys, plain JSON values and tensors."""
        return {
            "method": self._method,
            "experience": self._experience,
            "kept": [_packed(part) for part in self.kept],
            "open": [_packed(part) for part in self._open],
            "features": {method: asdict(features) for method, features in self.features.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`."""
        self._method, self._experience = state["method"], state["experience"]
        self.kept = [_unpacked(part) for part in state["kept"]]
        self._open = [_unpacked(part) for part in state["open"]]
        self.features = {method: Features(**features) for method, features in state["features"].items()}

    def write(self, directory: Path, prefix: str = "") -> None:
        """Writes ``losses.jsonl`` and ``history.safetensors``, if anything was recorded.

        Raises:
            UserError: a file cannot be written.
        """
        if not self.kept and not self.features:
            return
        lines = [{**part.key, "iteration": i, "losses": terms} for part in self.kept for i, terms in part.losses]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_bytes(directory / f"{prefix}{LOSSES}.jsonl", text.encode())
        tensors = {
            f"images/{number}/{iteration}/{label}": images
            for number, part in enumerate(self.kept)
            for iteration, by_class in part.images.items()
            for label, images in by_class.items()
        }
        for method, features in self.features.items():
            tensors |= {f"features/{method}/{name}": tensor for name, tensor in asdict(features).items()}
        header = {
            "format": FORMAT,
            "version": VERSION,
            "class_names": self.class_names,
            "distillations": [part.key for part in self.kept],
            "features": list(self.features),
        }
        save_tensors(directory / f"{prefix}{HISTORY}.safetensors", tensors, {"iid_cl": json.dumps(header)})


def read_recording(directory: Path, prefix: str = "") -> Recording | None:
    """Reads what :meth:`Recording.write` wrote to a directory; None if there is nothing.

    Raises:
        UserError: a file is damaged or of a newer format.
    """
    history, losses = directory / f"{prefix}{HISTORY}.safetensors", directory / f"{prefix}{LOSSES}.jsonl"
    if not history.is_file():
        return None
    try:
        recording = _read_history(history)
        _read_losses(losses, recording)
    except (SafetensorError, *DAMAGE) as error:
        raise UserError(
            f"{history}: is damaged, or {losses.name} beside it is ({error}); remove both to go without them."
        ) from None
    return recording


def _read_history(history: Path) -> Recording:
    """The recording without its losses."""
    with safe_open(history, framework="pt") as file:
        header = json.loads((file.metadata() or {})["iid_cl"])
        if header["format"] != FORMAT or header["version"] > VERSION:
            raise UserError(f"{history}: is no recording of a format read here; update iid-cl, or remove the file.")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
    recording = Recording([str(name) for name in header["class_names"]])
    recording.kept = [
        RecordedDistillation(str(key["method"]), int(key["experience"]), [int(c) for c in key["classes"]])
        for key in header["distillations"]
    ]
    for name, tensor in tensors.items():
        kind, *place = name.split("/")
        if kind == "images":
            number, iteration, label = map(int, place)
            if tensor.dtype != torch.uint8 or tensor.ndim != 4 or not len(tensor):
                raise ValueError(f"{name} holds no pictures")
            recording.kept[number].images.setdefault(iteration, {})[label] = tensor
    for part in recording.kept:
        _check_pictures(part)
    for method in header["features"]:
        points, labels, stored = (tensors[f"features/{method}/{part}"] for part in ("points", "labels", "stored"))
        if points.ndim != 2 or not len(points) == len(labels) == len(stored):
            raise ValueError(f"features of {method} contradict each other")
        if not points.is_floating_point() or not bool(points.isfinite().all()):
            raise ValueError(f"features of {method} are no finite numbers")
        recording.features[method] = Features(points, labels, stored)
    return recording


def _check_pictures(part: RecordedDistillation) -> None:
    """Raises ValueError unless there are pictures from the start on, of each class alike at each iteration."""
    shapes = [{label: images.shape for label, images in by_class.items()} for by_class in part.images.values()]
    if 0 not in part.images or any(each != shapes[0] for each in shapes) or set(shapes[0]) != set(part.classes):
        raise ValueError(f"the pictures of a distillation of classes {shown(part.classes)} are incomplete")


def _read_losses(losses: Path, recording: Recording) -> None:
    """Adds each line of losses to its distillation."""
    by_key = {(part.method, part.experience, tuple(part.classes)): part for part in recording.kept}
    for line in read_text(losses).splitlines():
        record = json.loads(line)
        terms = {str(term): float(value) for term, value in record["losses"].items()}
        part = by_key[record["method"], record["experience"], tuple(record["classes"])]
        part.losses.append((int(record["iteration"]), terms))


def _bytes(images: Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images.contiguous()]


def _packed(part: RecordedDistillation) -> dict[str, Any]:
    images = {str(i): {str(label): group for label, group in groups.items()} for i, groups in part.images.items()}
    return {**vars(part), "images": images, "losses": [[i, dict(terms)] for i, terms in part.losses]}


def _unpacked(state: Mapping[str, Any]) -> RecordedDistillation:
    images = {int(i): {int(label): group for label, group in groups.items()} for i, groups in state["images"].items()}
    losses = [(i, dict(terms)) for i, terms in state["losses"]]
    return RecordedDistillation(**{**state, "images": images, "losses": losses})
