"""A trained network kept in a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from iid_cl import load_model
from iid_cl.config.distill import NetworkConfig
from iid_cl.data.images import Normalization
from iid_cl.errors import UserError
from iid_cl.evaluate.model import TrainedModel, save_model
from iid_cl.nets import build_network
from tests.methods.helpers import noise

GREY = Normalization((0.3,), (0.4,))
CONFIG = NetworkConfig(width=4, depth=1, norm="batch")


def model(channels: int = 1, order: list[list[int]] | None = None) -> TrainedModel:
    network = build_network(CONFIG, (channels, 8, 8), 3, torch.Generator().manual_seed(1)).eval()
    return TrainedModel(
        network, CONFIG, (channels, 8, 8), ("cat", "dog", "owl"), Normalization((0.3,) * channels, (0.4,) * channels),
        order or [[2], [0, 1]],
    )  # fmt: skip


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    before = model()
    save_model(tmp_path / "model.safetensors", before)
    images = noise(5)
    for place in (tmp_path, tmp_path / "model.safetensors", str(tmp_path)):
        after = load_model(place)
        assert torch.equal(after.probabilities(images), before.probabilities(images))
        assert (after.config, after.shape, after.class_names) == (before.config, before.shape, before.class_names)
        assert (after.normalization, after.order) == (before.normalization, before.order)


def test_probabilities_are_softmax_of_the_normalised_images_scores() -> None:
    one, images = model(), noise(4)
    scores = one.network((images.float() / 255 - 0.3) / 0.4).detach().double()
    expected = scores.exp() / scores.exp().sum(1, keepdim=True)
    torch.testing.assert_close(one.probabilities(images).double(), expected, rtol=1e-5, atol=1e-6)
    assert one.classify(images) == [("cat", "dog", "owl")[row.argmax()] for row in expected]


def test_classes_that_were_not_learned_are_never_chosen() -> None:
    probabilities = model(order=[[1], [2]]).probabilities(noise(6))
    assert probabilities[:, 0].tolist() == [0.0] * 6
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6))


def test_floats_are_the_same_images() -> None:
    images = noise(3)
    assert torch.equal(model().probabilities(images / 255), model().probabilities(images))


@pytest.mark.parametrize("shape", [(2, 1, 7, 8), (2, 3, 8, 8)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"images are of shape .*; the model takes \(1, 8, 8\)"):
        model().probabilities(torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (3, "L"), (1, "RGB")])
def test_pictures_are_read_in_the_models_size_and_channels(tmp_path: Path, channels: int, mode: str) -> None:
    pixels = np.full((16, 16, 3), (100, 150, 50), np.uint8) if mode == "RGB" else np.full((16, 16), 100, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    image = model(channels).read(tmp_path / "picture.png")
    assert image.shape == (channels, 8, 8)
    expected = {
        (1, "L"): [100],
        (3, "L"): [100] * 3,
        (3, "RGB"): [100, 150, 50],
        (1, "RGB"): [124],
    }  # 29.9 + 88.05 + 5.7
    assert image[:, 3, 3].tolist() == expected[channels, mode]


def test_a_missing_model_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.safetensors: no such file; a finished run keeps"):
        load_model(tmp_path)


def _header(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        header: dict[str, Any] = json.loads(opened.metadata()["iid_cl"])
        return header


@pytest.mark.parametrize(
    "change",
    [
        {"format": "iid-cl memory"},
        {"class_names": ["cat", "dog"]},
        {"class_names": [1, 2, 3]},
        {"class_names": []},
        {"order": [[3]]},
        {"order": []},
        {"order": "all"},
        {"shape": [1, 8]},
        {"shape": [3, 8, 8]},
        {"mean": [0.1, 0.2]},
        {"network": {"name": "nothing"}},
        {"network": {"width": 8}},
        {"version": "new"},
    ],
    ids=str,
)
def test_what_does_not_fit_together_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "model.safetensors"
    save_model(file, model())
    with safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, file, {"iid_cl": json.dumps({**_header(file), **change})})
    with pytest.raises(UserError):
        load_model(file)


@pytest.mark.parametrize("content", [b"", b"nothing", b"\xff" * 64])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="holds no trained network of iid-cl, or is damaged"):
        load_model(tmp_path)


def test_a_newer_version_says_so(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_model(file, model())
    with safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, file, {"iid_cl": json.dumps({**_header(file), "version": 2})})
    with pytest.raises(UserError, match="newer version"):
        load_model(file)
