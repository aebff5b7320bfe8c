from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iid_cl.data.images import Normalization
from iid_cl.errors import UserError
from iid_cl.strategies.forms import Form

BYTES = torch.arange(2 * 6 * 5 * 3, dtype=torch.uint8).reshape(2, 6, 5, 3)  # (N, H, W, C)
GREY = Normalization((0.5,), (0.25,))


@pytest.mark.parametrize(
    ("kind", "shape", "axes"),
    [
        ("tensor", (4, 5), "HW"),
        ("tensor", (3, 4, 5), "CHW"),
        ("tensor", (1, 32, 32), "CHW"),
        ("tensor", (32, 32, 3), "HWC"),
        ("tensor", (7, 32, 32), "CHW"),
        ("tensor", (3, 32, 3), "CHW"),
        ("array", (4, 5), "HW"),
        ("array", (4, 5, 3), "HWC"),
        ("array", (3, 32, 32), "CHW"),
        ("array", (3, 32, 3), "HWC"),
        ("array", (8, 8, 1), "HWC"),
        ("pil", (8, 8), "HW"),
        ("pil", (8, 8, 4), "HWC"),
    ],
)
def test_channels_are_where_images_of_a_kind_have_them(kind: Any, shape: tuple[int, ...], axes: str) -> None:
    assert Form.of(kind, torch.zeros(2, *shape, dtype=torch.uint8), None).axes == axes


@pytest.mark.parametrize("shape", [(), (6,), (1, 50), (3, 50), (50, 2), (3, 4, 8, 8), (0, 4, 4)])
def test_other_samples_are_no_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"samples of shape \(.*\) are not images; a memory keeps"):
        Form.of("tensor", torch.zeros(2, *shape, dtype=torch.uint8), None)


@pytest.mark.parametrize(
    "kind", [torch.int64, torch.int16, torch.uint16, torch.bool, torch.complex64, torch.float8_e5m2]
)
def test_pixels_of_another_type_are_refused_by_its_name(kind: torch.dtype) -> None:
    name = str(kind).removeprefix("torch.")
    with pytest.raises(UserError, match=f"images are {name} tensors; a memory needs uint8 or float tensors"):
        Form.of("tensor", torch.zeros(2, 1, 4, 4).to(kind), None)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("space", [None, GREY], ids=["unit", "normalised"])
def test_every_byte_of_floats_comes_back(kind: torch.dtype, space: Normalization | None) -> None:
    levels = torch.arange(256, dtype=torch.float64).reshape(1, 1, 16, 16) / 255
    shown = levels if space is None else (levels - 0.5) / 0.25
    form = Form.of("tensor", shown.to(kind), space)
    images = form.to_bytes(shown.to(kind))
    assert images.dtype == torch.uint8
    if kind != torch.bfloat16:  # of which eight bits are fewer than 256 levels
        assert images.flatten().tolist() == list(range(256))
    again = form.samples(images)
    assert again.dtype == kind
    torch.testing.assert_close(again.double(), shown, rtol=0, atol=4 * torch.finfo(kind).eps + 1e-7 + 0.5 / 255)


@pytest.mark.parametrize(
    ("kind", "samples"),
    [("tensor", BYTES), ("tensor", BYTES.permute(0, 3, 1, 2)), ("tensor", BYTES[..., 0]), ("array", BYTES)],
)
def test_samples_keep_their_axes(kind: Any, samples: Tensor) -> None:
    form = Form.of(kind, samples, None)
    images = form.to_bytes(samples)
    assert torch.equal(images, BYTES.permute(0, 3, 1, 2)[:, : images.shape[1]])
    assert torch.equal(form.samples(images), samples)
    one = form.sample(form.samples(images)[1])
    assert isinstance(one, Tensor if kind == "tensor" else np.ndarray)
    assert np.array_equal(np.asarray(one), samples[1].numpy())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    images = torch.rand(2, 1, 4, 4)
    images[1, 0, 2, 2] = value
    with pytest.raises(UserError, match="images hold NaN or infinite values"):
        Form.of("tensor", images, None)


@pytest.mark.parametrize(
    ("images", "levels"),
    [
        pytest.param(torch.linspace(0, 0.003, 1024), 2, id="scaled by 65535"),
        pytest.param(torch.linspace(0, 4095 / 65535, 1024), 17, id="12 bits in 16"),
        pytest.param(torch.linspace(0.5, 0.52, 1024), 6, id="low contrast"),
        pytest.param(torch.linspace(0, 1e-6, 1024), 1, id="almost black"),
    ],
)
def test_a_range_that_8_bits_do_not_hold_is_refused(images: Tensor, levels: int) -> None:
    with pytest.raises(UserError, match=rf"images take values between .*keep {levels} levels; scale them"):
        Form.of("tensor", images.reshape(1, 1, 32, 32), None)


def test_one_narrow_channel_among_wide_ones_is_refused() -> None:
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[:, 1] *= 0.01
    with pytest.raises(UserError, match="images take values"):
        Form.of("tensor", images, None)


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(torch.full((1024,), 0.3), id="one value"),
        pytest.param(torch.arange(1024) % 2 / 1.0, id="black and white"),
        pytest.param(torch.arange(1024) % 3 / 255.0, id="three dark levels"),
        pytest.param(torch.linspace(0, 1, 1024), id="a full range of many values"),
    ],
)
def test_few_values_are_no_narrow_range(images: Tensor) -> None:
    assert Form.of("tensor", images.reshape(1, 1, 32, 32), None).to_bytes(images.reshape(1, 1, 32, 32)).ndim == 4


@pytest.mark.parametrize("space", [None, GREY])
def test_a_form_is_written_down_and_read_again(space: Normalization | None) -> None:
    form = Form("tensor", "CHW", torch.uint8 if space is None else torch.bfloat16, space)
    assert Form.from_state(form.state()) == form
