"""A trained network in a file, with all that it takes to classify pictures by it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from iid_cl.compute.classifier import predict
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.reading import parse_section
from iid_cl.data.accept import as_images
from iid_cl.data.images import Normalization
from iid_cl.data.pictures import read_picture
from iid_cl.errors import NO_MODEL, UserError, printable
from iid_cl.files import save_tensors
from iid_cl.nets import Network, build_network

FORMAT, VERSION = "iid-cl model", 1
NAME = "model.safetensors"
MOST_CLASSES = 2**15


@dataclass(frozen=True)
class TrainedModel:
    """A classifier as a run has trained it.

    Attributes:
        network: in evaluation mode, on the CPU.
        config: its architecture.
        shape: (channels, height, width) of the images that it takes.
        class_names: the name of each output.
        normalization: of its images.
        order: class indices of each experience that it has learned.

    >>> network = build_network(NetworkConfig(width=4, depth=1), (1, 8, 8), 2, torch.Generator().manual_seed(0))
    >>> grey = Normalization((0.5,), (0.25,))
    >>> model = TrainedModel(network, NetworkConfig(width=4, depth=1), (1, 8, 8), ("cat", "dog"), grey, [[0], [1]])
    >>> model.probabilities(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape
    torch.Size([3, 2])
    """

    network: Network
    config: NetworkConfig
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    normalization: Normalization
    order: list[list[int]]

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities (N, K) of images (N, C, H, W), uint8 or floats from 0 to 1; 0 for classes not learned.

        Raises:
            UserError: images of another shape or type.
        """
        images = as_images(images)
        if tuple(images.shape[1:]) != self.shape:
            raise UserError(f"images are of shape {tuple(images.shape[1:])}; the model takes {self.shape}.")
        device = self.network.classifier.weight.device
        scores = torch.cat(list(predict(self.network, self.normalization.apply(images.to(device)))))
        learned = torch.zeros(scores.shape[1], dtype=torch.bool, device=device)
        learned[[label for group in self.order for label in group]] = True
        return scores.masked_fill(~learned, -torch.inf).softmax(1)

    def classify(self, images: Tensor) -> list[str]:
        """The names of the most probable classes of images, see :meth:`probabilities`."""
        return [self.class_names[index] for index in self.probabilities(images).argmax(1).tolist()]

    def read(self, path: Path) -> Tensor:
        """A picture from a file as an image (C, H, W) of the model's size and channels.

        Raises:
            UserError: it cannot be read.
        """
        channels, height, width = self.shape
        if height != width:
            raise UserError(f"{path}: the model takes images of {width}x{height} pixels; give tensors of this size.")
        pixels = read_picture(path, height).pixels
        picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        pixels = np.array(picture.convert("L" if channels == 1 else "RGB"))
        return torch.from_numpy(pixels.reshape(height, width, -1)).permute(2, 0, 1)


def save_model(path: Path, model: TrainedModel) -> None:
    """Writes a trained network.

    Raises:
        UserError: the file cannot be written.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "network": model.config.model_dump(mode="json"),
        "shape": list(model.shape),
        "class_names": list(model.class_names),
        "mean": list(model.normalization.mean),
        "std": list(model.normalization.std),
        "order": model.order,
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    save_tensors(path, weights, {"iid_cl": json.dumps(header)})


def load_model(path: Path | str) -> TrainedModel:
    """Reads the network that a run has trained.

    Args:
        path: the file ``model.safetensors``, or the run's directory.

    Raises:
        UserError: there is no such file, or it holds something else, or is damaged.

    >>> import tempfile
    >>> network = build_network(NetworkConfig(width=4, depth=1), (1, 8, 8), 2, torch.Generator().manual_seed(0))
    >>> grey = Normalization((0.5,), (0.25,))
    >>> model = TrainedModel(network, NetworkConfig(width=4, depth=1), (1, 8, 8), ("cat", "dog"), grey, [[0], [1]])
    >>> with tempfile.TemporaryDirectory() as run:
    ...     save_model(Path(run, "model.safetensors"), model)
    ...     load_model(run).class_names
    ('cat', 'dog')
    """
    path = Path(path)
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: {NO_MODEL}")
    try:
        with safe_open(file, framework="pt") as opened:
            header = json.loads((opened.metadata() or {})["iid_cl"])
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, it is no dict
        if header["format"] != FORMAT:
            raise ValueError(f"it is {printable(str(header['format']))[:50]!r}")
        if header["version"] > VERSION:
            raise UserError(
                f"{file}: was written by a newer version of iid-cl (format {header['version']}); update it."
            )
        return _of(header, weights)
    except (
        SafetensorError,
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
        RecursionError,
        MemoryError,
        OSError,
    ) as error:
        raise UserError(f"{file}: holds no trained network of iid-cl, or is damaged ({_first_line(error)}).") from None


def _of(header: Mapping[str, Any], weights: Mapping[str, Tensor]) -> TrainedModel:
    """Raises ValueError, KeyError, TypeError or RuntimeError for what does not fit together."""
    names, order = _names(header["class_names"]), [[int(label) for label in group] for group in header["order"]]
    if any(not 0 <= label < len(names) for group in order for label in group) or not any(order):
        raise ValueError("its classes do not fit its names")
    channels, height, width = (int(side) for side in header["shape"])
    config = parse_section(NetworkConfig, dict(header["network"]), "model")
    bare = config.model_copy(update={"weights": "none"})  # the file holds all of them
    network = build_network(bare, (channels, height, width), len(names), torch.Generator().manual_seed(0))
    network.load_state_dict(dict(weights))
    normalization = Normalization(tuple(map(float, header["mean"])), tuple(map(float, header["std"])))
    if len(normalization.mean) != channels or len(normalization.std) != channels:
        raise ValueError("its normalisation does not fit its images")
    return TrainedModel(network.eval(), config, (channels, height, width), names, normalization, order)


def _names(names: Sequence[Any]) -> tuple[str, ...]:
    if not 0 < len(names) <= MOST_CLASSES or not all(isinstance(name, str) for name in names):
        raise ValueError("its class names are no list of text")
    return tuple(printable(name) for name in names)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:100]
