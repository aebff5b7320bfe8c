"""What distill() refuses in one sentence, and the forms of images that mean the same to it."""

from typing import Any

import numpy as np
import pytest
import torch

from iid_cl.config.distill import DistillConfig, EmbedderConfig
from iid_cl.data.images import Normalization
from iid_cl.distill import distill
from iid_cl.errors import UserError

IMAGES = torch.randint(256, (2, 6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BY_CLASS = dict(enumerate(IMAGES))
CONFIG = DistillConfig(iterations=1, real_batch=4, embedder=EmbedderConfig(width=4, depth=1))


def distilled(images: Any = BY_CLASS, **changes: Any) -> torch.Tensor:
    arguments = {
        "config": CONFIG,
        "ipc": 2,
        "generator": torch.Generator().manual_seed(0),
        "device": "cpu",
        "normalization": Normalization((0.5,), (0.25,)),
        **changes,
    }
    return distill(images, arguments.pop("config"), **arguments).images


def test_floats_and_arrays_are_distilled_as_bytes_are() -> None:
    expected = distilled()
    for form in (lambda x: x.float() / 255, lambda x: x.numpy(), lambda x: x.numpy() / 255, list):
        assert torch.equal(distilled({c: form(images) for c, images in BY_CLASS.items()}), expected)


def test_the_images_to_start_from_may_be_floats_too() -> None:
    start = {c: images[:2] for c, images in BY_CLASS.items()}
    floats = {c: images.numpy() / 255 for c, images in start.items()}
    assert torch.equal(distilled(start=floats), distilled(start=start))


def test_lists_of_weights_are_weights() -> None:
    lists = {0: [1, 2, 3, 1, 2, 3]}
    assert torch.equal(distilled(weights=lists), distilled(weights={0: torch.tensor(lists[0], dtype=torch.float64)}))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({c: images.float() for c, images in BY_CLASS.items()}, "class 0: has floats between 0 and 255"),
        ({c: images.long() for c, images in BY_CLASS.items()}, "class 0: has images of int64"),
        ({c: images[:, 0] for c, images in BY_CLASS.items()}, r"class 0: are of shape \(6, 8, 8\)"),
        ({c: images.flatten(1) for c, images in BY_CLASS.items()}, r"class 0: are of shape \(6, 64\)"),
        ({0: IMAGES[0], 1: IMAGES[1, :, :, :4]}, "class 1: its images are of shape"),
        ({0: IMAGES[0], 1: IMAGES[1, :0]}, "class 1 has no images"),
        ({"cat": IMAGES[0]}, "'cat' is no class index"),
        ({0: torch.full((4, 1, 8, 8), torch.nan)}, "class 0: has values that are not finite"),
        (IMAGES[0], "images_by_class: is of type Tensor"),
        ({}, "there are no classes"),
    ],
)
def test_odd_images_are_refused(images: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        distilled(images)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"generator": 0}, "generator: 0 is no torch.Generator; give torch.Generator"),
        ({"generator": np.random.default_rng()}, "generator: .* is no torch.Generator"),
        ({"ipc": 0}, "ipc: 0 must be a whole number"),
        ({"ipc": 1.0}, "ipc: 1.0 must be"),
        ({"ipc": True}, "ipc: True must be"),
        ({"ipc": 7}, "7 images are asked of class 0, which has 6"),
        ({"config": {"iterations": 1}}, "config: {'iterations': 1} is no DistillConfig"),
        ({"device": "gpu"}, "device: 'gpu' is no device"),
        ({"device": "cuda:99"}, "device: 'cuda:99' is not usable here"),
        ({"normalization": (0.5, 0.25)}, r"normalization: \(0.5, 0.25\) is no Normalization"),
        ({"normalization": Normalization((0.5,) * 3, (0.25,) * 3)}, "does not fit images of 1 channels"),
        ({"normalization": Normalization((0.5,), (0.0,))}, r"a std of \(0.0,\) must be above 0"),
        ({"normalization": Normalization((float("nan"),), (1.0,))}, r"a mean of \(nan,\) does not fit"),
        ({"augmentations": "flip"}, "augmentations: 'flip' must be a list"),
        ({"augmentations": ["mirror"]}, "augmentations: 'mirror' is unknown; use some of color"),
        ({"weights": [1, 2]}, r"weights: \[1, 2\] must be a dict"),
        ({"weights": {5: [1.0]}}, "weights: class 5 has weights but no images"),
        ({"weights": {0: [1.0]}}, "weights: class 0 needs 6 numbers"),
        ({"weights": {0: [-1.0] * 6}}, "weights: class 0 needs 6 numbers from 0"),
        ({"weights": {0: [0.0] * 6}}, "not all 0"),
        ({"weights": {0: ["a"] * 6}}, "weights: class 0 has .*; give a number"),
        ({"start": {0: IMAGES[0]}}, "start: class 1 has none"),
        ({"start": IMAGES[0]}, "start: is of type Tensor"),
    ],
)
def test_odd_arguments_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        distilled(**change)
    assert "\n" not in str(caught.value)


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(TypeError, match="no option 'wieghts'"):
        distilled(wieghts={})
