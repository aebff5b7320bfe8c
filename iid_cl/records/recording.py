"""What a run keeps of its distillations for looking at: losses, pictures on the way, features."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from iid_cl.data.images import ImageDataset
from iid_cl.errors import UserError
from iid_cl.files import read_text, save_tensors, write_bytes
from iid_cl.memory.exemplars import Exemplars
from iid_cl.nets import Network

FORMAT = "iid-cl recording"
VERSION = 1
LOSSES, HISTORY = "losses", "history"  # stems of the files

MOMENTS = (0.0, 0.02, 0.05, 0.125, 0.3)  # of the iterations; the end comes by itself
IMAGES = 1000  # kept of a whole data set at each moment
POINTS = 400  # images whose features are kept
COMPONENTS = 50  # of a feature


def moments(iterations: int) -> frozenset[int]:
    """The iterations at which pictures are kept."""
    return frozenset(round(share * iterations) for share in MOMENTS) | {iterations}


@dataclass
class RecordedDistillation:
    """Some classes of an experience, condensed together.

    Attributes:
        classes: their indices, ascending.
        images: by iteration, the first images of each class, uint8 (n, C, H, W) each. Iteration 0 holds the real
            images they started from.
        losses: iteration and mean loss terms per class.
    """

    method: str
    experience: int
    classes: list[int]
    images: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    losses: list[tuple[int, dict[str, float]]] = field(default_factory=list)


@dataclass
class Features:
    """A network's features of real training images and of a memory's, reduced to their principal components.

    Attributes:
        points: float32 (N, 50) or fewer.
        labels: class index of each, int64 (N,).
        stored: whether it is one of the memory's, bool (N,).
    """

    points: Tensor
    labels: Tensor
    stored: Tensor


class Recording:
    """Collects in a run, method by method and experience by experience.

    Give :meth:`on_step`, :meth:`on_snapshot` and the :func:`moments` to a buffer. What was distilled on trial, or given
    up, is not in the memory after the experience and forgotten by :meth:`keep`.

    Args:
        class_names: name of each class index.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)
        self.kept: list[RecordedDistillation] = []
        self.features: dict[str, Features] = {}
        self._shown = max(1, min(10, IMAGES // max(1, len(self.class_names))))  # images of a class
        self._method, self._experience = "", 0
        self._open: list[RecordedDistillation] = []

    def begin(self, method: str, experience: int) -> None:
        """What follows belongs to this method and experience."""
        self._method, self._experience = method, experience

    def on_snapshot(self, iteration: int, memory: Exemplars) -> None:
        """Keeps the first images of each class; iteration 0 begins a distillation."""
        images = {label: each[: self._shown].clone() for label, each in memory.by_class().items()}
        if iteration == 0:
            self._open.append(RecordedDistillation(self._method, self._experience, sorted(images)))
        self._open[-1].images[iteration] = images

    def on_step(self, iteration: int, losses: Mapping[str, float]) -> None:
        """Keeps the loss terms."""
        self._open[-1].losses.append((iteration, dict(losses)))

    def keep(self, memory: Exemplars | None) -> None:
        """Ends an experience: distillations whose last images are not in its memory are forgotten."""
        stored = {} if memory is None else {label: set(_bytes(each)) for label, each in memory.by_class().items()}
        for one in self._open:
            last = one.images[max(one.images)]
            rows = {c: [i for i, key in enumerate(_bytes(last[c])) if key in stored.get(c, ())] for c in one.classes}
            one.classes = [label for label in one.classes if rows[label]]
            for by_class in one.images.values():
                by_class.update({label: by_class[label][rows[label]] for label in one.classes})
                for label in by_class.keys() - set(one.classes):
                    del by_class[label]
            if one.classes:
                self.kept.append(one)
        self._open = []

    @torch.no_grad()
    def embed(self, method: str, network: Network, dataset: ImageDataset, memory: Exemplars) -> None:
        """Keeps the network's features of at most ten classes: what the memory holds of them, and real images."""
        classes = memory.classes[:: -(-len(memory.classes) // 10)]
        real, decoded = dataset.train.by_class(), memory.decoded().by_class()
        each = POINTS // len(classes)
        stored = [decoded[label][: max(1, each // 3)] for label in classes]
        groups = [*stored, *(real[c][: each - len(s)] for c, s in zip(classes, stored, strict=True))]
        device = next(network.parameters()).device
        training = network.training
        network.eval()
        batches = dataset.normalization.apply(torch.cat(groups)).split(256)
        found = torch.cat([network.features(batch.to(device)).flatten(1).double().cpu() for batch in batches])
        network.train(training)
        if not bool(found.isfinite().all()):
            return  # a network that diverged has no features to look at
        left, values, _ = torch.linalg.svd(found - found.mean(0), full_matrices=False)
        labels = [torch.full((len(group),), label) for group, label in zip(groups, 2 * classes, strict=True)]
        count = sum(map(len, stored))
        self.features[method] = Features(
            (left * values)[:, :COMPONENTS].float(), torch.cat(labels), torch.arange(len(found)) < count
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything so far, as nested lists, dictionaries with text keys, plain JSON values and tensors."""
        return {
            "method": self._method,
            "experience": self._experience,
            "kept": [_packed(one) for one in self.kept],
            "open": [_packed(one) for one in self._open],
            "features": {method: asdict(each) for method, each in self.features.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what :meth:`state_dict` returned."""
        self._method, self._experience = state["method"], state["experience"]
        self.kept = [_unpacked(one) for one in state["kept"]]
        self._open = [_unpacked(one) for one in state["open"]]
        self.features = {method: Features(**each) for method, each in state["features"].items()}

    def write(self, directory: Path, prefix: str = "") -> None:
        """Writes ``losses.jsonl`` and ``history.safetensors``; nothing where nothing was distilled.

        Raises:
            UserError: a file cannot be written.
        """
        if not self.kept and not self.features:
            return
        lines = [
            {
                "method": one.method,
                "experience": one.experience,
                "classes": one.classes,
                "iteration": i,
                "losses": terms,
            }
            for one in self.kept
            for i, terms in one.losses
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_bytes(directory / f"{prefix}{LOSSES}.jsonl", text.encode())
        tensors = {
            f"images/{number}/{iteration}/{label}": images
            for number, one in enumerate(self.kept)
            for iteration, by_class in one.images.items()
            for label, images in by_class.items()
        }
        for method, each in self.features.items():
            tensors |= {f"features/{method}/{name}": tensor for name, tensor in asdict(each).items()}
        header = {
            "format": FORMAT,
            "version": VERSION,
            "class_names": self.class_names,
            "distillations": [
                {"method": one.method, "experience": one.experience, "classes": one.classes} for one in self.kept
            ],
            "features": list(self.features),
        }
        save_tensors(directory / f"{prefix}{HISTORY}.safetensors", tensors, {"iid_cl": json.dumps(header)})


def read_recording(directory: Path, prefix: str = "") -> Recording | None:
    """What :meth:`Recording.write` left in a directory; None where it left nothing.

    Raises:
        UserError: a file is damaged or of a newer format.
    """
    history, losses = directory / f"{prefix}{HISTORY}.safetensors", directory / f"{prefix}{LOSSES}.jsonl"
    if not history.is_file():
        return None
    try:
        recording = _read_history(history)
        _read_losses(losses, recording)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{history}: is damaged, or {losses.name} beside it is ({error}); remove both to do without them."
        ) from None
    return recording


def _read_history(history: Path) -> Recording:
    """A recording but for its losses."""
    with safe_open(history, framework="pt") as file:
        header = json.loads((file.metadata() or {})["iid_cl"])
        if header["format"] != FORMAT or header["version"] > VERSION:
            raise UserError(f"{history}: is no recording of a format read here; update iid-cl, or remove the file.")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
    recording = Recording([str(name) for name in header["class_names"]])
    recording.kept = [
        RecordedDistillation(str(one["method"]), int(one["experience"]), [int(c) for c in one["classes"]])
        for one in header["distillations"]
    ]
    for name, tensor in tensors.items():
        kind, *rest = name.split("/")
        if kind == "images":
            number, iteration, label = map(int, rest)
            if tensor.dtype != torch.uint8 or tensor.ndim != 4 or not len(tensor):
                raise ValueError(f"{name} holds no pictures")
            recording.kept[number].images.setdefault(iteration, {})[label] = tensor
    for method in header["features"]:
        points, labels, stored = (tensors[f"features/{method}/{part}"] for part in ("points", "labels", "stored"))
        if points.ndim != 2 or not len(points) == len(labels) == len(stored):
            raise ValueError(f"features of {method} contradict each other")
        recording.features[method] = Features(points, labels, stored)
    return recording


def _read_losses(losses: Path, recording: Recording) -> None:
    """Adds each line of losses to the distillation that it belongs to."""
    by_key = {(one.method, one.experience, tuple(one.classes)): one for one in recording.kept}
    for line in read_text(losses).splitlines():
        found = json.loads(line)
        terms = {str(term): float(value) for term, value in found["losses"].items()}
        one = by_key[found["method"], found["experience"], tuple(found["classes"])]
        one.losses.append((int(found["iteration"]), terms))


def _bytes(images: Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images.contiguous()]


def _packed(one: RecordedDistillation) -> dict[str, Any]:
    images = {str(i): {str(label): each for label, each in found.items()} for i, found in one.images.items()}
    return {**vars(one), "images": images, "losses": [[i, dict(terms)] for i, terms in one.losses]}


def _unpacked(state: Mapping[str, Any]) -> RecordedDistillation:
    images = {int(i): {int(label): each for label, each in found.items()} for i, found in state["images"].items()}
    return RecordedDistillation(
        **{**state, "images": images, "losses": [(i, dict(terms)) for i, terms in state["losses"]]}
    )
