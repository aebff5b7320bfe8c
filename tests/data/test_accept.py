"""What programs give as images: the same bytes in every form, and one sentence where it is something else."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iid_cl.data.accept import as_classes, as_images, as_labels
from iid_cl.errors import UserError

EVERY = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
NARROW = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.003


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_floats_are_the_same_images_as_bytes(dtype: torch.dtype) -> None:
    """All 256 values, in the coarsest of types: half a grey level is more than a bfloat16 rounds off."""
    assert torch.equal(as_images((EVERY.double() / 255).to(dtype)), EVERY)


@pytest.mark.parametrize(
    "given",
    [EVERY, EVERY.numpy(), list(EVERY), [part.numpy() for part in EVERY], EVERY.numpy() / 255,
     (EVERY.numpy() / 255).astype(">f4"), (EVERY.numpy() / 255).astype(np.longdouble), EVERY.float() / 255 + 0.0009,
     EVERY.numpy()[::-1][::-1]],
    ids=["tensor", "array", "tensors", "arrays", "floats", "big-endian", "long double", "a little above", "strided"],
)  # fmt: skip
def test_every_form_gives_the_same_bytes(given: Any) -> None:
    assert torch.equal(as_images(given), EVERY)


def test_an_axis_of_one_may_run_backwards() -> None:
    """NumPy calls such an array contiguous, and PyTorch refuses its strides."""
    assert torch.equal(as_images(EVERY[:1].numpy()[::-1]), EVERY[:1])


def test_bytes_are_not_copied() -> None:
    assert as_images(EVERY).data_ptr() == EVERY.data_ptr()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (EVERY.float(), "floats between 0 and 255"),
        (EVERY.float() / 127.5 - 1, "floats between -1 and 1"),
        (torch.full((1, 1, 2, 2), torch.nan), "not finite"),
        (torch.full((1, 1, 2, 2), torch.inf), "not finite"),
        (EVERY.long(), "images of int64"),
        (EVERY.bool(), "images of bool"),
        (EVERY.numpy().astype(np.uint16), "images of uint16"),
        (EVERY.to(torch.complex64), "images of complex64"),
        (np.array([["a"]]), "images of <U1"),
        (np.array([object()]), "images of object"),
        (EVERY[:, 0], r"\(4, 8, 8\) and not \(N, C, H, W\); add the channels"),
        (EVERY.flatten(1), r"\(4, 64\); give images of shape"),
        (torch.tensor(3, dtype=torch.uint8), r"of shape \(\)"),
        (EVERY.numpy()[..., None].reshape(4, 8, 8, 1), r"\(4, 8, 8, 1\), with their channels last"),
        (torch.zeros(2, 3, 0, 5, dtype=torch.uint8), "no pixels"),
        (torch.zeros(2, 1, 2, 2).to_sparse(), "sparse"),
        ([EVERY[0], EVERY[1, :, :4]], r"\(1, 8, 8\) and of torch\.uint8 \(1, 4, 8\)"),
        ([EVERY[0], EVERY[1].float()], "of torch.uint8 .* and of torch.float32"),
        ([EVERY[0], "cat.png"], "of type list"),
        ([], "of type list"),
        ("cat.png", "of type str"),
        (7, "of type int"),
        (None, "of type NoneType"),
        (NARROW, "between .* only, of which 8 bits keep 2 grey levels"),
    ],
)
def test_everything_else_is_one_sentence(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"^pictures: .*{said}") as caught:
        as_images(given, "pictures")
    assert "\n" not in str(caught.value)


def test_a_narrow_range_that_bytes_hold_is_accepted() -> None:
    narrow = torch.tensor([100, 101, 104, 110], dtype=torch.uint8).view(1, 1, 2, 2)
    assert torch.equal(as_images(narrow.float() / 255), narrow)
    assert as_images(torch.full((1, 1, 2, 2), 0.3)).unique().tolist() == [76]  # one value is no range: 0.3 * 255 = 76.5


def test_classes_are_judged_together() -> None:
    """A class may be almost black beside brighter ones."""
    given = {3: NARROW, np.int64(5): EVERY.float().numpy() / 255}
    images = as_classes(given)
    assert list(images) == [3, 5]
    assert images[3].unique().tolist() == [0, 1]
    assert torch.equal(images[5], EVERY)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cat": EVERY}, "images_by_class: 'cat' is no class index"),
        ({-1: EVERY}, "images_by_class: -1 is no class index"),
        ({2**15: EVERY}, "images_by_class: 32768 is no class index"),
        ({True: EVERY}, "images_by_class: True is no class index"),
        ({1.0: EVERY}, "images_by_class: 1.0 is no class index"),
        ([EVERY, EVERY], "images_by_class: is of type list"),
        (EVERY, "images_by_class: is of type Tensor"),
        ({0: EVERY, 1: EVERY[:, :, :4]}, r"class 1: its images are of shape \(1, 4, 8\) but those of class 0"),
        ({0: EVERY, 1: EVERY.long()}, "class 1: has images of int64"),
        ({0: EVERY, 1: EVERY.float()}, "between 0 and 255"),
        ({0: NARROW, 1: NARROW}, "2 grey levels"),
    ],
)
def test_odd_classes_are_one_sentence(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        as_classes(given)


def test_a_class_may_be_empty() -> None:
    assert len(as_classes({0: EVERY[:0], 1: EVERY})[0]) == 0


@pytest.mark.parametrize(
    "given", [[3, 0], (3, 0), np.array([3, 0], np.uint8), torch.tensor([3, 0], dtype=torch.int16), torch.tensor([3, 0])]
)
def test_whole_numbers_are_labels(given: Any) -> None:
    labels = as_labels(given, 2)
    assert (labels.dtype, labels.tolist()) == (torch.int64, [3, 0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["cat", "dog"], "of type str"),
        ([0.0, 1.0], "of type float"),
        ([None, 1], "of type NoneType"),
        (torch.tensor([0.0, 1.0]), "are torch.float32"),
        (torch.tensor([True, False]), "are torch.bool"),
        ([0, 1, 2], r"of shape \(3,\) for 2 images"),
        (torch.eye(2).long(), r"of shape \(2, 2\) for 2 images"),
        (3, r"of shape \(\) for 2 images"),
    ],
)
def test_odd_labels_are_one_sentence(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"^labels: .*{said}"):
        as_labels(given, 2)


def test_gradients_end_here() -> None:
    images = (EVERY.float() / 255).requires_grad_()
    assert isinstance(as_images(images), Tensor)
    assert torch.equal(as_images(images), EVERY)
